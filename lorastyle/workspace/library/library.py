"""The adapters that a person keeps."""

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from lorastyle import files
from lorastyle.errors import BadInput
from lorastyle.jobs.job import Job, State
from lorastyle.jobs.store import Jobs
from lorastyle.jobs.tasks import checked
from lorastyle.workspace import names
from lorastyle.workspace.bases import name_of
from lorastyle.workspace.database import AreaDatabase
from lorastyle.workspace.library import shelf
from lorastyle.workspace.library.card import Card
from lorastyle.workspace.library.headers import Facts, copy_with_strings, read_facts, strings_of
from lorastyle.workspace.settings import MAKE_ROOM

Sort = Literal["newest", "oldest", "title", "size"]
MAKERS = {"train": "adapter", "import": "file", "mix": "file"}  # tasks that make an adapter, and what they call it
MOST_NOTE_CHARACTERS = 10_000
MOST_TAGS = 20
MOST_TAG_CHARACTERS = 40
_ORDER = {"newest": "date DESC", "oldest": "date", "title": "title COLLATE NOCASE", "size": "bytes DESC"}


@dataclass(frozen=True)
class _Shelved:
    """An adapter in a folder of its own, not in the table yet."""

    id: str
    title: str
    file: str
    facts: str
    bytes: int


