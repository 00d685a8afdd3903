"""What is found out about an image once, when it is added, so that it never has to be opened again for a list."""

import io
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lorastyle.data.images import image_size, pixel_hash, read_picture
from lorastyle.errors import BadFile

THUMBNAIL = 320  # pixels, the longer side
_HASHED = 64  # pixels, the side of what the perceptual hash is taken of
_WAVES = 16  # of the lowest frequencies, each way
_STUDIED = 1024  # pixels, the longer side of what sharpness is measured on
_EDGES = 1000  # strongest ones
_REACH = 8  # pixels around an edge that its contrast is looked for in
_LEAST_CONTRAST = 12  # of 255 levels; below, an edge is noise


@dataclass(frozen=True)
class Look:
    """What an image looks like. `width` and `height` in pixels when upright; `hash` knows it by its pixels,
    `waves` by its forms (256 bits in hex, as near as the images are alike). `blur` is the width of its sharpest edges
    in its own pixels, as the standard deviation of a Gaussian; 0 where it has no edges. `alpha`: parts of it were
    transparent. `notes`: what else was done to it.
    """

    width: int
    height: int
    hash: str
    waves: str
    blur: float
    alpha: bool
    animated: bool
    notes: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Look":
        return _read(text)


@lru_cache(maxsize=10_000)
def _read(text: str) -> Look:
    """Lists of images are asked for all the time, and what an image looks like never changes."""
    stored: dict[str, Any] = json.loads(text)
    return Look(**(stored | {"notes": tuple(stored["notes"])}))


def look_at(path: Path, name: str, most_pixels: int) -> tuple[Look, bytes]:
    """What the image in a file looks like, and its thumbnail (WebP without metadata); `name` is for messages.

    Raises BadFile where it cannot be read or has more than `most_pixels`, which its header tells.
    """
    width, height = image_size(path, name)
    if width * height > most_pixels:
        what = f"has {width} x {height} pixels, more than the {most_pixels / 1e6:g} megapixels allowed here"
        raise BadFile(name, what, "make it smaller; training uses far fewer pixels")
    picture = read_picture(path, name)
    image = picture.image
    grey = _shrunk(image, _STUDIED).convert("L")
    blur = blur_of(np.asarray(grey)) * max(image.size) / max(grey.size)
    notes = tuple(note for note in picture.notes if note not in (picture.filled, picture.first_of))
    look = Look(image.width, image.height, pixel_hash(image), waves_of(grey), blur, bool(picture.filled),
                bool(picture.first_of), notes)  # fmt: skip
    return look, _webp(_shrunk(image, THUMBNAIL))


def waves_of(image: Image.Image) -> str:
    """A perceptual hash: which of the 16 x 16 lowest spatial frequencies are stronger than their median.

    After Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2.1 (DCT based).
    """
    grey = np.asarray(image.convert("L").resize((_HASHED, _HASHED), Image.Resampling.BILINEAR), np.float64)
    waves = _cosines() @ grey @ _cosines().T
    strengths = waves.flatten()
    strengths[0] = np.median(strengths[1:])  # the mean brightness says nothing about forms
    return np.packbits(strengths > np.median(strengths)).tobytes().hex()


def blur_of(grey: npt.NDArray[np.uint8]) -> float:
    """The width of the sharpest edges of an image [height, width], in its pixels, as the deviation of a Gaussian.

    An edge of the contrast c, blurred with the deviation s, rises by c / (s sqrt(2 pi)) a pixel where it is steepest.
    """
    if min(grey.shape) < 3:
        return 0.0
    levels = grey.astype(np.int16)
    steepest = np.maximum(np.abs(np.diff(levels, axis=1))[:-1], np.abs(np.diff(levels, axis=0))[:, :-1])
    places = _largest(steepest.ravel())
    down, right = np.divmod(places, steepest.shape[1])
    reach = np.arange(-_REACH, _REACH + 2)
    windows = levels[
        np.clip(down[:, None, None] + reach[:, None], 0, grey.shape[0] - 1),
        np.clip(right[:, None, None] + reach[None, :], 0, grey.shape[1] - 1),
    ]
    contrasts = windows.max(axis=(1, 2)) - windows.min(axis=(1, 2))
    edges = contrasts >= _LEAST_CONTRAST
    if not edges.any():
        return 0.0
    sharpness = np.median(steepest.ravel()[places][edges] / contrasts[edges])
    return round(float(1 / (sharpness * np.sqrt(2 * np.pi))), 3)


def _largest(rises: npt.NDArray[np.int16]) -> npt.NDArray[np.intp]:
    """The places of about _EDGES of the largest values, evenly taken among the least of them, which are often equal."""
    wanted = min(_EDGES, rises.size // 100 + 1)
    at_least = np.cumsum(np.bincount(rises, minlength=256)[::-1])[::-1]
    places = np.flatnonzero(rises >= np.flatnonzero(at_least >= wanted)[-1])
    return places[:: max(1, len(places) // wanted)]


def _cosines() -> npt.NDArray[np.float64]:
    """The lowest waves of the discrete cosine transform (type II), one in each row."""
    positions = (np.arange(_HASHED) + 0.5) * np.pi / _HASHED
    return np.cos(np.arange(_WAVES)[:, None] * positions)


def _shrunk(image: Image.Image, longest: int) -> Image.Image:
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BOX if longest == _STUDIED else Image.Resampling.LANCZOS, reducing_gap=2)


def _webp(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, format="WEBP", quality=82, method=2)
    return data.getvalue()
