"""The measuring functions, on pictures made up here whose answer is known."""

import numpy as np
import pytest

from tools.reports import judge

COLOURS = {"white": (255, 255, 255), "yellow": (255, 226, 92), "blue": (120, 176, 248)}


def disc(x: float, y: float, radius: float, colour: tuple[int, int, int], behind: tuple[int, int, int]) -> np.ndarray:
    rows, columns = np.mgrid[:128, :128]
    inside = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    return np.where(inside[..., None], np.uint8(colour), np.uint8(behind))


DRAWINGS = np.stack(
    [disc(64, 64, radius, colour, COLOURS["white"]) for radius in (20, 45) for colour in ((200, 0, 0), (0, 0, 200))]
)


def test_nearest_forgives_noise_and_a_small_shift() -> None:
    noise = np.random.default_rng(0).normal(0, 20, DRAWINGS.shape)
    shifted = np.roll(DRAWINGS, 2, axis=2)
    pictures = np.clip(shifted + noise, 0, 255).astype(np.uint8)
    assert judge.nearest(pictures, DRAWINGS).tolist() == [0, 1, 2, 3]


def test_nearest_tells_size_and_colour_apart() -> None:
    pictures = np.stack(
        [disc(64, 64, 40, (220, 30, 30), (255, 255, 255)), disc(64, 64, 24, (0, 0, 150), (255, 255, 255))]
    )
    assert judge.nearest(pictures, DRAWINGS).tolist() == [2, 1]


@pytest.mark.parametrize("name", COLOURS)
def test_background_is_named_by_its_border_only(name: str) -> None:
    tinted = tuple(max(0, channel - 15) for channel in COLOURS[name])
    assert judge.backgrounds(disc(64, 64, 50, (255, 226, 92), tinted)[None], COLOURS) == [name]


def test_a_subject_over_part_of_the_border_does_not_change_the_background() -> None:
    picture = disc(64, 64, 20, (0, 0, 0), COLOURS["blue"])
    picture[80:] = (255, 240, 200)  # all of the lower border, and the lower ends of the sides
    assert judge.backgrounds(picture[None], COLOURS) == ["blue"]
