"""Jobs: what people do with the queue. The worker's side of the same table is in :mod:`lorastyle.jobs.leases`.

jobs = lorastyle.Jobs("studio")
job = jobs.add("train", {"data": "/images/ink", "recipe": {"trigger": "sumi"}})
jobs.ensure_worker()
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lorastyle import files
from lorastyle.errors import BadInput
from lorastyle.jobs import run_files
from lorastyle.jobs.actions import CANCEL, PAUSE, RESUME, RETRY, Action, act
from lorastyle.jobs.database import Database, note
from lorastyle.jobs.job import AT_WORK, ENDED, Job, State, job_of
from lorastyle.jobs.leases import Leases, holder
from lorastyle.jobs.processes import start_worker
from lorastyle.jobs.tasks import Limits, checked, lane_of, require_files

OPEN = f"state NOT IN ({', '.join(repr(state.value) for state in sorted(ENDED))})"
TITLE = 200  # characters


class Jobs:
    """The jobs under a folder: the queue in jobs.sqlite and a folder for each in jobs/.

    Wherever an `owner` is given, only that owner's jobs are there; None sees all. All processes and threads may use
    the same folder at the same time. `limits` is asked at each use, since another process may change them.
    """

    def __init__(self, root: Path | str, limits: Callable[[], Limits] = Limits) -> None:
        self.root = Path(root).resolve()
        self._limits = limits
        self.root.mkdir(parents=True, exist_ok=True)
        self._database = Database(self.root / "jobs.sqlite")
        self._leases = Leases(self._database, self.root)
        self._keeps_worker = False

    @property
    def limits(self) -> Limits:
        """What a job may ask for now."""
        return self._limits()

    # adding and finding

    def add(
        self,
        task: str,
        settings: Mapping[str, Any],
        *,
        owner: str = "me",
        title: str = "",
        fill: Callable[[Path], object] | None = None,
    ) -> Job:
        """Put a job at the end of the queue.

        Args:
            settings: of the task, see :mod:`lorastyle.jobs.tasks`; a relative path lies in the job's folder.
            fill: puts into the job's folder, before anyone sees it, what relative paths name.

        Raises:
            BadInput: a setting cannot be used or is above a limit, a file is missing, or the owner's queue is full.
        """
        model = checked(task, settings)
        stored = json.dumps(model.model_dump(mode="json"))
        identifier = _new_id()
        self._require_room(owner)
        with files.new_folder(self._folder(identifier)) as beside:
            if fill:
                fill(beside)
            require_files(model, beside)
            model.within(self.limits)
            files.write_json(beside / "settings.json", {"task": task, "settings": json.loads(stored)})
        with self._database.change() as change:
            self._require_room(owner)
            change.execute(
                "INSERT INTO jobs (id, owner, task, lane, title, state, settings, created, place) "
                "SELECT ?, ?, ?, ?, ?, ?, ?, ?, coalesce(max(place), 0) + 1 FROM jobs",
                (identifier, owner, task, lane_of(task), " ".join(title.split())[:TITLE] or task, State.QUEUED,
                 stored, time.time()),
            )  # fmt: skip
            note(change, identifier, State.QUEUED)
        return self._queued(identifier)

    def get(self, id: str, owner: str | None = None) -> Job:
        """The job; raises BadInput where there is none, or where it is another owner's."""
        found = self._database.rows("SELECT * FROM jobs WHERE id = ? AND (? IS NULL OR owner = ?)", id, owner, owner)
        if not found:
            raise BadInput("job", "there is no such job", "choose one from the queue")
        return job_of(found[0], self._folder(id))

    def list(
        self, owner: str | None = None, *, task: str | None = None, states: Iterable[State | str] | None = None
    ) -> list[Job]:
        """Those that are not over in the order of the queue, then the others, newest first."""
        wanted = sorted(State(state) for state in (State if states is None else states))
        rows = self._database.rows(
            "SELECT * FROM jobs WHERE (? IS NULL OR owner = ?) AND (? IS NULL OR task = ?) "
            f"AND state IN ({', '.join('?' * len(wanted))}) "
            f"ORDER BY {OPEN} DESC, CASE WHEN {OPEN} THEN place END, coalesce(ended, created) DESC, place DESC",
            owner, owner, task, task, *wanted,
        )  # fmt: skip
        return [job_of(row, self._folder(row["id"])) for row in rows]

    def history(self, id: str, owner: str | None = None) -> Sequence[tuple[float, str]]:
        """What became of a job: when (seconds since 1970) it got into which state, or what happened to it."""
        job = self.get(id, owner)
        rows = self._database.rows("SELECT at, what FROM events WHERE job = ? ORDER BY rowid", job.id)
        return [(row["at"], row["what"]) for row in rows]

    # what can be done with a job

    def pause(self, id: str, owner: str | None = None) -> Job:
        """Hold a waiting job back, or stop a training at its next step with everything saved."""
        job = self.get(id, owner)
        if job.state in AT_WORK and job.task != "train":
            raise BadInput(
                f"job {job.title}", "only trainings can be paused while they run", "cancel it, or let it end"
            )
        return self._act(job, PAUSE)

    def resume(self, id: str, owner: str | None = None) -> Job:
        """Let a paused job go on from where it was."""
        return self._queued(self._act(self.get(id, owner), RESUME).id)

    def cancel(self, id: str, owner: str | None = None) -> Job:
        """End a job now; what it has written so far stays, and `retry` goes on from there."""
        return self._act(self.get(id, owner), CANCEL)

    def retry(self, id: str, owner: str | None = None) -> Job:
        """Put a failed or cancelled job at the end of the queue again; a training goes on from its checkpoint."""
        job = self.get(id, owner)
        self._require_room(job.owner)
        return self._queued(self._act(job, RETRY).id)

    def clone(self, id: str, owner: str | None = None) -> Job:
        """A new job with the settings of this one, and with its own copy of what it was given."""
        job = self.get(id, owner)
        settings = dict(job.settings)
        if Path(settings.get("out", "")).is_absolute():
            settings["out"] = Path(settings["out"]).name
        own = [path for _, path in checked(job.task, settings).reads() if not Path(path).is_absolute()]

        def fill(folder: Path) -> None:
            for path in own:
                _link(job.folder / path, folder / path)

        return self.add(job.task, settings, owner=job.owner, title=job.title, fill=fill)

    def remove(self, id: str, owner: str | None = None) -> Job:
        """Take a job that is over, and that no process holds any more, out of the list, with its folder."""
        job = self.get(id, owner)
        with self._database.change() as change:
            row = change.execute("SELECT * FROM jobs WHERE id = ?", (job.id,)).fetchone()
            if row is None or not State(row["state"]).ended:
                raise BadInput(f"job {job.title}", "it is not over yet", "cancel it first")
            if row["lease"] and holder(row).alive():
                raise BadInput(f"job {job.title}", "its process is just ending", "try again in a moment")
            change.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
            change.execute("DELETE FROM events WHERE job = ?", (job.id,))
        files.remove_folder(job.folder)  # a worker removes what is left of it should this process die here
        return job

    def move(self, id: str, before: str | None, owner: str | None = None) -> Job:
        """Move a job in the queue: before another one, or to the end.

        Only the places of that owner's jobs are dealt out anew, so that nobody gets ahead of somebody else.
        """
        self.get(id, owner)
        with self._database.change() as change:
            query = f"SELECT id, place FROM jobs WHERE {OPEN} AND (? IS NULL OR owner = ?) ORDER BY place"
            places = {row["id"]: row["place"] for row in change.execute(query, (owner, owner)).fetchall()}
            if id not in places or before not in {None, *places}:
                raise BadInput("job", "it does not wait in the queue any more", "look at the queue again")
            order = [one for one in places if one != id]
            order.insert(len(order) if before in {None, id} else order.index(str(before)), id)
            change.executemany("UPDATE jobs SET place = ? WHERE id = ?", zip(places.values(), order, strict=True))
        return self.get(id)

    def ask(self, id: str, what: Literal["sample", "save"], owner: str | None = None) -> Job:
        """Ask a running training for previews ("sample") or a checkpoint ("save") at its next step."""
        if what not in ("sample", "save"):
            raise BadInput("job", f"nobody can be asked to {what!r}", "ask for 'sample' or 'save'")
        return self._while_open(self.get(id, owner), f"{what} = 1", (), f"asked to {what}")

    def set_prompts(self, id: str, prompts: Sequence[str], owner: str | None = None) -> Job:
        """Change the preview prompts of a training from its next step on."""
        told = [" ".join(prompt.split()) for prompt in prompts if prompt.strip()]
        if not told:
            raise BadInput("prompts", "there is none", "write at least one")
        self.limits.check_prompts(told, "prompts")
        return self._while_open(self.get(id, owner), "prompts = ?", (json.dumps(told),), "prompts changed")

    def _while_open(self, job: Job, setting: str, values: tuple[str, ...], what: str) -> Job:
        with self._database.change() as change:
            changed = change.execute(
                f"UPDATE jobs SET {setting} WHERE id = ? AND task = 'train' AND {OPEN}", (*values, job.id)
            )
            if not changed.rowcount:
                raise BadInput(f"job {job.title}", "it is no training, or it is over", "choose a training that runs")
            note(change, job.id, what)
        return self.get(job.id)

    def _act(self, job: Job, action: Action) -> Job:
        with self._database.change() as change:
            act(change, job.id, action)
        return self.get(job.id)

    # watching

    def log(self, id: str, offset: int = 0, owner: str | None = None) -> tuple[str, int]:
        """Whole lines of the job's log from byte `offset` on, and the offset to ask from next."""
        return run_files.read_log(self.get(id, owner).folder / "log.txt", offset)

    def metrics(self, id: str, after: int = 0, points: int = 400, owner: str | None = None) -> Sequence[dict[str, Any]]:
        """The rows of a training's metrics.jsonl of steps above `after`, thinned evenly to at most `points`."""
        return run_files.read_metrics(self.get(id, owner).run / "metrics.jsonl", after, points)

    def previews(self, id: str, owner: str | None = None) -> Sequence[dict[str, Any]]:
        """A training's previews, each {"step", "number", "prompt", "path"}, oldest first."""
        job = self.get(id, owner)
        prompts = job.prompts or job.settings.get("recipe", {}).get("preview_prompts", [])
        return run_files.read_previews(job.run, list(prompts))

    def checkpoints(self, id: str, owner: str | None = None) -> Sequence[dict[str, Any]]:
        """The adapters of a training's checkpoints, each {"step", "path"}, oldest first."""
        return run_files.read_checkpoints(self.get(id, owner).run)

    # the worker

    def worker_alive(self) -> bool:
        """Whether a process works through this queue."""
        return self._leases.at_work("worker") is not None

    def ensure_worker(self) -> bool:
        """Start a worker of its own, outliving this process, where none lives; True where one was started.

        From then on this object does so too whenever it puts a job into the queue.
        """
        self._keeps_worker = True
        if self.worker_alive():
            return False
        start_worker(self.root)
        return True

    def close(self) -> None:
        self._database.close()

    # inside

    def _folder(self, id: str) -> Path:
        return self.root / "jobs" / id

    def _queued(self, id: str) -> Job:
        if self._keeps_worker:
            self.ensure_worker()
        return self.get(id)

    def _require_room(self, owner: str) -> None:
        count = self._database.rows(f"SELECT count(*) FROM jobs WHERE owner = ? AND {OPEN}", owner)[0][0]
        if count >= self.limits.queued:
            raise BadInput("queue", f"{count} jobs are waiting already", "wait until some are done, or cancel some")


def _new_id() -> str:
    """Nobody can guess it; it starts with a letter, so that no command takes it for an option."""
    while not (made := secrets.token_urlsafe(16))[0].isalpha():
        continue
    return made


def _link(source: Path, target: Path) -> None:
    """The same files in another folder without a second copy, where the file system can do that."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_file)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        _link_file(str(source), str(target))


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copy2(source, target)
