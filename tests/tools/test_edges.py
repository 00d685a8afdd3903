"""Edge maps must find a shape whether it is filled or outlined, wherever it lies."""

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tools.reports import edges

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def polygon(corners: int, turn: float = 0.0, radius: float = 44, middle: tuple[float, float] = (64, 64)) -> list:
    angles = [turn + 2 * math.pi * corner / corners for corner in range(corners)]
    return [(middle[0] + radius * math.sin(angle), middle[1] - radius * math.cos(angle)) for angle in angles]


SHAPES = {"triangle": (3, 0.0), "square": (4, math.pi / 4), "diamond": (4, 0.0), "hexagon": (6, 0.0)}


def filled(
    name: str, colour: tuple[int, int, int] = (230, 180, 60), behind: tuple[int, int, int] = WHITE
) -> np.ndarray:
    picture = Image.new("RGB", (128, 128), behind)
    ImageDraw.Draw(picture).polygon(polygon(*SHAPES[name]), fill=colour)
    return np.asarray(picture)


def outlined(name: str, radius: float = 44, middle: tuple[float, float] = (64, 64)) -> np.ndarray:
    picture = Image.new("RGB", (128, 128), WHITE)
    points = polygon(*SHAPES[name], radius=radius, middle=middle)
    ImageDraw.Draw(picture).line([*points, points[0], points[1]], fill=BLACK, width=5, joint="curve")
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7)))


DRAWINGS = np.stack([filled(name) for name in SHAPES])


def found(pictures: list[np.ndarray]) -> list[str]:
    names = list(SHAPES)
    return [names[index] for index in edges.nearest(np.stack(pictures), DRAWINGS)]


def test_an_outline_finds_the_filled_shape() -> None:
    assert found([outlined(name) for name in SHAPES]) == list(SHAPES)


def test_a_shifted_and_smaller_outline_finds_it_too() -> None:
    assert found([outlined(name, radius=40, middle=(69, 60)) for name in SHAPES]) == list(SHAPES)


def test_colours_and_dark_backgrounds_do_not_matter() -> None:
    pictures = [filled(name, colour=(250, 250, 240), behind=(60, 40, 90)) for name in SHAPES]
    assert found(pictures) == list(SHAPES)


def test_noise_does_not_matter() -> None:
    noise = np.random.default_rng(0).normal(0, 10, (128, 128, 3))
    pictures = [np.clip(outlined(name) + noise, 0, 255).astype(np.uint8) for name in SHAPES]
    assert found(pictures) == list(SHAPES)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_picture_has_an_empty_map(level: int) -> None:
    picture = np.full((1, 128, 128, 3), level, dtype=np.uint8)
    assert edges.edge_maps(picture).abs().max() == 0


def test_what_leaves_the_picture_does_not_come_in_on_the_other_side() -> None:
    maps = edges.edge_maps(DRAWINGS[:1])
    assert edges.shifted(maps, 2, -1)[..., :2].abs().max() == 0
    assert edges.shifted(maps, 2, -1)[..., -1:, :].abs().max() == 0
    assert (edges.shifted(maps, 2, -1)[..., :-1, 2:] == maps[..., 1:, :-2]).all()
