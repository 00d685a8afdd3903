"""What can be done with a job: a button and an endpoint each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from lorastyle import Area, BadInput, Job, Jobs
from ui.answers import told
from ui.session import area

Act = Callable[[Area, str], Job]


@dataclass(frozen=True)
class Action:
    """A button: its words, in which states of a job it shows, and what it does with a job's id; `tasks` are those that
    can do it while they run, where not all can. `asks` before it does what nothing brings back."""

    name: str
    label: str
    states: tuple[str, ...]
    act: Act
    tasks: tuple[str, ...] = ()
    asks: bool = False

    @property
    def api_name(self) -> str:
        return f"queue_{self.name}"

    def applies(self, job: Job) -> bool:
        return job.state in self.states and (job.state != "running" or not self.tasks or job.task in self.tasks)


def _act(method: Callable[[Jobs, str, str], Job]) -> Act:
    return lambda here, job: method(here.jobs, job, here.user)


def _ask(what: Literal["sample", "save"]) -> Act:
    return lambda here, job: here.jobs.ask(job, what, here.user)


def _earlier(here: Area, job: str) -> Job:
    """Put it before the one that now stands before it."""
    order, place = _order(here, job)
    return here.jobs.move(job, order[place - 1], here.user) if place else here.jobs.get(job, here.user)


def _later(here: Area, job: str) -> Job:
    """Put it behind the one that now stands behind it."""
    order, place = _order(here, job)
    return here.jobs.move(job, order[place + 2] if place + 2 < len(order) else None, here.user)


def _order(here: Area, job: str) -> tuple[list[str], int]:
    """The jobs that wait, in their order, and the place of this one among them."""
    order = [one.id for one in here.jobs.list(here.user, states=WAITING)]
    if job not in order:
        raise BadInput("this job", "it does not wait any more", "look at the list again")
    return order, order.index(job)


WAITING = ("queued", "paused")
ACTIONS = (
    Action("earlier", "Earlier", WAITING, _earlier),
    Action("later", "Later", WAITING, _later),
    Action("pause", "Pause", ("queued", "running"), _act(Jobs.pause), ("train",)),
    Action("resume", "Go on", ("pausing", "paused"), _act(Jobs.resume)),
    Action("sample", "Sample now", ("running",), _ask("sample"), ("train",)),
    Action("save", "Save now", ("running",), _ask("save"), ("train",)),
    Action("retry", "Try again", ("failed", "cancelled"), _act(Jobs.retry)),
    Action("clone", "Make a copy", ("failed", "cancelled", "done"), _act(Jobs.clone)),
    Action("remove", "Delete", ("failed", "cancelled", "done"), Area.remove_job, asks=True),
    Action("cancel", "Cancel", ("queued", "running", "pausing", "paused"), _act(Jobs.cancel)),
)


def perform(action: Action) -> Callable[[str, gr.Request], dict[str, Any]]:
    """The handler of a button: does it and returns the job in short."""

    def handler(job: str, request: gr.Request) -> dict[str, Any]:
        return short(action.act(area(request), job))

    return told(handler)


def short(job: Job) -> dict[str, Any]:
    """A job as an endpoint tells it; no path of the server is in it."""
    return {name: getattr(job, name) for name in ("id", "task", "title", "state", "step", "steps", "message", "error")}
