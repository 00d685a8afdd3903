"""What a picture shows, by pixels: the nearest drawing, and the named colour of its background.

Pictures are RGB bytes [n, height, width, 3] throughout.
"""

from collections.abc import Mapping

import numpy as np

CELL = 4  # pixels; averaging forgives an edge that lies a pixel further, but not another drawing

Colour = tuple[int, int, int]


def nearest(pictures: np.ndarray, drawings: np.ndarray) -> np.ndarray:
    """Index [n] of the drawing nearest to each picture: least squared difference of 4 x 4 averages."""
    ours, theirs = cells(pictures), cells(drawings)
    squares = (ours**2).sum(1)[:, None] - 2 * ours @ theirs.T + (theirs**2).sum(1)[None]
    return squares.argmin(1)


def cells(pictures: np.ndarray) -> np.ndarray:
    """Averages of CELL x CELL pixels, from 0 to 1, flat: [n, height / CELL * width / CELL * 3]."""
    count, height, width, channels = pictures.shape
    blocks = pictures.reshape(count, height // CELL, CELL, width // CELL, CELL, channels)
    return (blocks.mean((2, 4), dtype=np.float64) / 255).reshape(count, -1)


def backgrounds(pictures: np.ndarray, colours: Mapping[str, Colour], width: int = 3) -> list[str]:
    """The name of the colour that most border pixels of each picture are nearest to.

    A vote, not a mean: a subject that reaches over part of the border does not mix into the colour.
    """
    palette = np.asarray(list(colours.values()), dtype=np.int64)
    names = list(colours)
    votes = [np.bincount(closest(border(picture, width), palette), minlength=len(names)) for picture in pictures]
    return [names[int(vote.argmax())] for vote in votes]


def border(picture: np.ndarray, width: int) -> np.ndarray:
    """The pixels [m, 3] of a picture [height, width, 3] that lie within `width` of its border."""
    inside = np.zeros(picture.shape[:2], dtype=bool)
    inside[width:-width, width:-width] = True
    return picture[~inside].astype(np.int64)


def closest(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Index [m] of the palette's colour nearest to each pixel [m, 3]."""
    return ((pixels[:, None] - palette[None]) ** 2).sum(-1).argmin(1)
