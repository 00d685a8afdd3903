"""Concepts and their drawings: SVG of the emoji packages, rasterised, filtered and composited."""

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from tools.pocket import packages

GLOSSY, FLAT, INK = "glossy", "flat", "ink"
SETS = {
    GLOSSY: "@iconify-json/noto",
    FLAT: "@iconify-json/fluent-emoji-flat",
    INK: "@iconify-json/fluent-emoji-high-contrast",
}
SIZE = 128
MARGIN = 8 / 128  # of the picture's width, on each side of the drawing

BACKGROUNDS = {
    "white": (255, 255, 255),
    "yellow": (255, 226, 92),
    "red": (232, 96, 88),
    "green": (134, 206, 126),
    "blue": (120, 176, 248),
    "purple": (168, 128, 220),
    "pink": (255, 184, 214),
}


@dataclass(frozen=True)
class Concept:
    """One thing that pocket can draw: the words for it and its code point, by which the sets name it."""

    words: str
    code: str

    @property
    def phrase(self) -> str:
        """The words with their article, as captions say them."""
        if self.words.split()[-1] in PLURALS:
            return self.words
        return f"{'an' if self.words[0].lower() in 'aeiou' and not self.words.startswith('uni') else 'a'} {self.words}"


PLURALS = frozenset(
    """
    grapes cherries blueberries peanuts pancakes bacon fries popcorn butter spaghetti sushi broccoli bread garlic corn
    glasses sunglasses jeans gloves socks shorts headphones scissors books swords dna soap lightning
    """.split()  # noqa: SIM905 - a list of 32 quoted words reads worse
)


def code(hexcode: str) -> str:
    return hexcode.upper().replace("-FE0F", "")


@functools.cache
def names(style: str) -> dict[str, str]:
    """Map code points to the names of the icons in the set of `style`."""
    return {code(point): name for point, name in packages.read(SETS[style], "chars.json").items()}


@functools.cache
def concepts() -> tuple[Concept, ...]:
    """The concepts of `concepts.txt`, in its order."""
    codes = {entry["label"]: code(entry["hexcode"]) for entry in packages.read("emojibase-data", "en/data.json")}
    lines = (Path(__file__).parent / "concepts.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" = ") for line in lines if line and not line.startswith("#")]
    return tuple(Concept(pair[-1], codes[pair[0]]) for pair in pairs)


def svg(style: str, name: str) -> str:
    """The icon `name` of the set of `style` as a whole SVG document."""
    icons = packages.read(SETS[style], "icons.json")
    icon = icons["icons"][name]
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'


def rasterise(document: str, size: int) -> np.ndarray:
    """Rasterise an SVG document to RGBA bytes [size, size, 4], centred."""
    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=document, width=size, height=size))))
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return np.asarray(canvas)


def drawing(style: str, concept: Concept, size: int = SIZE) -> np.ndarray:
    """The drawing of `concept` in `style` as RGBA bytes [size, size, 4], with the margin around it."""
    margin = round(size * MARGIN)
    inner = rasterise(svg(style, names(style)[concept.code]), size - 2 * margin)
    return np.pad(inner, ((margin, margin), (margin, margin), (0, 0)))


def composite(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Composite RGBA bytes [..., 4] on a colour; returns RGB bytes [..., 3]."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return (rgba[..., :3] * alpha + np.asarray(background, np.float32) * (1 - alpha) + 0.5).astype(np.uint8)


def grey(rgb: np.ndarray) -> np.ndarray:
    return np.repeat((rgb @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=-1)


def sepia(rgb: np.ndarray) -> np.ndarray:
    return grey(rgb) / 255 * np.array([255, 225, 180]) * 0.9 + np.array([20, 10, 0])


def posterised(rgb: np.ndarray) -> np.ndarray:
    return np.round(rgb / 85.0) * 85


FILTERS = {"grey": grey, "sepia": sepia, "posterised": posterised}


def picture(style: str, concept: Concept, background: str, filtered: str | None = None) -> np.ndarray:
    """The drawing on a named background, filtered as a whole; RGB bytes [128, 128, 3]."""
    rgb = composite(drawing(style, concept), BACKGROUNDS[background])
    if filtered is None:
        return rgb
    return np.clip(FILTERS[filtered](rgb.astype(np.float32)) + 0.5, 0, 255).astype(np.uint8)


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """Average 4 x 4 pixels: [..., 128, 128, 3] bytes to [..., 32, 32, 3] floats."""
    *batch, height, width, channels = rgb.shape
    blocks = rgb.astype(np.float32).reshape(*batch, height // 4, 4, width // 4, 4, channels)
    return blocks.mean(axis=(-4, -2))