class Library:
    """The adapters of one person. What their jobs make comes in by itself, when somebody looks."""

    def __init__(self, database: AreaDatabase, folder: Path, jobs: Jobs, user: str, room: Callable[[], int]) -> None:
        self.folder = folder
        self._room = room
        self._database, self._jobs, self._user = database, jobs, user

    def cards(self, search: str = "", sort: Sort = "newest", binned: bool = False) -> list[Card]:
        """The adapters that `search` finds, or all; with `binned`, those in the bin instead. Raises BadInput."""
        if sort not in _ORDER:
            raise BadInput("sort", f"nothing can be sorted by {sort!r}", f"choose from {', '.join(_ORDER)}")
        self._take_over()
        query = f"SELECT * FROM adapters WHERE (binned IS NOT NULL) = ? ORDER BY {_ORDER[sort]}, rowid DESC"
        cards = [self._card(row) for row in self._database.rows(query, binned)]
        return [card for card in cards if card.matches(search)]

    def card(self, id: str) -> Card:
        """One adapter, in the bin or not; raises BadInput where there is none."""
        rows = self._database.rows("SELECT * FROM adapters WHERE id = ?", id)
        if not rows:
            raise BadInput("adapter", "there is no such adapter in the library", "choose one that is there")
        return self._card(rows[0])

    def of_job(self, job: str) -> Card | None:
        """The adapter that a job made, if it is there; of a training the one that was kept last."""
        return next(iter(self._of_job(job)), None)

    def add(self, path: Path | str, title: str = "") -> Card:
        """Take in a copy of an adapter file; raises BadFile for what is none."""
        path = Path(path)
        return self._new(path, title or path.stem)

    # what people say of an adapter

    def describe(self, id: str, title: str, tags: Sequence[str], strength: float, notes: str) -> Card:
        """All of it at once; nothing, where one of them cannot be used. Raises BadInput."""
        return self._set(
            id, title=names.title(title), tags=_tags(tags), strength=_strength(strength), notes=_notes(notes)
        )

    def rename(self, id: str, title: str) -> Card:
        return self._set(id, title=names.title(title))

    def note(self, id: str, text: str) -> Card:
        return self._set(id, notes=_notes(text))

    def tag(self, id: str, tags: Sequence[str]) -> Card:
        """Give it these tags, in place of those it had."""
        return self._set(id, tags=_tags(tags))

    def prefer(self, id: str, strength: float) -> Card:
        """Set the preferred strength."""
        return self._set(id, strength=_strength(strength))

    # the bin

    def delete(self, id: str) -> None:
        """Put it into the bin; `restore` takes it out again."""
        self._set(id, binned=time.time())

    def restore(self, id: str) -> Card:
        return self._set(id, binned=None)

    def empty_bin(self) -> int:
        """Delete what lies in the bin, for good; returns how many there were."""
        with self._database.change() as change:
            rows = change.execute("SELECT id FROM adapters WHERE binned IS NOT NULL").fetchall()
            change.execute("DELETE FROM adapters WHERE binned IS NOT NULL")
        for row in rows:
            if (self.folder / row["id"]).exists():
                files.remove_folder(self.folder / row["id"])
        return len(rows)

    # what jobs make

    def keep(self, job: str, checkpoint: int | None = None, strength: float = 1.0, title: str = "") -> Card:
        """Keep a checkpoint of a training, by its step (None: its last state); `strength` is its preferred one.

        Without a `title` it becomes the training's own adapter, in place of what the training published; with the title
        of an adapter that was kept of this training, it takes the place of that one; with another title it comes beside
        them. Raises BadInput where there is no such checkpoint.
        """
        training = self._jobs.get(job, self._user)
        title = names.title(title) if title else ""
        (step, source), strings = self._checkpoint(training, checkpoint), self._strings(training)
        # Another checkpoint is another file: what was drawn with a file, and what will be, is known by its path.
        stem = f"{names.file_stem(title or training.title, 'adapter')}-step-{step}"
        if card := self._replaced(training, title):
            copy_with_strings(source, card.path.with_name(f"{stem}.safetensors"), strings)
        else:
            card = self._new(source, title or training.title, strings, stem)
        path = card.path.with_name(f"{stem}.safetensors")
        shelf.show(self.folder / card.id, *self._pictures(training, checkpoint))
        if not title:  # its last state is not taken over beside it
            with self._database.change() as change:
                change.execute("INSERT OR REPLACE INTO taken_over VALUES (?, ?)", (training.id, card.id))
        told = {"file": path.name, "facts": read_facts(path).to_json(), "bytes": path.stat().st_size}
        self._set(card.id, **told, job=training.id, step=checkpoint)
        self._forget_others(path)
        return self.prefer(card.id, strength)

    def bundle(self, id: str) -> Path:
        """A zip of the adapter, its card and its previews."""
        card = self.card(id)
        return shelf.zipped(self.folder / card.id, card)

    def bundle_into(self, id: str, folder: Path) -> None:
        """Put what a bundle holds into a folder."""
        shelf.lay_out(self.card(id), folder)

    # inside

    def _take_over(self) -> None:
        """Put adapters of finished jobs into the library, each once, whoever looks first."""
        taken = {row["job"] for row in self._database.rows("SELECT job FROM taken_over")}
        for job in self._jobs.list(self._user, states=[State.DONE]):
            if job.task in MAKERS and job.id not in taken:
                path = Path(str(job.result.get(MAKERS[job.task], "")))
                pictures = self._pictures(job) if job.task == "train" else ()
                if path.is_file():
                    shelved = self._shelved(path, job.title, *pictures)
                    if not self._list(shelved, job.id):  # somebody else was quicker
                        files.remove_folder(self.folder / shelved.id)

    def _of_job(self, job: str) -> list[Card]:
        """The adapters of a job that are not in the bin, the newest first."""
        self._take_over()
        query = "SELECT * FROM adapters WHERE job = ? AND binned IS NULL ORDER BY date DESC, rowid DESC"
        return [self._card(row) for row in self._database.rows(query, job)]

    def _replaced(self, training: Job, title: str) -> Card | None:
        """The adapter whose place a checkpoint takes that is kept under this title; "": the training's own."""
        cards = self._of_job(training.id)
        if title:
            return next((card for card in cards if card.title == title), None)
        own = {row["adapter"] for row in self._database.rows("SELECT * FROM taken_over WHERE job = ?", training.id)}
        return next((card for card in cards if card.id in own), None)

    def _checkpoint(self, training: Job, step: int | None) -> tuple[int, Path]:
        """The step and the file of the checkpoint of that step; None: of the last state."""
        if training.task != "train":
            raise BadInput("job", "it is no training", "choose a training")
        found = {one["step"]: Path(one["path"]) for one in self._jobs.checkpoints(training.id, self._user)}
        published = Path(str(training.result.get("adapter", "")))
        last = (training.steps, published) if published.is_file() else max(found.items(), default=None)
        if step is not None and step in found:
            return step, found[step]
        if last is None or step not in (None, training.steps):
            raise BadInput("checkpoint", "the training has none of that step", "choose one that it still has")
        return last

    def _forget_others(self, kept: Path) -> None:
        """Delete an adapter's files of former checkpoints, but for those that jobs which are not over have to read."""
        waiting = self._jobs.list(self._user, states=[state for state in State if not state.ended])
        read = {path for job in waiting for _, path in checked(job.task, job.settings).reads()}
        for path in kept.parent.glob("*.safetensors"):
            if path != kept and str(path) not in read:
                path.unlink()

    def _strings(self, training: Job) -> Mapping[str, str]:
        """What the published adapter of a training says, which its checkpoints may not say yet."""
        published = Path(str(training.result.get("adapter", "")))
        if published.is_file():
            return strings_of(published)
        recipe = training.settings.get("recipe", {})
        told = {"lorastyle.base": name_of(training.settings["base"]), "lorastyle.trigger": recipe.get("trigger", "")}
        return {name: text for name, text in told.items() if text}

    def _pictures(self, training: Job, step: int | None = None) -> tuple[list[Path], Path | None]:
        """The previews that a training drew last, up to a step, and the comparison at its end, unless that is later."""
        previews = [(int(one["step"]), Path(one["path"])) for one in self._jobs.previews(training.id, self._user)]
        comparison = Path(str(training.result.get("comparison", "")))
        drawn = step in (None, training.steps) and comparison.is_file()
        return shelf.latest([one for one in previews if step is None or one[0] <= step]), comparison if drawn else None

    def _new(self, path: Path, title: str, strings: Mapping[str, str] | None = None, stem: str = "") -> Card:
        read_facts(path)
        if path.stat().st_size > self._room():
            raise BadInput(title, "there is no room for it: what you may store here is used up", MAKE_ROOM)
        shelved = self._shelved(path, title, strings=strings, stem=stem)
        self._list(shelved)
        return self.card(shelved.id)

    def _shelved(
        self, path: Path, title: str, previews: Sequence[Path] = (), comparison: Path | None = None,
        strings: Mapping[str, str] | None = None, stem: str = "",
    ) -> "_Shelved":  # fmt: skip
        """Copy an adapter file into a folder of its own, called `stem` or after its title; raises BadFile for none."""
        read_facts(path)
        line = names.one_line(title)[: names.MOST_TITLE_CHARACTERS] or "adapter"
        id, name = names.new_id(), f"{stem or names.file_stem(line, 'adapter')}.safetensors"
        with files.new_folder(self.folder / id) as beside:
            copy_with_strings(path, beside / name, strings or {})
            shelf.show(beside, previews, comparison)
            return _Shelved(id, line, name, read_facts(beside / name).to_json(), (beside / name).stat().st_size)

    def _list(self, shelved: "_Shelved", job: str = "") -> bool:
        """Write an adapter into the table; given the `job` that made it, only where that was not taken over before."""
        with self._database.change() as change:
            taken = "INSERT OR IGNORE INTO taken_over VALUES (?, ?)"
            if job and not change.execute(taken, (job, shelved.id)).rowcount:
                return False
            change.execute(
                "INSERT INTO adapters (id, title, file, facts, bytes, date, job) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*astuple(shelved), time.time(), job),
            )
        return True

    def _set(self, id: str, **values: object) -> Card:
        fields = ", ".join(f"{name} = ?" for name in values)
        with self._database.change() as change:
            change.execute(f"UPDATE adapters SET {fields} WHERE id = ?", (*values.values(), id))
        return self.card(id)

    def _card(self, row: sqlite3.Row) -> Card:
        facts, folder = Facts.from_json(row["facts"]), self.folder / row["id"]
        return Card(
            row["id"], row["title"], facts.trigger, facts.base, facts.family, facts.kind, facts.rank, row["date"],
            row["bytes"], tuple(json.loads(row["tags"])), row["notes"], shelf.thumbnail(folder), row["strength"],
            folder / row["file"], row["binned"] is not None, shelf.previews(folder), row["job"], row["step"],
        )  # fmt: skip


def _tags(tags: Sequence[str]) -> str:
    told = list(dict.fromkeys(one for tag in tags if (one := names.one_line(tag))))
    if len(told) > MOST_TAGS or any(len(tag) > MOST_TAG_CHARACTERS for tag in told):
        do = f"keep to {MOST_TAGS} tags of at most {MOST_TAG_CHARACTERS} characters"
        raise BadInput("tags", "they are too many or too long", do)
    return json.dumps(told, ensure_ascii=False)


def _strength(strength: float) -> float:
    if not -10 <= strength <= 10:
        raise BadInput("strength", f"{strength:g} cannot be used", "choose one from -10 to 10")
    return float(strength)


def _notes(text: str) -> str:
    if len(text) > MOST_NOTE_CHARACTERS:
        what = f"they have {len(text):,} characters"
        raise BadInput("notes", what, f"keep to {MOST_NOTE_CHARACTERS:,}")
    return text.replace("\0", "").strip()
