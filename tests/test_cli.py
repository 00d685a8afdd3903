"""The command line as a person or a script meets it, on a tiny base in a diffusers folder."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorastyle import cli
from lorastyle.cli.drawing import strength_of


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    from lorastyle.bases.family import families

    folder = tmp_path_factory.mktemp("base") / "tiny"
    family = families()["sd1"]
    family.pipeline(family.tiny(0)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("dots")
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"[trigger] {number}")
    (folder / "broken.png").write_bytes(b"not a picture")
    return str(folder)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command line in this process; gives exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lorastyle", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0 if code is None else 1), printed.out, printed.err

    return call


QUICK = ("--set", "batch=1", "--set", "preview_steps=1", "--set", "resolution=64", "--set", "targets=attention")


def test_train_generate_inspect(run, base, pictures, tmp_path):
    out = tmp_path / "dots"
    train = ("train", pictures, "--base", base, "--out", str(out), "--steps", "2", "--rank", "4", *QUICK)
    code, printed, said = run(*train, "--trigger", "zorvex", "--json")
    results = json.loads(printed)
    assert code == 0
    assert Path(results["adapter"]) == out / "dots.safetensors"
    assert all(Path(results[name]).is_file() for name in ("adapter", "comparison", "card"))
    assert "broken.png" in said

    generate = ("generate", "zorvex 1", "zorvex 2", "--base", base, "--steps", "2", "--out", str(tmp_path / "images"))
    code, printed, _ = run(*generate, "--adapter", f"{results['adapter']}:0.5", "--seed", "3", "--json")
    assert code == 0
    assert [Path(name).name for name in json.loads(printed)["images"]] == ["3-0.png", "3-1.png"]
    with Image.open(tmp_path / "images" / "3-1.png") as image:
        assert image.size == (64, 64)

    code, printed, _ = run("inspect", results["adapter"], "--json")
    assert code == 0
    assert json.loads(printed)["trigger"] == "zorvex"


def test_the_trigger_word_is_the_name_of_the_dataset_where_captions_ask_for_one(run, base, pictures, tmp_path):
    _, printed, said = run("train", pictures, "--base", base, "--out", str(tmp_path / "a"), "--steps", "1", *QUICK)
    word = Path(pictures).name
    assert f"name is taken: {word}" in said
    assert word in (tmp_path / "a" / "README.md").read_text()
    assert str(tmp_path / "a") in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "nowhere"), "nowhere: There is no such file"),
        (("train", "{data}", "--base", "{base}", "--set", "rnak=4"), "rank"),
        (("train", "{data}", "--base", "{base}", "--set", "rank"), "write field=value"),
        (("train", "{data}", "--base", "{base}", "--rank", "0"), "recipe.rank"),
        (("train", "{data}", "--base", "nowhere-at-all"), "nowhere-at-all"),
        (("generate", "a", "--base", "{base}", "--adapter", "none.safetensors"), "none.safetensors"),
        (("inspect", "{data}/0.png"), "0.png"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(run, base, pictures, tmp_path, arguments, sentence):
    filled = [argument.format(base=base, data=pictures) for argument in arguments]
    if filled[0] == "train":
        filled += ["--out", str(tmp_path / "run")]
    code, printed, said = run(*filled)
    last = said.strip().splitlines()[-1]
    assert code == 2
    assert sentence.lower() in last.lower()
    assert not printed
    assert "Traceback" not in said


def test_interrupted_is_130_and_resumes_to_the_same_bytes(base, pictures, tmp_path):
    def command(name, *more):
        arguments = ["train", pictures, "--base", base, "--out", str(tmp_path / name), "--steps", "30", *QUICK, *more]
        return [sys.executable, "-m", "lorastyle.cli", *arguments]

    with subprocess.Popen(command("dots"), stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("step 1/"):
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert process.returncode == 130
    assert "--resume" in said
    assert subprocess.run(command("dots", "--resume"), capture_output=True).returncode == 0
    alone = tmp_path / "alone"
    assert subprocess.run(command("alone/dots"), capture_output=True).returncode == 0
    assert (tmp_path / "dots" / "dots.safetensors").read_bytes() == (alone / "dots" / "dots.safetensors").read_bytes()


def test_a_strength_stands_behind_the_last_colon():
    assert strength_of("ink.safetensors:0.5") == (Path("ink.safetensors"), 0.5)
    assert strength_of("ink.safetensors") == (Path("ink.safetensors"), 1.0)
    assert strength_of("C:/styles/ink.safetensors") == (Path("C:/styles/ink.safetensors"), 1.0)


def test_help_loads_neither_torch_nor_diffusers():
    probe = (
        "import sys; sys.argv = ['lorastyle', '--help']\n"
        "from lorastyle import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=os.environ)
    assert ended.stdout.splitlines()[-1] == "[]"
