"""What the owner of an image should look at before training on it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lorastyle.data.buckets import LOSS_WORTH_SAYING, Crop
from lorastyle.data.captions import says
from lorastyle.workspace.drafts.looks import Look
from lorastyle.workspace.drafts.rows import Doubt

ALIKE = (
    10  # of 256 bits; the same drawing in another size or format differs in up to 8, others of a series in 12 and more
)
BLURRED = 1.8  # pixels as trained, the deviation of a Gaussian; sharp pictures have 0.4 to 1.1
ENLARGED = 1.05  # times
EXTREME = 2.5  # times as long as wide
_AT_ONCE = 512  # rows of the table of all pairs


@dataclass(frozen=True)
class Twins:
    """By image, the first other image of a dataset with the very same pixels, and the first that looks the same."""

    same: dict[str, str]
    alike: dict[str, str]


def twins(looks: Sequence[tuple[str, Look]]) -> Twins:
    """Find images that are there twice; `looks` are the ids and looks of a dataset in its order."""
    by_pixels: defaultdict[str, list[str]] = defaultdict(list)
    for id, look in looks:
        by_pixels[look.hash].append(id)
    same = {id: next(one for one in ids if one != id) for ids in by_pixels.values() if len(ids) > 1 for id in ids}
    ids = [id for id, _ in looks]
    pairs = _pairs(tuple(look.waves for _, look in looks))
    alike: dict[str, str] = {}
    for one, other in pairs:
        if looks[one][1].hash != looks[other][1].hash:
            alike.setdefault(ids[one], ids[other])
    return Twins(same, alike)


@lru_cache(maxsize=16)
def _pairs(waves: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """The places of all that look alike, each pair both ways round, in order."""
    if not waves:
        return ()
    packed = np.frombuffer(bytes.fromhex("".join(waves)), np.uint8).reshape(len(waves), -1)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    least = signs.shape[1] - 2 * ALIKE
    found: list[tuple[int, int]] = []
    for start in range(0, len(waves), _AT_ONCE):
        near = signs[start : start + _AT_ONCE] @ signs.T >= least
        found += [(start + int(one), int(other)) for one, other in zip(*np.nonzero(near), strict=True)]
    return tuple((one, other) for one, other in found if one != other)


def about_pixels(look: Look, crop: Crop, same: str | None, alike: str | None) -> Iterator[Doubt]:
    """Doubts about an image: `same` and `alike` are what its twins are called beside it."""
    if same is not None:
        yield Doubt("duplicate", f"The very same picture as {same}: it counts twice. Remove one of them.")
    if alike is not None:
        yield Doubt("near-duplicate", f"Nearly the same picture as {alike}. Keep the better one.")
    if look.blur * min(crop.scale, 1) > BLURRED:
        yield Doubt("blurred", "Blurred, and the blur would be learnt as part of the style.")
    if crop.scale > ENLARGED:
        width, height = crop.bucket
        yield Doubt("small", f"Too small: it is enlarged {crop.scale:.1f} times, to {width} × {height} pixels.")
    if max(look.width, look.height) > EXTREME * min(look.width, look.height) or crop.lost > LOSS_WORTH_SAYING:
        parts = "in two" if crop.lost <= 0.5 else "into several"
        yield Doubt("extreme-shape", f"A shape that does not fit: {crop.lost:.0%} of it is cut off. Move the crop to "
                                     f"what matters, or cut the picture {parts}.")  # fmt: skip
    if look.alpha:
        yield Doubt("alpha", "Parts of it are transparent; they are filled with white.")
    if look.animated:
        yield Doubt("animated", "An animation; only its first picture is used.")
    for note in look.notes:
        yield Doubt("note", f"{note[:1].upper()}{note[1:]}.")


def about_caption(caption: str, trigger: str) -> Iterator[Doubt]:
    if not caption:
        yield Doubt("caption-missing", "No caption yet. Say what is on the picture, not how it is drawn.")
    elif trigger and not says(caption, trigger):
        yield Doubt("no-trigger", f"The caption does not say “{trigger}”.")
