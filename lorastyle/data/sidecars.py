"""Which caption belongs to which image.

The first of these that is there wins; a note says when another one that differs is left unused:

1. ``x.txt`` beside ``x.png``, then ``x.caption``;
2. ``metadata.jsonl``, then ``metadata.csv`` (fields `file_name`, relative to its folder, and `text`), the nearest
   folder first;
3. a folder named ``10_trigger class`` as kohya's trainer has them: "trigger class", the nearest folder first (its
   number says how often an epoch repeats the image, whatever the caption comes from);
4. the file's name in words.

A row of ``metadata.jsonl`` may also have a `focus`: the point [x, y] that the crop keeps, in shares of the upright
image's width and height from its left top corner.
"""

import csv
import io
import json
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lorastyle.data.captions import caption_text, decoded_text
from lorastyle.data.sources import Source, read_bytes
from lorastyle.errors import BadFile

CAPTION_SUFFIXES = (".txt", ".caption")
METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
CENTRE = (0.5, 0.5)
MOST_CAPTION_BYTES = 2**20
MOST_METADATA_BYTES = 2**28

_PAPERS = re.compile(r"(readme|licen[cs]e|notice|copying|credits|attribution)([-_. ].*)?", re.IGNORECASE)
_PAPER_SUFFIXES = {"", ".txt", ".md", ".rst", ".html"}
_KOHYA_FOLDER = re.compile(r"(?P<repeats>[1-9]\d{0,2})_(?P<caption>.+)")  # four digits are a year: 2024_holiday
_CAMERA_NAME = re.compile(r"(img|dsc[nf]?|pxl|mvimg|dji|gopr|image|photo|picture|screenshot)?\d*", re.IGNORECASE)
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class Captioned:
    """A `caption` as found (``[trigger]`` still in it), the `repeats` of its image, and `notes` on where it is from.

    `written`: somebody wrote the caption, it is not the file's name in words. `focus`: see above; the centre where none
    is given.
    """

    caption: str
    repeats: int
    notes: tuple[str, ...]
    written: bool = True
    focus: tuple[float, float] = CENTRE


@dataclass
class _Metadata:
    """The captions and focus points that one metadata file gives, by the files' names in the dataset."""

    name: str
    captions: dict[str, str] = field(default_factory=dict)
    focus: dict[str, tuple[float, float]] = field(default_factory=dict)


class Sidecars:
    """Sorts the files of a source into images and captions, and finds the caption of each image.

    `notes` are on captions that belong to no image, `unused` the files that hold such captions. Where there is `more`
    to come, images may still be on their way. Raises BadFile for a metadata file that cannot be understood, or none of
    whose names is there although there is no more to come.
    """

    def __init__(self, source: Source, more: bool = False) -> None:
        self._source = source
        self._texts: dict[str, list[str]] = {}
        self.images: list[str] = []
        metadata: list[str] = []
        for name in source.files:
            path = PurePosixPath(name)
            if path.name.lower() in METADATA_NAMES:
                metadata.append(name)
            elif path.suffix.lower() in CAPTION_SUFFIXES:
                self._texts.setdefault(_key(str(path.with_suffix(""))), []).append(name)
            elif not _is_paper(path):
                self.images.append(name)
        self._metadata = [_read_metadata(source, name) for name in sorted(metadata, key=_nearest_first)]
        orphans, lost = self._orphans(), self._lost_rows()
        if not more:
            _require_some_match(self._metadata, lost)
        self.unused = (*orphans, *lost)
        self.notes = tuple(_on_captions_without_image(orphans, lost))

    def of(self, name: str) -> Captioned:
        """The caption of an image; raises BadFile where its caption file cannot be read."""
        repeats, folder_caption = self._kohya(name)
        found = list(self.found(name))
        notes = [
            f"the caption in {place} is not used, {found[0][0]} has another"
            for place, text in found[1:]
            if text != found[0][1]
        ]
        if found:
            caption = found[0][1]
            notes += [] if caption else [f"its caption in {found[0][0]} is empty"]
        elif folder_caption is not None:
            caption = folder_caption
        else:
            caption = words_of_name(PurePosixPath(name).stem)
            notes.append(
                "has no caption, so its file name serves" if caption else "has no caption, and no words in its name"
            )
        written = bool(found) or folder_caption is not None
        return Captioned(caption, repeats, tuple(notes), written, self._focus(name))

    def found(self, name: str) -> Iterator[tuple[str, str]]:
        """Where a caption of this image is written, and what it says, best place first."""
        key = _key(str(PurePosixPath(name).with_suffix("")))
        for place in sorted(self._texts.get(key, ()), key=lambda place: place.lower().endswith(CAPTION_SUFFIXES[1])):
            yield place, caption_text(read_bytes(self._source, place, MOST_CAPTION_BYTES), place)
        for metadata in self._metadata:
            if _key(name) in metadata.captions:
                yield metadata.name, metadata.captions[_key(name)]

    def _focus(self, name: str) -> tuple[float, float]:
        return next((found for metadata in self._metadata if (found := metadata.focus.get(_key(name)))), CENTRE)

    def _kohya(self, name: str) -> tuple[int, str | None]:
        folders = [folder.name for folder in PurePosixPath(name).parents][:-1]
        for folder in [*folders, self._source.name]:
            match = _KOHYA_FOLDER.fullmatch(folder)
            if match:
                return int(match["repeats"]), _key(match["caption"].replace("_", " "))
        return 1, None

    def _orphans(self) -> list[str]:
        """The caption files of no image."""
        owners = {_key(str(PurePosixPath(name).with_suffix(""))) for name in self.images}
        lost = [name for stem, names in self._texts.items() if stem not in owners for name in names]
        return [name for name in lost if not _is_paper(PurePosixPath(name))]

    def _lost_rows(self) -> dict[str, list[str]]:
        """For each metadata file that names images which are not there, those names."""
        images = {_key(name) for name in self.images}
        lost = {one.name: [name for name in one.captions if name not in images] for one in self._metadata}
        return {name: names for name, names in lost.items() if names}


