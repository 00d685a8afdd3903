"""The images of one dataset in the database: reading, adding, changing, taking changes back."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lorastyle.errors import BadInput
from lorastyle.workspace.database import AreaDatabase
from lorastyle.workspace.drafts.looks import Look

FIELDS = ("caption", "by_person", "focus_x", "focus_y", "removed")  # what can be changed, and taken back
KEPT_EDITS = 100
_ALL = "SELECT * FROM images WHERE dataset = ? AND removed = 0 ORDER BY place"

Change = Mapping[str, object]


@dataclass(frozen=True)
class NewImage:
    """An image that is about to become part of a dataset; `file` is its name in the folder of images."""

    id: str
    name: str
    file: str
    caption: str
    by_person: bool
    focus: tuple[float, float]
    repeats: int
    look: Look


class Store:
    """The images of the dataset `id`."""

    def __init__(self, database: AreaDatabase, id: str) -> None:
        self.database, self.id = database, id

    def images(self) -> list[sqlite3.Row]:
        """All that are not removed, in the order in which they came."""
        return self.database.rows(_ALL, self.id)

    def image(self, id: str) -> sqlite3.Row:
        """One that is not removed; raises BadInput where there is none of that id."""
        query = "SELECT * FROM images WHERE dataset = ? AND id = ? AND removed = 0"
        return _only(self.database.rows(query, self.id, id))

    def count(self) -> int:
        return int(self.database.rows("SELECT count(*) FROM images WHERE dataset = ? AND removed = 0", self.id)[0][0])

    def insert(self, image: NewImage, most: int) -> None:
        """Add an image; raises BadInput where the dataset is gone or has `most` images."""
        with self._open() as change:
            query = "SELECT total(removed = 0), coalesce(max(place), 0) FROM images WHERE dataset = ?"
            count, place = change.execute(query, (self.id,)).fetchone()
            if count >= most:
                raise BadInput("dataset", f"it has {count:,.0f} images, and more are not allowed here",
                               "make a second dataset, or remove some")  # fmt: skip
            change.execute(
                "INSERT INTO images (id, dataset, place, name, file, caption, by_person, focus_x, focus_y, repeats, "
                "look) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (image.id, self.id, place + 1, image.name, image.file, image.caption, image.by_person, *image.focus,
                 image.repeats, image.look.to_json()),
            )  # fmt: skip

    # changes

    def change(
        self,
        what: str,
        changed: Callable[[sqlite3.Row], Change],
        ids: Sequence[str] | None = None,
        join: bool = False,
    ) -> int:
        """Change images in one edit that can be taken back; returns how many there were.

        Args:
            what: the edit's name. changed: the new values of some of FIELDS, by what an image is at that moment.
            ids: of the images; all by default. join: make it part of the last edit, where that has the same name.

        Raises BadInput where an image is not there.
        """
        with self._open() as change:
            rows = self._rows(change, ids)
            pairs = [(row, after) for row in rows if (after := _difference(row, changed(row)))]
            if pairs:
                edit = self._edit(change, what, join)
                for row, after in pairs:
                    before = {name: row[name] for name in after}
                    _update(change, row["id"], after)
                    values = (edit, row["id"], json.dumps(before), json.dumps(after))
                    change.execute("INSERT INTO changes VALUES (?, ?, ?, ?)", values)
                self._forget_old_edits(change)
        return len(pairs)

    def last_edit(self) -> str:
        """What `undo` would take back; "" where there is nothing."""
        rows = self.database.rows("SELECT what FROM edits WHERE dataset = ? ORDER BY id DESC LIMIT 1", self.id)
        return str(rows[0]["what"]) if rows else ""

    def undo(self) -> int:
        """Take the last edit back, but for images that have been changed since; returns how many changed."""
        count = 0
        with self._open() as change:
            last = change.execute("SELECT max(id) FROM edits WHERE dataset = ?", (self.id,)).fetchone()[0]
            for row in change.execute("SELECT * FROM changes WHERE edit = ?", (last,)).fetchall():
                now = change.execute("SELECT * FROM images WHERE id = ?", (row["image"],)).fetchone()
                if now and not _difference(now, json.loads(row["after"])):
                    _update(change, row["image"], json.loads(row["before"]))
                    count += 1
            change.execute("DELETE FROM changes WHERE edit = ?", (last,))
            change.execute("DELETE FROM edits WHERE id = ?", (last,))
        return count

    def forget_removed(self) -> list[sqlite3.Row]:
        """Forget removed images that nothing can bring back; returns them, as their files may go now."""
        with self._open() as change:
            query = (
                "SELECT id, file FROM images WHERE dataset = ? AND removed = 1 AND id NOT IN "
                "(SELECT image FROM changes JOIN edits ON edits.id = changes.edit WHERE dataset = ?)"
            )
            lost = change.execute(query, (self.id, self.id)).fetchall()
            change.executemany("DELETE FROM images WHERE id = ?", [(row["id"],) for row in lost])
        return lost

    # what came with images

    def refused(self) -> list[str]:
        rows = self.database.rows("SELECT sentence FROM refused WHERE dataset = ? ORDER BY rowid DESC", self.id)
        return list(dict.fromkeys(row["sentence"] for row in rows))

    def refuse(self, sentences: Sequence[str]) -> None:
        with self._open() as change:
            change.executemany("INSERT INTO refused VALUES (?, ?)", [(self.id, sentence) for sentence in sentences])

    def forget_refused(self) -> None:
        with self._open() as change:
            change.execute("DELETE FROM refused WHERE dataset = ?", (self.id,))

    def waiting(self) -> dict[str, bytes]:
        """Files with captions of images that have not come yet, by name."""
        rows = self.database.rows("SELECT name, data FROM waiting WHERE dataset = ? ORDER BY name", self.id)
        return {row["name"]: row["data"] for row in rows}

    def wait_with(self, waiting: Mapping[str, bytes], done: Sequence[str]) -> None:
        """Keep captions for images to come, and drop those of the names `done`."""
        with self._open() as change:
            change.executemany("DELETE FROM waiting WHERE dataset = ? AND name = ?", [(self.id, name) for name in done])
            rows = [(self.id, name, data) for name, data in waiting.items()]
            change.executemany("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?)", rows)

    # inside

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self.database.change() as change:
            if not change.execute("SELECT 1 FROM datasets WHERE id = ?", (self.id,)).fetchone():
                raise BadInput("dataset", "there is no such dataset any more", "choose one from the list")
            yield change

    def _rows(self, change: sqlite3.Connection, ids: Sequence[str] | None) -> list[sqlite3.Row]:
        if ids is not None and len(ids) == 1:
            query = "SELECT * FROM images WHERE dataset = ? AND id = ? AND removed = 0"
            return [_only(change.execute(query, (self.id, ids[0])).fetchall())]
        rows = change.execute(_ALL, (self.id,)).fetchall()
        if ids is None:
            return rows
        by_id = {row["id"]: row for row in rows}
        return [_only([by_id[id]] if id in by_id else []) for id in dict.fromkeys(ids)]

    def _edit(self, change: sqlite3.Connection, what: str, join: bool) -> int:
        query = "SELECT id, what FROM edits WHERE dataset = ? ORDER BY id DESC LIMIT 1"
        last = change.execute(query, (self.id,)).fetchone()
        if join and last and last["what"] == what:
            return int(last["id"])
        return int(change.execute("INSERT INTO edits (dataset, what) VALUES (?, ?)", (self.id, what)).lastrowid or 0)

    def _forget_old_edits(self, change: sqlite3.Connection) -> None:
        query = "SELECT id FROM edits WHERE dataset = ? ORDER BY id DESC LIMIT -1 OFFSET ?"
        for row in change.execute(query, (self.id, KEPT_EDITS)).fetchall():
            change.execute("DELETE FROM changes WHERE edit = ?", (row["id"],))
            change.execute("DELETE FROM edits WHERE id = ?", (row["id"],))


def _only(rows: list[sqlite3.Row]) -> sqlite3.Row:
    if not rows:
        raise BadInput("image", "there is no such image in this dataset", "choose one that is there")
    return rows[0]


def _difference(row: sqlite3.Row, values: Change) -> dict[str, object]:
    """Those of `values` that the row does not have yet."""
    return {name: value for name, value in values.items() if row[name] != value}


def _update(change: sqlite3.Connection, id: str, values: Change) -> None:
    assert set(values) <= set(FIELDS), values
    fields = ", ".join(f"{name} = ?" for name in values)
    change.execute(f"UPDATE images SET {fields} WHERE id = ?", (*values.values(), id))
