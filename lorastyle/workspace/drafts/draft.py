"""A dataset being prepared."""

import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorastyle import files
from lorastyle.data.buckets import plan_crop
from lorastyle.errors import BadFile, BadInput
from lorastyle.workspace.database import AreaDatabase
from lorastyle.workspace.drafts.doubts import Twins, about_caption, about_pixels, twins
from lorastyle.workspace.drafts.eyes import write_thumbnail
from lorastyle.workspace.drafts.intake import Intake, Report, staging_folder
from lorastyle.workspace.drafts.looks import Look
from lorastyle.workspace.drafts.rows import Added, Row
from lorastyle.workspace.drafts.snapshot import write_snapshot
from lorastyle.workspace.drafts.store import Store
from lorastyle.workspace.names import title as as_title
from lorastyle.workspace.settings import Limits

AUTOMATIC = "automatic captions"


@dataclass(frozen=True)
class Uncaptioned:
    """An image without a caption: where it lies, and what its owner calls it."""

    id: str
    path: Path
    name: str


class Draft:
    """The dataset `id` in the folder `folder`, being prepared.

    Every method reads and writes the database, so that any number of these objects, in any number of threads and
    processes, may be used at once. `room` tells how many bytes its owner may still use.
    """

    def __init__(self, database: AreaDatabase, id: str, area: Path, limits: Limits, room: Callable[[], int]) -> None:
        self.id = id
        self.folder = area / "datasets" / id
        self._uploads = area / "uploads"
        self._store = Store(database, id)
        self._limits, self._room = limits, room

    @property
    def title(self) -> str:
        return str(self._dataset()["title"])

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        return float(self._dataset()["created"])

    def __len__(self) -> int:
        """How many images it has."""
        return self._store.count()

    def __bool__(self) -> bool:
        """A dataset is one before it has images, too."""
        return True

    def rename(self, title: str) -> None:
        with self._store.database.change() as change:
            change.execute("UPDATE datasets SET title = ? WHERE id = ?", (as_title(title), self.id))

    def delete(self) -> None:
        """Delete the dataset and its images. What was trained on it has its own copy."""
        with self._store.database.change() as change:
            change.execute("DELETE FROM changes WHERE edit IN (SELECT id FROM edits WHERE dataset = ?)", (self.id,))
            for table in ("edits", "images", "refused", "waiting"):
                change.execute(f"DELETE FROM {table} WHERE dataset = ?", (self.id,))
            change.execute("DELETE FROM datasets WHERE id = ?", (self.id,))
        if self.folder.exists():
            files.remove_folder(self.folder)

    # adding

    def add(self, paths: Iterable[Path | str], report: Report | None = None) -> Added:
        """Take in images, caption files, metadata files, folders and zips, all that belong together at once.

        A caption file also serves an image that is there already and has no caption, or one that comes later.

        Args:
            report: told how many images of how many are done.
        """
        self._dataset()
        try:
            with staging_folder(self._uploads) as staging:
                intake = Intake(self._store, self.folder, staging, self._limits, self._room())
                return intake.take([Path(path) for path in paths], report)
        except OSError as error:
            what = f"cannot be stored ({error.strerror or error})"
            raise BadFile("files", what, "make sure that there is space on the disk, and add them again") from error

    def refused(self) -> list[str]:
        """A sentence for each file that was refused, latest first, until `forget_refused`."""
        return self._store.refused()

    def forget_refused(self) -> None:
        self._store.forget_refused()

    def waiting(self) -> list[str]:
        """Names of caption files whose images have not come yet."""
        return list(self._store.waiting())

    # looking

    def rows(self, resolution: int = 512, divisor: int = 64, trigger: str = "") -> list[Row]:
        """All images, in the order in which they came, as a base of that resolution (pixels) would train them; its
        sizes are multiples of `divisor`. Without a trigger word, nothing is said about it."""
        view = self._view(resolution, divisor, trigger)
        return [view.row(row, view.looks[row["id"]]) for row in view.stored]

    def row(self, id: str, resolution: int = 512, divisor: int = 64, trigger: str = "") -> Row:
        """One image, as `rows` has it; raises BadInput where it is not there."""
        view = self._view(resolution, divisor, trigger)
        return view.row(self._store.image(id), view.looks[id])

    def _view(self, resolution: int, divisor: int, trigger: str) -> "_View":
        stored = self._store.images()
        looks = {row["id"]: Look.from_json(row["look"]) for row in stored}
        names = {row["id"]: row["name"] for row in stored}
        return _View(resolution, divisor, trigger, stored, looks, names, twins(list(looks.items())))

    def thumbnail(self, id: str) -> Path:
        """A WebP of at most 320 pixels, made anew from the pixels, without metadata."""
        row = self._store.image(id)
        path = self.folder / "thumbnails" / f"{id}.webp"
        if not path.exists():
            write_thumbnail(path, self._image(row), row["name"])
        return path

    def uncaptioned(self) -> list[Uncaptioned]:
        return [Uncaptioned(row["id"], self._image(row), row["name"]) for row in self._store.images()
                if not row["caption"]]  # fmt: skip

    # editing

    def set_caption(self, id: str, text: str, seen: str | None = None) -> None:
        """Write a caption, in one line; raises BadInput where it is too long or there is no such image.

        Given the caption that was `seen` when it was edited, also where it is another by now.
        """
        caption = self._checked(text)

        def captioned(row: sqlite3.Row) -> dict[str, object]:
            _require_as_seen("the caption", row["caption"], seen, caption)
            return _captioned(row, caption)

        self._store.change("caption", captioned, [id])

    def offer_captions(self, captions: Mapping[str, str]) -> int:
        """Automatic captions by image id, taken only where there is none; returns how many were taken."""
        told = {id: self._checked(text) for id, text in captions.items()}

        def offered(row: sqlite3.Row) -> dict[str, object]:
            text = told.get(row["id"])
            return {} if row["caption"] or not text else {"caption": text, "by_person": 0}

        return self._store.change(AUTOMATIC, offered, join=True)

    def set_focus(self, id: str, x: float, y: float, seen: tuple[float, float] | None = None) -> None:
        """Move the point that the crop keeps: shares of width and height, from the left top corner.

        Raises BadInput, given the point that was `seen` before, also where it is another by now.
        """
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise BadInput("focus", f"({x}, {y}) lies outside the picture", "give shares from 0 to 1")

        def moved(row: sqlite3.Row) -> dict[str, object]:
            _require_as_seen("the focus point", (row["focus_x"], row["focus_y"]), seen, (x, y))
            return {"focus_x": float(x), "focus_y": float(y)}

        self._store.change("focus point", moved, [id])

    def remove(self, ids: Sequence[str]) -> int:
        """Take images out of the dataset; `undo` brings them back."""
        count = self._store.change("removal", lambda row: {"removed": 1}, ids)
        self._delete_forgotten()
        return count

    def replace(self, find: str, put: str, case: bool = False) -> int:
        """Replace `find` by `put` in all captions; with `case`, only where upper and lower case agree."""
        if not find:
            raise BadInput("find", "it is empty", "say what to look for")
        pattern = re.compile(re.escape(find), 0 if case else re.IGNORECASE)
        return self._rewrite("replacement", lambda caption: pattern.sub(lambda _: put, caption))

    def prefix(self, text: str) -> int:
        """Put `text` before all captions, with a comma between them unless it ends with one or with a space."""
        glue = "" if text[-1:].isspace() else " " if text.endswith(",") else ", "
        return self._rewrite(
            "words in front", lambda caption: f"{text}{glue}{caption}" if caption else text.strip(" ,")
        )

    def suffix(self, text: str) -> int:
        """Put `text` behind all captions, with a comma between them unless it begins with one or with a space."""
        glue = "" if text[:1].isspace() or text.startswith(",") else ", "
        return self._rewrite("words behind", lambda caption: f"{caption}{glue}{text}" if caption else text.strip(" ,"))

    def last_edit(self) -> str:
        """What `undo` would take back, in a word or two; "" where there is nothing."""
        return self._store.last_edit()

    def undo(self) -> int:
        """Take the last edit back; returns how many images changed."""
        return self._store.undo()

    # using

    def snapshot(self, folder: Path) -> Path:
        """Make `folder` a copy of the dataset as it stands now, to train on; raises BadInput where it has no image.

        Images are linked, not copied, where the disk can do that; they are never written to.
        """
        stored = self._store.images()
        if not stored:
            raise BadInput("dataset", "it has no images", "add some")
        write_snapshot(folder, stored, self.folder / "images")
        return folder

    def link_images(self, folder: Path, images: Sequence[Uncaptioned]) -> dict[str, str]:
        """Put images into a folder; returns their names there by id."""
        for image in images:
            files.link(image.path, folder / image.path.name)
        return {image.id: image.path.name for image in images}

    # inside

    def _dataset(self) -> sqlite3.Row:
        rows = self._store.database.rows("SELECT * FROM datasets WHERE id = ?", self.id)
        if not rows:
            raise BadInput("dataset", "there is no such dataset any more", "choose one from the list")
        return rows[0]

    def _image(self, row: sqlite3.Row) -> Path:
        return self.folder / "images" / str(row["file"])

    def _rewrite(self, what: str, new: Callable[[str], str]) -> int:
        return self._store.change(what, lambda row: _captioned(row, self._checked(new(row["caption"]), row["name"])))

    def _checked(self, text: str, name: str = "caption") -> str:
        caption = " ".join(text.replace("\0", " ").split())
        most = self._limits.caption_characters
        if len(caption) > most:
            what = f"the caption would have {len(caption):,} characters, more than the {most:,} allowed here"
            raise BadInput(name, what, "make it shorter")
        return caption

    def _delete_forgotten(self) -> None:
        for row in self._store.forget_removed():
            self._image(row).unlink(missing_ok=True)
            (self.folder / "thumbnails" / f"{row['id']}.webp").unlink(missing_ok=True)


