"""A dataset: captioned pictures that are ready to train on, and the list of what was refused and why."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from lorastyle import draws
from lorastyle.data.buckets import Crop, plan_crop
from lorastyle.data.colour import background_colour
from lorastyle.data.images import pixel_hash, read_picture
from lorastyle.data.sidecars import CENTRE, Sidecars, some_names
from lorastyle.data.sources import FolderSource, Refused, Source, ZipSource
from lorastyle.draws import Key
from lorastyle.errors import BadFile, BadInput

LEAST_HELD_OUT = 2
_REASONS_SHOWN = 10


@dataclass(frozen=True)
class Sample:
    """One picture of a dataset, decoded again whenever it is asked for, so that thousands take no memory.

    `name` is its path in the dataset, `caption` one line with ``[trigger]`` still in it, `width` and `height` are
    pixels when upright, `hash` knows it by its pixels, `notes` say what was done to it, and `repeats` how often an
    epoch shows it. `focus` is the point (x, y) that the crop keeps, in shares of width and height. `written`: somebody
    wrote the caption, it is not the file's name in words.
    """

    name: str
    caption: str
    width: int
    height: int
    hash: str
    notes: tuple[str, ...]
    repeats: int
    background: str = field(repr=False)
    source: Source = field(repr=False, compare=False)
    focus: tuple[float, float] = CENTRE
    written: bool = True

    def crop(self, resolution: int, divisor: int = 64) -> Crop:
        """How it is brought to a bucket of about `resolution`^2 pixels, around its focus point."""
        return plan_crop(self.width, self.height, resolution, divisor, self.focus)

    def picture(self) -> Image.Image:
        """The upright sRGB picture; raises BadFile where the file has changed since the dataset was read."""
        with self.source.open(self.name) as stream:
            image = read_picture(stream, self.name, self.background).image
        if pixel_hash(image) != self.hash:
            raise BadFile(self.name, "has changed since the dataset was read", "start again with the new picture")
        return image


@dataclass(frozen=True)
class Dataset:
    """Captioned pictures (`samples`, in the order of their names), what could not be used (`refused`), and `notes`
    on captions that belong to no picture. `background` is what transparent parts were filled with."""

    samples: tuple[Sample, ...]
    refused: tuple[Refused, ...]
    name: str
    background: str
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path | str, background: str = "#ffffff") -> "Dataset":
        """The dataset in a folder or a zip; raises BadInput as :meth:`from_folder` and :meth:`from_zip` do."""
        path = Path(path)
        if path.is_dir():
            return cls.from_folder(path, background)
        if path.is_file() and not zipfile.is_zipfile(path):
            raise BadFile(str(path), "is neither a folder nor a zip", "give the folder or zip that holds the images")
        return cls.from_zip(path, background)

    @classmethod
    def from_folder(cls, path: Path | str, background: str = "#ffffff") -> "Dataset":
        """The pictures in a folder and the folders in it, with their captions.

        Raises BadInput where there is no picture that can be used, BadFile for metadata that cannot be understood.
        """
        path = Path(path)
        if not path.is_dir():
            what = "is not a folder" if path.exists() else "there is no such folder"
            raise BadInput(str(path), what, "give the folder that holds the images")
        return cls._read(FolderSource(path), background)

    @classmethod
    def from_zip(cls, path: Path | str, background: str = "#ffffff") -> "Dataset":
        """The pictures in a zip, read without unpacking it to disk; raises as :meth:`from_folder` does."""
        path = Path(path)
        if not path.is_file():
            what = "is not a file" if path.exists() else "there is no such file"
            raise BadInput(str(path), what, "give the zip that holds the images")
        return cls._read(ZipSource(path), background)

    def on_background(self, background: str) -> "Dataset":
        """The same pictures, read again with another colour behind transparent parts, or this dataset if it is that."""
        return self if background == self.background else self._read(self.samples[0].source, background)

    @classmethod
    def _read(cls, source: Source, background: str) -> "Dataset":
        background_colour(background)
        sidecars = Sidecars(source)
        samples: list[Sample] = []
        refused = list(source.refused)
        for name in sidecars.images:
            try:
                samples.append(_sample(source, sidecars, name, background))
            except BadFile as error:
                refused.append(Refused(name, _about(name, error), error.do))
        if not samples:
            raise BadInput(str(source.path), _why_nothing(refused), "give images as PNG, JPEG or WebP")
        return cls(tuple(_twins_noted(samples)), tuple(sorted(refused, key=lambda file: file.name)), source.name,
                   background, sidecars.notes)  # fmt: skip

    def __len__(self) -> int:
        return len(self.samples)

    def split(self, share: float, seed: int = 0) -> tuple[list[Sample], list[Sample]]:
        """The samples to train on and those held out: `share` of the different pictures, at least 2, or none for 0.

        Which ones are held out follows from the pictures and the seed, whatever their names and order, and a picture
        that is there twice is wholly on one side. Raises BadInput where nothing would be left to train on.
        """
        pictures = {sample.hash for sample in self.samples}
        count = max(LEAST_HELD_OUT, round(share * len(pictures))) if share > 0 else 0
        if count >= len(pictures) and count:
            what = f"{count} of {len(pictures)} different pictures held out leave none to train on"
            raise BadInput("recipe.held_out", what, "set it to 0, or add pictures")
        by_lot = sorted(pictures, key=lambda picture: (draws.uniform(Key(seed, picture), "held out"), picture))
        held = set(by_lot[:count])
        return (
            [sample for sample in self.samples if sample.hash not in held],
            [sample for sample in self.samples if sample.hash in held],
        )

    def remarks(self, resolution: int | None = None, divisor: int = 64) -> list[str]:
        """Everything that the owner should read before the first step, as sentences: what was refused, which captions
        belong to nothing, what was done to pictures and, given a base's `resolution`, what its crops will do."""
        notes: dict[str, list[str]] = {}
        for sample in self.samples:
            crop = sample.crop(resolution, divisor).notes if resolution else ()
            for note in (*sample.notes, *crop):
                notes.setdefault(note, []).append(sample.name)
        told = [f"{some_names(names)}: {note}." for note, names in notes.items()]
        return [*(str(file) for file in self.refused), *(f"{note}." for note in self.notes), *told]


def _sample(source: Source, sidecars: Sidecars, name: str, background: str) -> Sample:
    with source.open(name) as stream:
        picture = read_picture(stream, name, background)
    captioned = sidecars.of(name)
    width, height = picture.image.size
    notes = (*picture.notes, *captioned.notes)
    return Sample(name, captioned.caption, width, height, pixel_hash(picture.image), notes, captioned.repeats,
                  background, source, captioned.focus, captioned.written)  # fmt: skip


def _about(name: str, error: BadFile) -> str:
    return error.what if error.where == name else f"its caption {error.where} {error.what}"


def _twins_noted(samples: Iterable[Sample]) -> Iterator[Sample]:
    first: dict[str, str] = {}
    for sample in samples:
        twin = first.setdefault(sample.hash, sample.name)
        note = f"has the same pixels as {twin}, so that picture counts twice"
        yield sample if twin == sample.name else replace(sample, notes=(*sample.notes, note))


def _why_nothing(refused: list[Refused]) -> str:
    if not refused:
        return "has no images"
    reasons = "; ".join(f"{file.name} {file.what}" for file in refused[:_REASONS_SHOWN])
    more = f"; and {len(refused) - _REASONS_SHOWN} more" if len(refused) > _REASONS_SHOWN else ""
    return f"has no image that can be used: {reasons}{more}"
