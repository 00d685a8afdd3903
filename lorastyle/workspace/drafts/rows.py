"""What is shown of one image of a dataset."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Doubt:
    """Something about an image that its owner should look at: a `code` for scripts, and a sentence."""

    code: str
    text: str


@dataclass(frozen=True)
class Row:
    """One image as it will be trained.

    `name` is the person's own name of it, `by_person` whether a person wrote the caption, `focus` (x, y) the point
    that the crop keeps, in shares of width and height from the left top corner. `crop` (left, top, right, bottom) is
    the part that is trained on, in pixels of the upright image of `width` x `height`; `bucket` (width, height) the
    size that it is trained at; `lost` the share of the area outside the crop. `version` changes with the thumbnail.
    """

    id: str
    name: str
    caption: str
    by_person: bool
    width: int
    height: int
    focus: tuple[float, float]
    crop: tuple[float, float, float, float]
    bucket: tuple[int, int]
    lost: float
    doubts: tuple[Doubt, ...]
    version: str


@dataclass(frozen=True)
class Added:
    """What became of files that were added: the ids of new images, of images that got a caption, and a sentence for
    each file that was refused."""

    added: tuple[str, ...] = ()
    captioned: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
