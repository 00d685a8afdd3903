"""`lorastyle estimate`, `caption`, `grid`, `bases BASE` and `train --from`, on a tiny base in a diffusers folder."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorastyle import read_parameters

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--set", "batch=1", "--set", "preview_steps=1", "--set", "resolution=64", "--set", "targets=attention")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    from lorastyle.bases.family import families

    folder = tmp_path_factory.mktemp("base") / "tiny"
    family = families()["sd1"]
    family.pipeline(family.tiny(0)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "dots"
    folder.mkdir()
    for number, name in enumerate(["red_barn.png", "blue_boat.png", "0003.png"]):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "blue_boat.txt").write_text("a boat at sea")
    return folder


def test_estimate_train_go_on_and_compare(run: Run, base: str, pictures: Path, tmp_path: Path) -> None:
    on = (str(pictures), "--base", base, "--steps", "2", *QUICK)
    code, printed, _ = run("estimate", *on, "--json")
    told = json.loads(printed)
    assert code == 0
    assert (told["steps"], told["fits"]) == (2, True)

    first = tmp_path / "first"
    code, _, _ = run("train", *on, "--rank", "2", "--trigger", "zorvex", "--out", str(first))
    assert code == 0
    adapter = str(first / "first.safetensors")
    code, printed, _ = run("train", *on, "--from", adapter, "--out", str(tmp_path / "next"), "--json")
    assert code == 0
    further = json.loads(printed)["adapter"]
    code, printed, _ = run("inspect", further, "--json")
    assert json.loads(printed)["trigger"] == "zorvex"
    assert json.loads(printed)["ranks"].keys() == {"2"}

    code, printed, said = run("train", *on, "--from", adapter, "--rank", "8", "--out", str(tmp_path / "other"))
    assert code == 2
    assert "the adapter to go on from has 2" in said
    assert not printed

    grid = ("grid", "zorvex", "a boat", "--base", base, "--adapter", adapter, "--adapter", further, "--steps", "1")
    code, printed, _ = run(*grid, "--strength", "0.5", "--strength", "1", "--out", str(tmp_path / "grid"), "--json")
    cells = json.loads(printed)["cells"]
    assert code == 0
    assert len(cells) == 8
    assert read_parameters(cells[0]["path"])["adapters"][0]["name"] == "first"
    assert Path(json.loads(printed)["sheet"]).is_file()


def test_a_base_says_what_it_is(run: Run, base: str) -> None:
    code, printed, _ = run("bases", base, "--json")
    told = json.loads(printed)
    assert code == 0
    assert told["family"] == "sd1"
    assert told["presets"].keys() == {"style", "character", "object"}


def test_caption_writes_beside_images_without_one(run: Run, pictures: Path) -> None:
    code, printed, said = run("caption", str(pictures), "--json")
    assert code == 0
    assert json.loads(printed) == {"captioned": 1, "captions": {"red_barn.png": "red barn"}}
    assert (pictures / "red_barn.txt").read_text() == "red barn\n"
    assert (pictures / "blue_boat.txt").read_text() == "a boat at sea"
    assert not (pictures / "0003.txt").exists()
    assert "2 of 2 images" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("caption", "nowhere"), "there is no such folder"),
        (("caption", "{data}", "--captioner", "some/captioner"), "the hub does not give a captioner"),
        (("grid", "a", "--base", "{base}", "--adapter", "none.safetensors"), "none.safetensors"),
        (("estimate", "{data}", "--base", "{base}", "--rank", "0"), "recipe.rank"),
        (("train", "{data}", "--base", "{base}", "--from", "none.safetensors"), "none.safetensors"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(
    run: Run, base: str, pictures: Path, arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    filled = [argument.format(base=base, data=pictures) for argument in arguments]
    filled += ["--out", str(tmp_path / "out")] if filled[0] in ("grid", "train") else []
    code, printed, said = run(*filled)
    assert code == 2
    assert sentence in said.strip().splitlines()[-1]
    assert not printed
    assert "Traceback" not in said
