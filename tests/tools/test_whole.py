"""What counts as torn: a file that its reader refuses, or a checkpoint without one of its files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tools.reports.whole import torn_under

FILES = (
    "run.safetensors",
    "metrics.jsonl",
    "recipe.toml",
    "sample.png",
    "loss.svg",
    "checkpoints/step-000005/state.json",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (5, 10):
        folder = tmp_path / "checkpoints" / f"step-{step:06d}"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"step": step}))
        save_file({"factor": np.ones((4, 4), np.float32)}, folder / "adapter.safetensors")
    save_file({"factor": np.ones((4, 4), np.float32)}, tmp_path / "run.safetensors")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    (tmp_path / "recipe.toml").write_text('trigger = "sumi"\nrank = 16\nname = "x"\n')
    (tmp_path / "loss.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>\n')
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(tmp_path / "sample.png")
    return tmp_path


def test_a_whole_run_has_nothing_torn(run: Path) -> None:
    assert torn_under(run) == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_torn(run: Path, name: str) -> None:
    path = run / name
    path.write_bytes(path.read_bytes()[:-3])
    [torn] = torn_under(run)
    assert torn.startswith(str(path))


def test_a_checkpoint_without_one_of_its_files_is_torn(run: Path) -> None:
    (run / "checkpoints" / "step-000005" / "adapter.safetensors").unlink()
    [torn] = torn_under(run)
    assert "step-000005: lacks adapter.safetensors" in torn


def test_what_is_not_yet_published_does_not_count(run: Path) -> None:
    (run / ".run.safetensors.lorastyle-12-abcdef01.new").write_bytes(b"half")
    beside = run / "checkpoints" / ".step-000015.lorastyle-12-abcdef01.new"
    beside.mkdir()
    (beside / "state.json").write_text('{"st')
    assert torn_under(run) == []
