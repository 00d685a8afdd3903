"""`lorastyle queue ...` and `lorastyle worker`: the studio's jobs from the command line."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorastyle import BadInput
from lorastyle.cli.screen import BaseName, Json, Root, say, show
from lorastyle.cli.training import Purpose, Rank, RecipeFile, Set, Start, Steps, Trigger, recipe_from

if TYPE_CHECKING:
    from lorastyle import Job, Jobs, Workspace

queue = typer.Typer(help="See and change the jobs of a studio.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, as the list shows it.")]


@queue.command("list")
def list_(root: Root, as_json: Json = False) -> None:
    """Show the queue: what waits and runs in its order, then what is over, newest first."""
    jobs = _jobs(root).list()
    if as_json:
        show({"jobs": [job.summary() for job in jobs]}, as_json)
    else:
        _table(jobs)


@queue.command()
def add(
    root: Root,
    data: Annotated[Path | None, typer.Argument(help="A folder or zip of images to train on.")] = None,
    base: BaseName = "pocket",
    purpose: Purpose = None,
    trigger: Trigger = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    steps: Steps = None,
    rank: Rank = None,
    start: Start = None,
    title: Annotated[str, typer.Option(help="What the job is called in the queue.")] = "",
    task: Annotated[Path | None, typer.Option(help='A JSON file {"task": ..., "settings": {...}} instead.')] = None,
    as_json: Json = False,
) -> None:
    """Put a training at the end of the queue; the images stay where they are and must not change until it is over."""
    if (data is None) == (task is None):
        raise BadInput("queue add", "it needs either images or a task", "give a folder, or --task FILE")
    if task is not None:
        name, wanted = _task_in(task)
    else:
        chosen = recipe_from(recipe, settings, purpose=purpose, trigger=trigger, steps=steps, rank=rank)
        name, wanted = "train", {"data": str(Path(str(data)).resolve()), "base": base}
        wanted["recipe"] = chosen.model_dump(mode="json", exclude_unset=True)
        wanted["start"] = str(start.resolve()) if start else ""
    jobs = _jobs(root)
    tell_queued(jobs, jobs.add(name, wanted, title=title or (data.stem if data else name)), as_json)


@queue.command()
def pause(id: Id, root: Root, as_json: Json = False) -> None:
    """Hold a job back; a training stops at its next step with everything saved."""
    _tell(_jobs(root).pause(id), as_json)


@queue.command()
def resume(id: Id, root: Root, as_json: Json = False) -> None:
    """Let a paused job go on."""
    _tell(_jobs(root).resume(id), as_json)


@queue.command()
def cancel(id: Id, root: Root, as_json: Json = False) -> None:
    """End a job now."""
    _tell(_jobs(root).cancel(id), as_json)


@queue.command()
def retry(id: Id, root: Root, as_json: Json = False) -> None:
    """Put a failed or cancelled job into the queue again; a training goes on from its last checkpoint."""
    _tell(_jobs(root).retry(id), as_json)


@queue.command()
def clone(id: Id, root: Root, as_json: Json = False) -> None:
    """Make a new job with the same settings."""
    _tell(_jobs(root).clone(id), as_json)


@queue.command()
def remove(id: Id, root: Root, as_json: Json = False) -> None:
    """Delete a job that is over, with its files; an adapter that it made stays in the library."""
    workspace = _workspace(root)
    _tell(workspace.area(workspace.jobs.get(id).owner).remove_job(id), as_json)


@queue.command()
def move(
    id: Id,
    root: Root,
    before: Annotated[str | None, typer.Option(help="The job that it is to go before; the end by default.")] = None,
    as_json: Json = False,
) -> None:
    """Move a job in the queue."""
    _tell(_jobs(root).move(id, before), as_json)


@queue.command()
def sample(id: Id, root: Root, as_json: Json = False) -> None:
    """Ask a training for previews at its next step."""
    _tell(_jobs(root).ask(id, "sample"), as_json)


@queue.command()
def save(id: Id, root: Root, as_json: Json = False) -> None:
    """Ask a training for a checkpoint at its next step."""
    _tell(_jobs(root).ask(id, "save"), as_json)


@queue.command()
def prompts(
    id: Id, prompts: Annotated[list[str], typer.Argument(help="The new prompts.")], root: Root, as_json: Json = False
) -> None:
    """Change the preview prompts of a training from its next step on."""
    _tell(_jobs(root).set_prompts(id, prompts), as_json)


@queue.command()
def logs(
    id: Id,
    root: Root,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job is over.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a job has said."""
    jobs, offset, parts = _jobs(root), 0, []
    while True:
        over = jobs.get(id).state.ended
        text, after = jobs.log(id, offset)
        parts.append(text)
        if not as_json:
            print(text, end="", flush=True)
        if after == offset and (over or not follow):
            break
        if after == offset:
            time.sleep(0.5)
        offset = after
    if as_json:
        show({"log": "".join(parts)}, as_json)


def worker(root: Root) -> None:
    """Do the jobs of a studio until Ctrl-C; what runs then is saved and goes on next time."""
    import lorastyle

    say(f"Working through the queue in {root.expanduser()}; Ctrl-C ends it.")
    if not lorastyle.run_worker(root.expanduser()):
        say("Another worker is at it already.")


def tell_queued(jobs: "Jobs", job: "Job", as_json: bool) -> None:
    """Show a job that was just put into the queue."""
    if not jobs.worker_alive():
        say("No worker is there to do it; start one with: lorastyle worker")
    _tell(job, as_json)


def _workspace(root: Path) -> "Workspace":
    import lorastyle

    return lorastyle.Workspace(root)


def _jobs(root: Path) -> "Jobs":
    return _workspace(root).jobs  # with the studio's own limits


def _task_in(file: Path) -> tuple[str, dict[str, Any]]:
    import json

    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput("--task", f"{file.name} cannot be read as JSON", "check the file") from error
    if not (isinstance(told, dict) and isinstance(told.get("task"), str) and isinstance(told.get("settings"), dict)):
        raise BadInput("--task", f"{file.name} names no task with settings", 'write {"task": ..., "settings": {...}}')
    return told["task"], told["settings"]


def _tell(job: "Job", as_json: bool) -> None:
    show(job.summary() if as_json else {"job": job.id, "state": str(job.state)}, as_json)


def _table(jobs: "Iterable[Job]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    table = Table(Column("job", no_wrap=True), "task", "title", "state", "step", "message", box=None)
    for job in jobs:
        step = f"{job.step}/{job.steps}" if job.steps else ""
        table.add_row(job.id, job.task, escape(job.title), str(job.state), step, escape(job.error or job.message))
    Console(highlight=False).print(table)
