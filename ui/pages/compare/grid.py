"""A grid of checkpoints, strengths and prompts, drawn as one routed batch; and keeping the best of it."""

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from lorastyle import BadInput, Job, Workspace
from ui.answers import told
from ui.pages.compare import table
from ui.pages.compare.sides import step_of
from ui.session import area
from ui.widgets import jobs as words
from ui.widgets.choices import Choices, renewed
from ui.widgets.events import QUIET, followed, remembered
from ui.widgets.panes import pane
from ui.widgets.parts import part

STRENGTHS = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
USUAL_STRENGTHS = [0.5, 0.75, 1.0]
USUAL_CHECKPOINTS = 4  # of a training are chosen at first, the last ones
NAMING = "Without a name it takes the place of the training's adapter. Under a new name it is kept beside it."
SECONDS = 1.0  # between looks at the store while the grid is being drawn


@dataclass(frozen=True)
class Grid:
    """The components; `shown` are the outputs that `open` has values for."""

    training: gr.Dropdown
    checkpoints: gr.Dropdown
    strengths: gr.CheckboxGroup
    prompts: gr.Textbox
    seed: gr.Number
    draw: gr.Button
    job: gr.Textbox
    cell: gr.Textbox
    progress: gr.HTML
    stop: gr.Button
    table: gr.HTML
    keeping: gr.Column
    choice: gr.HTML
    title: gr.Textbox
    keep: gr.Button
    kept: gr.HTML
    clock: gr.Timer
    offered: gr.State
    saved: gr.State

    @property
    def fields(self) -> list[Any]:
        return [self.training, self.checkpoints, self.strengths, self.prompts, self.seed]

    @property
    def followed(self) -> list[Any]:
        """What `_looks` has values for."""
        return [self.progress, self.stop, self.table, self.keeping, self.choice, self.clock]

    @property
    def shown(self) -> list[Any]:
        return [self.training, self.checkpoints, self.saved, self.prompts, self.job, self.cell, *self.followed,
                self.offered]  # fmt: skip


def build(workspace: Workspace) -> Grid:
    """Build the fields and the grid, and connect the buttons."""
    most = workspace.settings.limits.prompt_characters
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            training = gr.Dropdown([], label="Training", allow_custom_value=True)
            checkpoints = gr.Dropdown(
                [], label="Checkpoints", info="The steps at which it was saved.", multiselect=True,
                allow_custom_value=True
            )  # fmt: skip
            strengths = gr.CheckboxGroup(
                [(f"{strength:g}", strength) for strength in STRENGTHS], value=USUAL_STRENGTHS, label="Strengths",
                info="0 is the base alone."
            )  # fmt: skip
            prompts = gr.Textbox(
                label="Prompts", lines=3, info="One on each line.", placeholder="a cat face, ink style",
                max_length=10 * most
            )  # fmt: skip
            seed = gr.Number(0, label="Seed", precision=0, minimum=0)
            draw = gr.Button("Draw the grid", variant="primary")
        with gr.Column(scale=3, min_width=320):
            progress = pane(style=part("jobs.css"))
            stop = gr.Button("Stop drawing", size="sm", visible=False)
            shown = pane(table.EMPTY, style=table.STYLE, choosable=True)
            with gr.Column(visible=False, elem_classes="stays-in-sight") as keeping:
                choice = pane()
                title = gr.Textbox(label="Name in the library", max_length=120, info=NAMING)
                keep = gr.Button("Keep this one", variant="primary")
                kept = pane()
    parts = Grid(training, checkpoints, strengths, prompts, seed, draw, gr.Textbox(visible=False, label="Grid"),
                 gr.Textbox(visible=False, label="Cell"), progress, stop, shown, keeping, choice, title, keep, kept,
                 gr.Timer(SECONDS, active=False), gr.State([]), gr.State([]))  # fmt: skip
    _wire(workspace, parts)
    return parts


