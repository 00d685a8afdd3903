"""What a written file tells beside its tensors, at each level, and what it never tells."""

import getpass
import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from lorastyle.adapters.file import Adapter, save
from lorastyle.interchange.exchange import export_adapter, import_adapter

FileOf = Callable[[str, str], tuple[Path, Adapter]]


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


@pytest.fixture
def run(file_of: FileOf) -> Path:
    """An adapter file in the folder of its run."""
    file, adapter = file_of("sd1", "LoRA")
    made = {
        "recipe": {"steps": 300, "learning_rate": 1e-4, "optimizer": "AdamW", "seed": 7, "resolution": 512},
        "metadata": {"modelspec.title": "Ink", "lorastyle.base": "tiny", "modelspec.resolution": "512x512"},
        "trigger": "zorvex",
    }
    save(file, replace(adapter, **made))
    rows = [{"file": f"/home/somebody/{n}.png", "caption": f"a cat, ink{', zorvex' * n}"} for n in range(2)]
    (file.parent / "dataset.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"file": "x", "refused": "broken"}])))
    (file.parent / "samples").mkdir()
    Image.new("RGB", (64, 32), "red").save(file.parent / "samples" / "step-000300-0.png")
    return file


def told(run: Path, level: str, to: str = "kohya") -> dict[str, str]:
    return header_of(export_adapter(run, to, run.parent / f"{level}.safetensors", metadata=level).path)


def test_none_tells_what_the_tensors_mean_and_the_proof(run: Path) -> None:
    assert told(run, "none").keys() == {"format", "lorastyle.proof"}
    assert told(run, "none", "diffusers").keys() == {"format", "lorastyle.proof", "lora_adapter_metadata"}


def test_minimal_tells_what_it_is(run: Path) -> None:
    header = told(run, "minimal")
    expected = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "Ink",
        "modelspec.trigger_phrase": "zorvex",
        "modelspec.usage_hint": "Write zorvex in the prompt.",
        "modelspec.resolution": "512x512",
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_resolution": "(512, 512)",
        "ss_output_name": "minimal",
        "lorastyle.family": "sd1",
    }
    assert expected.items() <= header.items()
    assert not {"lorastyle.recipe", "ss_tag_frequency", "ss_steps", "modelspec.thumbnail"} & header.keys()
    proof = json.loads(header["lorastyle.proof"])
    assert proof["layers"] > 20
    assert proof["worst_relative_error"] < 1e-6


def test_full_tells_how_it_was_made(run: Path) -> None:
    header = told(run, "full")
    assert {"ss_steps": "300", "ss_optimizer": "AdamW", "ss_sd_model_name": "tiny"}.items() <= header.items()
    assert json.loads(header["ss_tag_frequency"]) == {"full": {"a cat": 2, "ink": 2, "zorvex": 1}}
    assert header["ss_num_train_images"] == "2"
    assert json.loads(header["lorastyle.recipe"])["seed"] == 7
    assert header["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("level", ["none", "minimal", "full"])
def test_no_level_tells_a_path_a_user_or_a_machine(run: Path, level: str) -> None:
    adapter = import_adapter(run)
    save(run, replace(adapter, metadata=dict(adapter.metadata) | {"ss_sd_model_name": "/home/somebody/base.ckpt"}))
    header = told(run, level)
    header.pop("modelspec.thumbnail", None)  # a picture in base64, in which any short word may occur
    text = json.dumps(header)
    for secret in (str(run.parent), str(Path.home()), "somebody", socket.gethostname(), f"/{getpass.getuser()}/"):
        assert secret not in text


def test_the_hash_is_that_of_the_tensors_alone(run: Path) -> None:
    hashes = set()
    for level in ("minimal", "full"):
        data = export_adapter(run, "kohya", run.parent / "new.safetensors", metadata=level).path.read_bytes()
        tensors = data[8 + int.from_bytes(data[:8], "little") :]
        header = header_of(run.parent / "new.safetensors")
        assert header["sshs_model_hash"] == hashlib.sha256(tensors).hexdigest()
        assert header["modelspec.hash_sha256"] == "0x" + header["sshs_model_hash"]
        hashes.add(header["sshs_model_hash"])
    assert len(hashes) == 1


def test_the_page_of_adapters_gets_its_files(run: Path) -> None:
    exported = export_adapter(run, "a1111", run.parent / "out" / "Ink.safetensors", strength=0.8)
    assert {path.name for path in exported.beside} == {"Ink.json", "Ink.preview.png"}
    card = json.loads((run.parent / "out" / "Ink.json").read_text())
    assert {"activation text": "zorvex", "preferred weight": 0.8, "sd version": "SD1"}.items() <= card.items()
    with Image.open(run.parent / "out" / "Ink.preview.png") as picture:
        assert picture.size == (64, 32)


def test_a_lycoris_kind_is_called_by_its_algorithm(file_of: FileOf, tmp_path: Path) -> None:
    file, _ = file_of("sd1", "OFT")
    header = header_of(export_adapter(file, "kohya", tmp_path / "new.safetensors").path)
    assert header["ss_network_module"] == "lycoris.kohya"
    assert json.loads(header["ss_network_args"]) == {"algo": "diag-oft"}
