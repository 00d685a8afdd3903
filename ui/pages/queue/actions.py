"""What can be done with a job: a button and an endpoint each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from lorastyle import BadInput, Job, Jobs, Workspace
from ui.answers import told
from ui.session import area

Act = Callable[[Jobs, str, str], Job | None]


@dataclass(frozen=True)
class Action:
    """A button: its words, in which states of a job it shows, and what it does with (jobs, id, owner)."""

    name: str
    label: str
    states: tuple[str, ...]
    act: Act
    tasks: tuple[str, ...] = ()

    @property
    def api_name(self) -> str:
        return f"queue_{self.name}"

    def applies(self, job: Job) -> bool:
        return job.state in self.states and (not self.tasks or job.task in self.tasks)


def _ask(what: Literal["sample", "save"]) -> Act:
    def ask(jobs: Jobs, job: str, owner: str) -> None:
        jobs.ask(job, what, owner)

    return ask


def _earlier(jobs: Jobs, job: str, owner: str) -> Job:
    """Put it before the one that now stands before it."""
    order, place = _order(jobs, job, owner)
    return jobs.move(job, order[place - 1], owner) if place else jobs.get(job, owner)


def _later(jobs: Jobs, job: str, owner: str) -> Job:
    """Put it behind the one that now stands behind it."""
    order, place = _order(jobs, job, owner)
    return jobs.move(job, order[place + 2] if place + 2 < len(order) else None, owner)


def _order(jobs: Jobs, job: str, owner: str) -> tuple[list[str], int]:
    """The jobs that wait, in their order, and the place of this one among them."""
    order = [one.id for one in jobs.list(owner, states=WAITING)]
    if job not in order:
        raise BadInput("this job", "it does not wait any more", "look at the list again")
    return order, order.index(job)


WAITING = ("queued", "paused")
ACTIONS = (
    Action("earlier", "Earlier", WAITING, _earlier),
    Action("later", "Later", WAITING, _later),
    Action("pause", "Pause", ("queued", "running"), Jobs.pause),
    Action("resume", "Go on", ("pausing", "paused"), Jobs.resume),
    Action("sample", "Sample now", ("running",), _ask("sample"), ("train",)),
    Action("save", "Save now", ("running",), _ask("save"), ("train",)),
    Action("retry", "Try again", ("failed", "cancelled"), Jobs.retry),
    Action("clone", "Make a copy", ("failed", "cancelled", "done"), Jobs.clone),
    Action("cancel", "Cancel", ("queued", "running", "pausing", "paused"), Jobs.cancel),
)


def perform(workspace: Workspace, action: Action) -> Callable[[str, gr.Request], dict[str, Any]]:
    """The handler of a button: does it and returns the job in short."""

    def handler(job: str, request: gr.Request) -> dict[str, Any]:
        owner = area(request).user
        done = action.act(workspace.jobs, job, owner)
        return short(done or workspace.jobs.get(job, owner))

    return told(handler)


def short(job: Job) -> dict[str, Any]:
    """A job as an endpoint tells it; no path of the server is in it."""
    return {name: getattr(job, name) for name in ("id", "task", "title", "state", "step", "steps", "message", "error")}