def _require_some_match(metadata: Iterable[_Metadata], lost: Mapping[str, Sequence[str]]) -> None:
    for one in metadata:
        if one.captions and len(lost.get(one.name, ())) == len(one.captions):
            what = f"names {some_names(lost[one.name])}, and no image has such a name"
            raise BadFile(one.name, what, "give file_name relative to the folder of this file")


def _on_captions_without_image(orphans: Sequence[str], lost: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if orphans:
        yield f"{some_names(orphans)}: no image has that name, so the caption is not used"
    for name, names in lost.items():
        yield f"{name}: no image has the name {some_names(names)}, so that caption is not used"


def words_of_name(stem: str) -> str:
    """A file's name as a caption: its words, without counters at its ends ("cat_01", "cat (2)"); empty for the
    numbered names that cameras give."""
    words = re.findall(r"[^\W_]+(?:['’][^\W_]+)*", unicodedata.normalize("NFC", stem))
    if _CAMERA_NAME.fullmatch("".join(words)):
        return ""
    while words and words[-1].isdigit():
        words.pop()
    while words and words[0].isdigit():
        words.pop(0)
    return " ".join(words)


def some_names(names: Sequence[str]) -> str:
    """The first few of `names`, and how many more there are."""
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def accompanies(name: str) -> bool:
    """Whether a file of this name comes with images and is meant to be none: a caption, metadata, a README."""
    path = PurePosixPath(name)
    return path.suffix.lower() in CAPTION_SUFFIXES or path.name.lower() in METADATA_NAMES or _is_paper(path)


def _is_paper(path: PurePosixPath) -> bool:
    """Whether this is the text that comes with a dataset (README, LICENSE), neither image nor caption."""
    return path.suffix.lower() in _PAPER_SUFFIXES and _PAPERS.fullmatch(path.stem) is not None


def _key(name: str) -> str:
    # macOS and some archives write "é" as two characters, metadata as one
    return unicodedata.normalize("NFC", name)


def _nearest_first(name: str) -> tuple[int, int]:
    return -name.count("/"), METADATA_NAMES.index(PurePosixPath(name).name.lower())


def _read_metadata(source: Source, name: str) -> _Metadata:
    text = decoded_text(read_bytes(source, name, MOST_METADATA_BYTES), name)
    rows = _csv_rows(text, name) if name.lower().endswith(".csv") else _jsonl_rows(text, name)
    metadata = _Metadata(name)
    for line, row in rows:
        file_name, caption = (_field(row, title, name, line) for title in ("file_name", "text"))
        target = _key(posixpath.normpath(posixpath.join(posixpath.dirname(name), file_name)))
        caption = " ".join(caption.split())
        metadata.focus[target] = _focus_in(row, name, line)
        if metadata.captions.setdefault(target, caption) != caption:
            what = f"captions {file_name} a second time, differently (line {line})"
            raise BadFile(name, what, "remove one of the two")
    return metadata


def _jsonl_rows(text: str, name: str) -> Iterator[tuple[int, object]]:
    for line, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        try:
            yield line, json.loads(row)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadFile(
                name, f"has no valid JSON in line {line} ({error})", "write one JSON object per line"
            ) from error


def _csv_rows(text: str, name: str) -> Iterable[tuple[int, object]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        titles = reader.fieldnames or []
        if not {"file_name", "text"} <= set(titles):
            what = f"has no columns file_name and text, but {', '.join(titles) or 'nothing'}"
            raise BadFile(name, what, "name the two columns in its first line, separated by a comma")
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BadFile(name, f"is not valid CSV after line {reader.line_num} ({error})", "correct it there") from error


def _focus_in(row: object, name: str, line: int) -> tuple[float, float]:
    """The focus point in a row of metadata. CSV has no lists, and so no focus points."""
    match row:
        case {"focus": [int() | float() as x, int() | float() as y]} if 0 <= x <= 1 and 0 <= y <= 1:
            return float(x), float(y)
        case {"focus": value} if not isinstance(value, str):
            what = f"has a focus in line {line} that is no point of the image ({value})"
            raise BadFile(name, what, "give [x, y], shares of width and height from 0 to 1")
    return CENTRE


def _field(row: object, title: str, name: str, line: int) -> str:
    value = row.get(title) if isinstance(row, dict) else None
    if not isinstance(value, str):
        raise BadFile(name, f'has no text for "{title}" in line {line}', 'give each image "file_name" and "text"')
    return value
