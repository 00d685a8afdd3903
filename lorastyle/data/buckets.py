"""Aspect buckets: the sizes that pictures are trained at, and the crop that brings a picture to one.

Training and any preview of it share :func:`plan_crop`, so that what is shown is what is trained on.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from lorastyle.errors import BadInput

LOSS_WORTH_SAYING = 0.1
_LONGEST_ASPECT = 4  # of width to height; longer pictures are cropped to it


@dataclass(frozen=True)
class Crop:
    """How one picture is brought to a bucket.

    `bucket` is (width, height) as trained; `box` (left, top, right, bottom) the part of the picture that is kept, in
    its own pixels and of the bucket's proportions; `scale` trained pixels per own pixel (above 1: enlarged); `lost`
    the share of the picture's area outside the box.
    """

    bucket: tuple[int, int]
    box: tuple[float, float, float, float]
    scale: float
    lost: float

    @property
    def notes(self) -> tuple[str, ...]:
        """What its owner should know about it, each to be read after the file's name."""
        width, height = self.bucket
        enlarged = f"is enlarged {self.scale:.1f} times, to {width} x {height} pixels" if self.scale > 1.005 else ""
        enlarged = enlarged.replace(" 1.0 times", " slightly")
        cut = (
            f"loses {self.lost:.0%} of its area to the crop to {width} x {height}"
            if self.lost > LOSS_WORTH_SAYING
            else ""
        )
        return tuple(note for note in (enlarged, cut) if note)


@lru_cache
def buckets(resolution: int, divisor: int = 64) -> tuple[tuple[int, int], ...]:
    """The sizes (width, height) trained at: both sides multiples of `divisor`, about `resolution`^2 pixels, from
    square to four times as long as wide, both ways round.

    Raises BadInput where no such size exists.
    """
    if resolution < divisor:
        raise BadInput("resolution", f"{resolution} is less than the {divisor} pixels that sizes are multiples of",
                       f"choose a resolution of at least {divisor}")  # fmt: skip
    square = _nearest_multiple(resolution, divisor)
    shortest = max(math.ceil(resolution / math.sqrt(_LONGEST_ASPECT) / divisor) * divisor, divisor)
    sizes = {(square, square)}
    for short in range(shortest, resolution, divisor):
        long = _nearest_multiple(resolution**2 / short, divisor)
        sizes |= {(short, long), (long, short)}
    return tuple(sorted(sizes))


def plan_crop(
    width: int,
    height: int,
    resolution: int,
    divisor: int = 64,
    focus: tuple[float, float] = (0.5, 0.5),
) -> Crop:
    """The bucket and crop for a picture of `width` x `height` pixels: the bucket that loses least of it, and the
    largest box of those proportions, centred on `focus` (shares of width and height) as far as the edges allow.

    Raises BadInput for a size, focus or resolution that makes no sense.
    """
    if width < 1 or height < 1:
        raise BadInput("size", f"{width} x {height} pixels are not a picture", "give at least 1 x 1")
    if not all(0 <= share <= 1 for share in focus):
        raise BadInput("focus", f"{focus} lies outside the picture", "give shares of width and height from 0 to 1")
    bucket = _best_bucket(width, height, resolution, divisor)
    scale = max(bucket[0] / width, bucket[1] / height)
    kept_width, kept_height = min(bucket[0] / scale, width), min(bucket[1] / scale, height)
    left = _start(width, kept_width, focus[0])
    top = _start(height, kept_height, focus[1])
    box = (left, top, min(left + kept_width, width), min(top + kept_height, height))
    return Crop(bucket, box, scale, max(0.0, 1 - kept_width * kept_height / (width * height)))


def apply_crop(image: Image.Image, crop: Crop) -> Image.Image:
    """The part of `image` in the crop's box at the bucket's size, resampled by an antialiased Lanczos filter."""
    return image.resize(crop.bucket, Image.Resampling.LANCZOS, box=crop.box)


@lru_cache(maxsize=4096)
def _best_bucket(width: int, height: int, resolution: int, divisor: int) -> tuple[int, int]:
    return min(buckets(resolution, divisor), key=lambda size: _loss(width, height, size, resolution))


def _loss(width: int, height: int, bucket: tuple[int, int], resolution: int) -> tuple[float, int, tuple[int, int]]:
    """What the choice of a bucket goes by: the share of the picture lost, then how far its area is off."""
    ratio = (width * bucket[1]) / (height * bucket[0])
    return round(1 - min(ratio, 1 / ratio), 9), abs(bucket[0] * bucket[1] - resolution**2), bucket


def _start(length: int, kept: float, focus: float) -> float:
    return min(max(focus * length - kept / 2, 0.0), length - kept)


def _nearest_multiple(length: float, divisor: int) -> int:
    return max(math.floor(length / divisor + 0.5), 1) * divisor