def _require_as_seen(what: str, now: object, seen: object, wanted: object) -> None:
    """Raise BadInput where what somebody edits is another than they saw; not where it is what they want."""
    if seen is not None and now not in (seen, wanted):
        raise BadInput(what, "it was changed elsewhere meanwhile, so yours is not saved", "look at what it is now")


def _captioned(row: sqlite3.Row, caption: str) -> dict[str, object]:
    """What a person makes a caption; one that stays as it is stays whose it was, and an empty one is nobody's."""
    return {} if row["caption"] == caption else {"caption": caption, "by_person": int(bool(caption))}


@dataclass(frozen=True)
class _View:
    """How images are looked at: as which base would train them, with which trigger word, beside which others."""

    resolution: int
    divisor: int
    trigger: str
    stored: Sequence[sqlite3.Row]
    looks: Mapping[str, Look]
    names: Mapping[str, str]
    twins: Twins

    def row(self, stored: sqlite3.Row, look: Look) -> Row:
        id, focus = stored["id"], (stored["focus_x"], stored["focus_y"])
        crop = plan_crop(look.width, look.height, self.resolution, self.divisor, focus)
        same, alike = (self._twin(id, found) for found in (self.twins.same, self.twins.alike))
        doubts = (*about_pixels(look, crop, same, alike), *about_caption(stored["caption"], self.trigger))
        return Row(
            id, stored["name"], stored["caption"], bool(stored["by_person"]), look.width, look.height, focus,
            crop.box, crop.bucket, crop.lost, doubts, look.hash[:8],
        )  # fmt: skip

    def _twin(self, id: str, found: Mapping[str, str]) -> str | None:
        """What the image that was found to be alike is called beside this one; None where none was found."""
        if id not in found:
            return None
        name = self.names[found[id]]
        return f"another one called “{name}”" if name == self.names[id] else f"“{name}”"