def _wire(workspace: Workspace, parts: Grid) -> None:
    def draw(
        training: str, checkpoints: list[str], strengths: list[float], prompts: str, seed: float | None,
        request: gr.Request,
    ) -> str:  # fmt: skip
        lines = [line.strip() for line in (prompts or "").splitlines() if line.strip()]
        given = {"training": training, "checkpoints": checkpoints, "strengths": strengths, "prompts": lines}
        for name, value in given.items():
            if not value:
                raise BadInput(f"the {name}", "there is nothing to draw with", f"choose the {name} first")
        here = area(request)
        return here.grid(training, [step_of(step) for step in checkpoints], strengths, lines, int(seed or 0)).id

    def keep(job: str, cell: str, title: str, request: gr.Request) -> str:
        here = area(request)
        drawn = _cell(workspace.jobs.get(job, here.user), cell)
        step, training = table.step_of(drawn["checkpoint"]), _training(workspace, here, drawn["checkpoint"])
        return here.library().keep(training.id, step, float(drawn["strength"]), (title or "").strip()).id

    def stop(job: str, request: gr.Request) -> str:
        return workspace.jobs.cancel(job, area(request).user).id

    def choose(job: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        cell = str(event._data["id"])
        return [cell, "", *_looks(workspace, job, cell, request)]

    def look(job: str, cell: str, request: gr.Request) -> list[Any]:
        return _looks(workspace, job, cell, request)

    def offer_trainings(known: Choices, request: gr.Request) -> list[Any]:
        return renewed(_trainings(workspace, area(request).user), known)

    def offer_checkpoints(training: str, known: Choices, request: gr.Request) -> list[Any]:
        return renewed(_checkpoints(workspace, training, area(request).user), known)

    def take(training: str, request: gr.Request) -> list[Any]:
        return _taken(_checkpoints(workspace, training, area(request).user))

    done = parts.draw.click(told(draw), parts.fields, [parts.job], api_name="compare_grid")
    remembered(done, parts.job)
    done.success(lambda: ("", ""), None, [parts.cell, parts.kept], **QUIET)
    ended = parts.stop.click(told(stop), [parts.job], [parts.job], api_name="compare_stop")
    ended.success(told(look), [parts.job, parts.cell], parts.followed, **QUIET)
    chosen = [parts.cell, parts.kept, *parts.followed]
    parts.table.choose(told(choose), [parts.job], chosen, **QUIET)
    followed([parts.clock.tick, parts.job.change], look, [parts.job, parts.cell], parts.followed)
    # what was trained meanwhile
    parts.training.focus(told(offer_trainings), [parts.offered], [parts.offered, parts.training], **QUIET)
    known = [parts.training, parts.saved]
    parts.checkpoints.focus(told(offer_checkpoints), known, [parts.saved, parts.checkpoints], **QUIET)
    parts.training.input(told(take), [parts.training], [parts.checkpoints, parts.saved], **QUIET)
    adapter = gr.Textbox(visible=False, label="Adapter")
    held = parts.keep.click(told(keep), [parts.job, parts.cell, parts.title], [adapter], api_name="compare_keep")
    held.success(_kept, [adapter], [parts.kept], **QUIET)


def open(workspace: Workspace, request: gr.Request) -> list[Any]:
    """Values for `Grid.shown` of a page just opened; the address may name a grid and its cell, or a training."""
    here = area(request)
    job, cell, wanted = (str(request.query_params.get(name, "")) for name in ("job", "cell", "training"))
    trainings = _trainings(workspace, here.user)
    known = [id for _, id in trainings]
    training = wanted if wanted in known else next(iter(known), "")
    prompts = _prompts(workspace, training, here.user)
    drawn = words.find(workspace.jobs, job, here.user)
    cell = cell if drawn and _has(drawn, cell) else ""
    return [
        gr.Dropdown(trainings, value=training),
        *_taken(_checkpoints(workspace, training, here.user)),
        "\n".join(prompts),
        job,
        cell,
        *_looks(workspace, job, cell, request),
        trainings,
    ]


def _trainings(workspace: Workspace, owner: str) -> Choices:
    """(title, id) of the trainings that have checkpoints."""
    trainings = workspace.jobs.list(owner, task="train")
    return [(one.title, one.id) for one in trainings if workspace.jobs.checkpoints(one.id, owner)]


def _checkpoints(workspace: Workspace, training: str, owner: str) -> Choices:
    """What can be chosen of a training: the steps of its checkpoints."""
    found = workspace.jobs.checkpoints(training, owner) if training else []
    return [(f"{one['step']:,}", str(one["step"])) for one in found]


def _taken(checkpoints: Choices) -> list[Any]:
    """The list of the checkpoints, the last ones chosen, and what it offers."""
    return [gr.Dropdown(checkpoints, value=[step for _, step in checkpoints[-USUAL_CHECKPOINTS:]]), checkpoints]


def _prompts(workspace: Workspace, training: str, owner: str) -> list[str]:
    """The prompts that the training drew its own previews with."""
    previews = workspace.jobs.previews(training, owner) if training else []
    return list(dict.fromkeys(preview["prompt"] for preview in previews if preview["prompt"]))[:2]


def _looks(workspace: Workspace, job: str, cell: str, request: gr.Request) -> list[Any]:
    """Values for `Grid.followed`."""
    found = words.find(workspace.jobs, job, area(request).user)
    under_way = found is not None and not words.is_over(found)
    head = [words.strip(found), gr.Button(visible=under_way)]
    clock = gr.Timer(active=under_way)
    if found is None or found.state != "done":
        return [*head, "" if found else table.EMPTY, gr.Column(visible=False), "", clock]
    told = "<p>Choose the picture that you like best.</p>"
    if cell:
        best = _cell(found, cell)
        step = table.step_of(best["checkpoint"])
        told = f"<p>Step {step:,} at strength {float(best['strength']):g} for <em>{escape(best['prompt'])}</em></p>"
    return [*head, table.tables(found, cell), gr.Column(visible=bool(cell)), told, clock]


def _has(job: Job, cell: str) -> bool:
    return cell.isdecimal() and int(cell) < len(job.result.get("cells", []))


def _cell(job: Job, cell: str) -> dict[str, Any]:
    if not _has(job, cell):
        raise BadInput("the grid", "no picture of it is chosen", "click on the one that you like best")
    return dict(job.result["cells"][int(cell)])


def _training(workspace: Workspace, here: Any, checkpoint: str) -> Job:
    """The training that a checkpoint's file lies in."""
    for training in workspace.jobs.list(here.user, task="train"):
        if any(str(one["path"]) == checkpoint for one in workspace.jobs.checkpoints(training.id, here.user)):
            return training
    raise BadInput("the grid", "the training that it shows is not there any more", "draw a grid of another one")


def _kept(adapter: str) -> str:
    address = f"./library?adapter={escape(adapter)}"
    return f'<p>Kept. It is <a href="{address}">in your library</a> now, with this strength.</p>'
