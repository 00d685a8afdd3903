"""`lorastyle export`, `import`, `inspect`, `mix` and `bases` as a person or a script meets them."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from lorastyle.adapters.file import Adapter, load, save

FileOf = Callable[[str, str], tuple[Path, Adapter]]
Run = Callable[..., tuple[int, str, str]]


def test_export_and_import_there_and_back(run: Run, file_of: FileOf, tmp_path: Path) -> None:
    file, adapter = file_of("sd1", "LoRA")
    code, printed, _ = run("export", str(file), "--to", "a1111", "--json")
    results = json.loads(printed)
    assert code == 0
    assert results["layers"] == len(adapter.factors)
    assert results["worst_relative_error"] < 1e-6
    assert Path(results["file"]) == tmp_path / "ink-a1111.safetensors"
    assert [Path(name).name for name in results["beside"]] == ["ink-a1111.json"]
    code, printed, _ = run("import", results["file"], "--out", str(tmp_path / "back.safetensors"), "--json")
    assert code == 0
    assert json.loads(printed)["family"] == "sd1"
    assert load(tmp_path / "back.safetensors").trigger == "zorvex"
    code, printed, _ = run("inspect", results["file"], "--json")
    assert code == 0
    assert json.loads(printed)["kind"] == "lora"


def test_what_cannot_be_done_gets_a_sentence_and_exit_code_2(run: Run, file_of: FileOf, tmp_path: Path) -> None:
    file, _ = file_of("sd1", "DoRA")
    for arguments, sentence in [
        (("export", str(file), "--to", "comfyui"), "give a rank"),
        (("export", str(file), "--to", "kohya", "--dtype", "int8"), "choose from fp32, fp16, bf16"),
        (("export", str(file), "--to", "kohya", "--metadata", "some"), "choose from none, minimal, full"),
        (("import", str(tmp_path / "none.safetensors")), "there is no such file"),
        (("import", str(file), "--out", str(file)), "choose another name"),
    ]:
        code, printed, said = run(*arguments)
        assert code == 2
        assert not printed
        assert sentence in said.lower()


def test_mix_makes_one_adapter_of_two(run: Run, file_of: FileOf, tmp_path: Path) -> None:
    file, adapter = file_of("sd1", "LoRA")
    out = tmp_path / "mixed.safetensors"
    other = tmp_path / "other.safetensors"
    save(other, adapter)
    given = ("--adapter", f"{file}:0.5", "--adapter", f"{file}:0.25", "--adapter", str(other))
    code, printed, _ = run("mix", *given, "--out", str(out), "--json")
    assert code == 0
    assert json.loads(printed)["layers"] == len(adapter.factors)
    mixed, layer = load(out), next(iter(load(out).factors))
    assert mixed.rank(layer) == 8
    torch.testing.assert_close(mixed.change(layer), 1.75 * load(file).change(layer), rtol=1e-5, atol=1e-6)


def test_bases_are_listed(run: Run) -> None:
    code, printed, _ = run("bases")
    assert code == 0
    assert len(printed.splitlines()) == 1 + len(json.loads(run("bases", "--json")[1])["families"])
