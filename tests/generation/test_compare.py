"""Grids of checkpoint x strength x prompt."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lorastyle import BadInput, compare_grid, generate, read_parameters
from lorastyle.adapters.file import Adapter, save
from lorastyle.bases.base import Base
from lorastyle.generation import generate as module

FEW = {"steps": 2, "guidance": 1.0}
PROMPTS = ["a cat", "a dog"]


@pytest.fixture
def checkpoints(make: Callable[[int], Adapter], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"step-00000{step}" / "adapter.safetensors" for step in (1, 2)]
    for step, path in enumerate(paths):
        path.parent.mkdir()
        save(path, make(step))
    return paths


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


def test_every_cell_is_what_it_says(base: Base, checkpoints: list[Path], tmp_path: Path) -> None:
    grid = compare_grid(base, checkpoints, [0.0, 1.0], PROMPTS, 3, tmp_path / "grid", batch=1, **FEW)
    assert [(cell.prompt, cell.checkpoint, cell.strength) for cell in grid.cells] == [
        (prompt, checkpoint, strength) for prompt in PROMPTS for checkpoint in checkpoints for strength in (0.0, 1.0)
    ]
    for cell in grid.cells:
        number = PROMPTS.index(cell.prompt)
        alone = generate(base, [cell.prompt], {cell.checkpoint: cell.strength}, seed=3, numbers=[number], **FEW)[0]
        assert pixels(cell.path) == alone.tobytes()
        told = read_parameters(cell.path)
        assert (told["prompt"], told["adapters"][0]["name"]) == (cell.prompt, cell.checkpoint.parent.name)
    of_the_base = {pixels(cell.path) for cell in grid.cells if cell.strength == 0 and cell.prompt == "a cat"}
    assert of_the_base == {generate(base, PROMPTS[:1], seed=3, **FEW)[0].tobytes()}


def test_all_cells_are_rows_of_one_batch(
    base: Base, checkpoints: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    real = module.sample

    def counted(base, rows, *more, **settings):
        batches.append(len(rows))
        return real(base, rows, *more, **settings)

    monkeypatch.setattr(module, "sample", counted)
    compare_grid(base, checkpoints, [0.5, 1.0], PROMPTS, 0, tmp_path / "grid", **FEW)
    assert batches == [8]


def test_folders_of_checkpoints_and_a_summary_for_json(base: Base, checkpoints: list[Path], tmp_path: Path) -> None:
    told = []
    grid = compare_grid(
        base,
        [path.parent for path in checkpoints],
        [1.0],
        PROMPTS[:1],
        out=tmp_path / "grid",
        progress=lambda done, total: told.append((done, total)),
        **FEW,
    )
    assert [cell.checkpoint for cell in grid.cells] == checkpoints
    summary = json.loads(json.dumps(grid.summary()))
    assert Path(summary["sheet"]).is_file()
    assert all(Path(cell["path"]).is_file() for cell in summary["cells"])
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("empty", ["checkpoints", "strengths", "prompts"])
def test_an_empty_list_is_refused(empty: str, base: Base, checkpoints: list[Path], tmp_path: Path) -> None:
    given = {"checkpoints": checkpoints, "strengths": [1.0], "prompts": PROMPTS} | {empty: []}
    with pytest.raises(BadInput, match=f"{empty}: there are none"):
        compare_grid(base, **given, out=tmp_path / "grid")
    assert not (tmp_path / "grid").exists()
