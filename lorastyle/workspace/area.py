"""What one person has in a studio."""

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorastyle import files
from lorastyle.errors import BadFile, BadInput
from lorastyle.jobs.job import Job
from lorastyle.jobs.store import Jobs
from lorastyle.jobs.tasks import FILE_NAMES, UPLOAD
from lorastyle.workspace.bases import checked_base, geometry, name_of, shared_bases
from lorastyle.workspace.database import AreaDatabase
from lorastyle.workspace.drafts.draft import Draft
from lorastyle.workspace.drafts.intake import sweep
from lorastyle.workspace.library.library import Library
from lorastyle.workspace.names import MOST_TITLE_CHARACTERS, file_stem, new_id, title as as_title
from lorastyle.workspace.settings import MAKE_ROOM, StudioSettings


class Area:
    """The datasets, jobs and adapters of one person. Nothing of others can be reached through it.

    Whatever takes long becomes a job. Raises BadInput wherever something is not there, is not allowed, or is above a
    limit.
    """

    def __init__(self, user: str, folder: Path, jobs: Jobs, settings: Callable[[], StudioSettings]) -> None:
        self.user, self.folder, self.jobs = user, folder, jobs
        self._settings = settings
        folder.mkdir(parents=True, exist_ok=True)
        self._database = AreaDatabase(folder / "area.sqlite")
        sweep(folder / "uploads")

    # datasets

    def datasets(self) -> list[Draft]:
        """All datasets, the newest first."""
        rows = self._database.rows("SELECT id FROM datasets ORDER BY created DESC, rowid DESC")
        return [self._draft(row["id"]) for row in rows]

    def new_dataset(self, title: str) -> Draft:
        id = new_id()
        with self._database.change() as change:
            change.execute("INSERT INTO datasets VALUES (?, ?, ?)", (id, as_title(title), time.time()))
        return self._draft(id)

    def dataset(self, id: str) -> Draft:
        """The dataset of that id; raises BadInput where there is none, or it is somebody else's."""
        if not self._database.rows("SELECT 1 FROM datasets WHERE id = ?", id):
            raise BadInput("dataset", "there is no such dataset", "choose one from the list")
        return self._draft(id)

    # adapters and the disk

    def library(self) -> Library:
        return Library(self._database, self.folder / "library", self.jobs, self.user, self.room)

    def usage(self, *more: Path) -> int:
        """How many bytes datasets, jobs, adapters and the folders `more` take; a file in two places counts once."""
        folders = [self.folder, *(job.folder for job in self.jobs.list(self.user)), *more]
        return sum({(at.st_dev, at.st_ino): at.st_size for folder in folders for at in _files_in(folder)}.values())

    def room(self) -> int:
        """How many bytes may be added."""
        return self._settings().limits.disk_bytes - self.usage()

    # jobs

    def remove_job(self, id: str) -> Job:
        """Delete a job that is over, with its files; an adapter that it made comes into the library first."""
        self.library().of_job(id)
        return self.jobs.remove(id, self.user)

    # jobs on a dataset

    def train(self, draft: Draft, base: str, recipe: Mapping[str, Any], title: str = "", start: str = "") -> Job:
        """Train on the dataset as it stands now; `start` is an adapter of the library to go on from."""
        return self._on_data("train", draft, base, recipe, title or draft.title, start)

    def probe(self, draft: Draft, base: str, recipe: Mapping[str, Any], start: str = "") -> Job:
        """Measure a few steps, to say what the training will take."""
        return self._on_data("probe", draft, base, recipe, draft.title, start)

    def caption(self, draft: Draft, captioner: str = FILE_NAMES, prompt: str = "") -> Job:
        """Describe the images that have no caption; the dataset takes what comes while it is made."""
        if captioner != FILE_NAMES:
            captioner = self._captioner(captioner)
        images = draft.uncaptioned()
        if not images:
            raise BadInput("dataset", "all its images have captions", "clear the captions that should be written anew")
        settings = {
            "images": {image.id: f"images/{image.path.name}" for image in images},
            "called": {image.id: Path(image.name).name for image in images},
            "captioner": captioner,
            "prompt": prompt,
            "dataset": draft.id,
        }
        return self._add("caption", settings, draft.title, lambda job: draft.link_images(job / "images", images))

    def _on_data(self, task: str, draft: Draft, base: str, recipe: Mapping[str, Any], title: str, start: str) -> Job:
        settings: dict[str, Any] = {"data": "data", "base": self.base(base), "recipe": dict(recipe)}
        if start:
            settings["start"] = self._file(start)
        if task == "train":
            settings["out"] = file_stem(title, "adapter")
        return self._add(task, settings, title, lambda job: draft.snapshot(job / "data"))

    # jobs that draw

    def generate(
        self, base: str, prompts: Sequence[str], adapters: Mapping[str, float], title: str = "", **settings: Any
    ) -> Job:
        """Draw prompts; `adapters` are strengths by id in the library."""
        told = {"base": self.base(base), "prompts": list(prompts), "adapters": self._files(adapters), **settings}
        return self._add("generate", told, title or (prompts[0] if prompts else ""))

    def grid(
        self,
        job: str,
        steps: Sequence[int],
        strengths: Sequence[float],
        prompts: Sequence[str],
        seed: int,
        title: str = "",
        **settings: Any,
    ) -> Job:
        """Draw prompts with checkpoints of a training, by their steps, at several strengths."""
        training = self.jobs.get(job, self.user)
        found = {one["step"]: str(one["path"]) for one in self.jobs.checkpoints(job, self.user)}
        missing = [step for step in steps if step not in found]
        if missing or not steps:
            what = f"the training has none of step {missing[0]}" if missing else "none is chosen"
            raise BadInput("checkpoint", what, "choose one that it still has")
        told = {"base": training.settings["base"], "checkpoints": [found[step] for step in steps],
                "strengths": list(strengths), "prompts": list(prompts), "seed": seed, **settings}  # fmt: skip
        return self._add("grid", told, title or training.title)

    # jobs on adapters

    def import_adapter(self, path: Path | str, family: str = "", title: str = "") -> Job:
        """Read an adapter of another tool; it comes into the library when the job is done."""
        path = Path(path)
        if path.suffix.lower() != ".safetensors" or not path.is_file():
            raise BadFile(path.name, "this is no .safetensors file", "choose the file of an adapter")
        limits = self._settings().limits
        if path.stat().st_size > limits.upload_bytes:
            most = f"{limits.upload_bytes / 2**20:.4g} MB"
            raise BadFile(path.name, f"is larger than the {most} allowed here", "choose a smaller one")
        # What is said of the file calls it as the person does; in a folder of its own it is not where `out` comes.
        told = {"file": f"{UPLOAD}/{path.name}", "out": "imported.safetensors", "family": family}
        title = title or path.stem
        return self._add("import", told, title, lambda job: _copied(path, job / told["file"]), path.stat().st_size)

    def export(self, adapter: str, to: str, title: str = "", **settings: Any) -> Job:
        """Write an adapter of the library for another tool, with proof."""
        card = self.library().card(adapter)
        told: dict[str, Any] = {"adapter": self._file(adapter), "to": to, "strength": card.strength,
                                "out": f"{card.stem}-{file_stem(to, 'export')}.safetensors"} | settings  # fmt: skip
        if told.get("base"):
            told["base"] = self.base(told["base"])
        return self._add("export", told, title or card.title)

    def mix(self, adapters: Mapping[str, float], title: str = "", **settings: Any) -> Job:
        """Make one adapter of several; `adapters` are strengths by id in the library."""
        if settings.get("base"):
            settings["base"] = self.base(settings["base"])
        return self._add("mix", {"adapters": self._files(adapters), **settings}, title or self._titles(adapters))

    def merge(self, adapters: Mapping[str, float], base: str, title: str = "", **settings: Any) -> Job:
        """Write a base with adapters in its weights; `adapters` are strengths by id in the library.

        It can be chosen as a base by its title once it is done, so one that is taken already gets a number.
        """
        source = self.base(base)
        title = self._free_title(as_title(title) if title else self._titles(adapters)[:MOST_TITLE_CHARACTERS])
        out = file_stem(title, "merged") + (".safetensors" if Path(source).is_file() else "")
        told = {"adapters": self._files(adapters), "base": source, "out": out, **settings}
        return self._add("merge", told, title)

    def publish(self, adapter: str, repo: str, private: bool = True) -> Job:
        """Upload an adapter with its card and previews to the hub, with the token in the worker's environment."""
        library = self.library()
        card = library.card(adapter)
        told = {"bundle": "bundle", "repo": repo, "private": private}
        return self._add("publish", told, card.title, lambda job: library.bundle_into(adapter, job / "bundle"))

    # bases

    def bases(self) -> list[str]:
        """The bases that can be chosen by name: those that everybody here may use, then what this person merged."""
        merged = (title for title, _ in self._merged())
        return list(dict.fromkeys([*shared_bases(self._settings().model_folders), *merged]))

    def base(self, name: str) -> str:
        """What a base is loaded by; raises BadInput where it may not be used here."""
        for title, path in self._merged():
            # Jobs know it by its path, and adapters that were taught on it by its file's name.
            if name in (title, str(path), name_of(str(path))):
                return str(path)
        return checked_base(name, self._settings().model_folders)

    def geometry(self, base: str) -> tuple[int, int]:
        """(resolution, divisor) of a base: the pixels that it draws at, and what sides of pictures are multiples of."""
        return geometry(self.base(base))

    # inside

    def _merged(self) -> list[tuple[str, Path]]:
        """The bases that this person's merges made: title and path, newest first."""
        jobs = self.jobs.list(self.user, task="merge", states=("done",))
        made = [(job.title, job.folder / Path(job.result["merged"]).name) for job in jobs]
        return [(title, path) for title, path in made if path.exists()]

    def _free_title(self, title: str) -> str:
        """The title, with a number where a base is called so already, or one that is being merged."""
        coming = self.jobs.list(self.user, task="merge", states=("queued", "running", "pausing", "paused"))
        taken = {file_stem(name, "merged") for name in [*self.bases(), *(job.title for job in coming)]}
        titles = (f"{title} {number}" if number > 1 else title for number in itertools.count(1))
        return next(title for title in titles if file_stem(title, "merged") not in taken)

    def _captioner(self, name: str) -> str:
        """What a captioner is loaded by; it may come from where bases may."""
        try:
            return self.base(name)
        except BadInput:
            what = f"there is none called {Path(name).name!r} that may be used here"
            do = "write the id of one on the hub (owner/name), or add its folder in the settings"
            raise BadInput("captioner", what, do) from None

    def _add(
        self,
        task: str,
        settings: Mapping[str, Any],
        title: str,
        fill: Callable[[Path], object] | None = None,
        needs: int = 0,
    ) -> Job:
        """Put a job into the queue; `fill` puts `needs` bytes into its folder."""
        if self.room() <= needs:
            raise BadInput("disk", "what you may store here is used up", MAKE_ROOM)

        def filled(folder: Path) -> None:
            if fill:
                fill(folder)

        return self.jobs.add(task, settings, owner=self.user, title=title, fill=filled)

    def _draft(self, id: str) -> Draft:
        return Draft(self._database, id, self.folder, self._settings().limits, self.room)

    def _file(self, adapter: str) -> str:
        card = self.library().card(adapter)
        if card.binned:
            raise BadInput(card.title, "this adapter lies in the bin", "take it out of the bin first")
        return str(card.path)

    def _files(self, adapters: Mapping[str, float]) -> dict[str, float]:
        return {self._file(id): float(strength) for id, strength in adapters.items()}

    def _titles(self, adapters: Mapping[str, float]) -> str:
        return " + ".join(self.library().card(id).title for id in adapters)


def _files_in(folder: Path) -> list[os.stat_result]:
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found.append(os.lstat(os.path.join(parent, name)))
            except FileNotFoundError:
                continue  # it was replaced or removed since it was listed
    return found


def _copied(source: Path, target: Path) -> None:
    with source.open("rb") as old, files.new_file(target) as new:
        while chunk := old.read(2**20):
            new.write(chunk)
