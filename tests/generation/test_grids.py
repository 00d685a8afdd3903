import numpy as np
import pytest
from PIL import Image

from lorastyle.generation.grids import PAPER, comparison

RED, BLUE = (200, 0, 0), (0, 0, 200)


def pictures(size: tuple[int, int] = (128, 128)) -> list[list[Image.Image]]:
    return [[Image.new("RGB", size, colour)] * 3 for colour in (RED, BLUE)]


def area(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(axis=2).sum())


def test_every_picture_is_whole_on_the_sheet() -> None:
    sheet = comparison(pictures(), ["without", "with"], ["a cat", "a dog", "a rocket"], "the same seeds")
    assert area(sheet, RED) == area(sheet, BLUE) == 3 * 128 * 128


@pytest.mark.parametrize("labels", [{"row_labels": ["one", "two"]}, {"column_labels": ["x", "y", "z"]}, {"title": "t"}])
def test_labels_are_written_beside_the_pictures(labels: dict[str, object]) -> None:
    plain, labelled = comparison(pictures()), comparison(pictures(), **labels)
    assert area(labelled, RED) == area(plain, RED)
    drawn = np.asarray(labelled)
    written = (drawn.max(axis=2) < 100) & (drawn.min(axis=2) > 10)  # dark grey, neither paper nor picture
    assert written.sum() > 10


def test_long_labels_are_wrapped_and_stay_on_the_sheet() -> None:
    words = "an extraordinarily long label " * 6
    short = comparison(pictures(), ["a", "b"], ["c"], "d")
    long = comparison(pictures(), [words] * 2, [words] * 3, words)
    assert long.height > short.height
    assert long.width == short.width
    edge = np.concatenate([np.asarray(long)[:, [0, -1]].reshape(-1, 3), np.asarray(long)[[0, -1]].reshape(-1, 3)])
    assert (edge == PAPER).all()


def test_small_pictures_are_enlarged_by_whole_numbers() -> None:
    sheet = comparison(pictures((48, 32)))
    assert area(sheet, RED) == 3 * (48 * 3) * (32 * 3)


def test_rows_and_pictures_may_differ() -> None:
    rows = [[Image.new("RGB", (128, 128), RED)], [Image.new("RGB", (64, 128), BLUE)] * 2]
    sheet = comparison(rows, ["one", "two"])
    assert (area(sheet, RED), area(sheet, BLUE)) == (128 * 128, 2 * 64 * 128)
