"""The committed sample data: what lies in each folder, and captions that a trigger word can be put into."""

from pathlib import Path

import pytest
from PIL import Image

SAMPLES = Path(__file__).parents[2] / "sample_data"
COUNTS = {"ink": 28, "ink-unseen": 20, "peep": 20}


@pytest.mark.parametrize("name", COUNTS)
def test_each_drawing_has_its_size_and_caption(name: str) -> None:
    pictures = sorted((SAMPLES / name).glob("*.png"))
    assert len(pictures) == COUNTS[name]
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.size == (512, 512), path
        assert path.with_suffix(".txt").read_text(encoding="utf-8").count("[trigger]") == 1, path


@pytest.mark.parametrize("name", COUNTS)
def test_each_folder_gives_source_and_licence(name: str) -> None:
    readme = (SAMPLES / name / "README.md").read_text(encoding="utf-8")
    assert "Source:" in readme
    assert ("CC0" if name == "peep" else "MIT License") in readme


def test_no_measured_concept_is_trained_on() -> None:
    trained, measured = ({path.stem for path in (SAMPLES / name).glob("*.png")} for name in ("ink", "ink-unseen"))
    assert not trained & measured


@pytest.mark.parametrize("name", ["ink", "ink-unseen"])
def test_ink_is_black_on_white(name: str) -> None:
    for path in (SAMPLES / name).glob("*.png"):
        with Image.open(path) as picture:
            red, green, blue = picture.convert("RGB").split()
            assert red.tobytes() == green.tobytes() == blue.tobytes(), path
            assert red.getextrema() == (0, 255), path
            assert red.getpixel((0, 0)) == 255, path


def test_captions_of_the_figure_are_all_different() -> None:
    captions = {path.read_text(encoding="utf-8") for path in (SAMPLES / "peep").glob("*.txt")}
    assert len(captions) == COUNTS["peep"]
