"""What a training will take, measured by a short probe before it starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from lorastyle import BadInput, Job, Workspace
from ui.answers import told
from ui.pages.train.chosen import Chosen
from ui.session import area
from ui.widgets import jobs as words
from ui.widgets.events import followed
from ui.widgets.words import duration, size

SECONDS = 1.0  # between looks at the probe


CHANGED = '<p class="note" role="status">The choice has changed since it was measured: estimate it again.</p>'


@dataclass(frozen=True)
class Estimate:
    """The probe's job, what is said of it, and the clock by which it is looked at."""

    probe: gr.Textbox
    said: gr.HTML
    clock: gr.Timer

    @property
    def shown(self) -> list[Any]:
        return [self.probe, self.said, self.clock]


def estimate() -> Estimate:
    """Build the components."""
    said = gr.HTML(elem_classes="plain", apply_default_css=False)
    return Estimate(gr.Textbox(visible=False, label="Job"), said, gr.Timer(SECONDS, active=False))


def none() -> tuple[Any, ...]:
    """Values for `Estimate.shown` where nothing was measured."""
    return "", "", gr.Timer(active=False)


def events(
    workspace: Workspace, inputs: Sequence[Any], changes: Sequence[Any], measure: gr.Button, step: Estimate
) -> None:
    """`measure` starts a probe of what the `inputs` say, and `step` tells how far it is and what it found.

    Nothing that was measured stays as if it held once the `changes` made the inputs say another thing.
    """

    def begin(
        data: str, base: str, purpose: str, trigger: str, settings: Any, request: gr.Request
    ) -> tuple[str, str, gr.Timer]:
        """Measure a few steps of the training that was chosen."""
        chosen = Chosen.on_page(workspace, area(request), data, base, purpose, trigger, settings)
        job = chosen.mine.probe(chosen.draft, chosen.base, chosen.settings)
        workspace.jobs.ensure_worker()
        return job.id, _said(job), gr.Timer(active=True)

    def look(
        id: str, data: str, base: str, purpose: str, trigger: str, settings: Any, request: gr.Request
    ) -> tuple[str, gr.Timer]:
        if not id:
            return "", gr.Timer(active=False)
        job = workspace.jobs.get(id, area(request).user)
        if not _is_of(job, Chosen.on_page(workspace, area(request), data, base, purpose, trigger, settings)):
            return CHANGED, gr.Timer(active=False)
        return _said(job), gr.Timer(active=not job.state.ended)

    measure.click(told(begin), list(inputs), step.shown, api_name="estimate", show_progress="hidden")
    followed([step.clock.tick, step.probe.change, *changes], look, [step.probe, *inputs], [step.said, step.clock])


def refuse_what_cannot_fit(chosen: Chosen) -> None:
    """Raise BadInput, with the advice, where the latest probe of this very training found that it cannot fit."""
    for job in chosen.workspace.jobs.list(chosen.mine.user, task="probe", states=("done",)):
        if _is_of(job, chosen):
            if not job.result["fits"]:
                raise BadInput("Memory", "as measured, this training does not fit", job.result["advice"])
            return


def _is_of(probe: Job, chosen: Chosen) -> bool:
    try:
        return bool(probe.settings["base"] == chosen.source and probe.settings["recipe"] == chosen.settings)
    except BadInput:  # what is chosen cannot be trained
        return False


def _said(job: Job) -> str:
    if job.state == "done":
        return _found(job.result)
    if job.state == "failed":
        return f'<p class="note bad" role="status">{escape(words.error(job))}</p>'
    if job.state.ended:
        return '<p class="note" role="status">The estimate was cancelled.</p>'
    waits = "Waiting for its turn" if job.state == "queued" else job.message or "Measuring"
    return f'<p class="note" role="status">{escape(waits)} … a short probe trains a few steps and throws them away.</p>'


def _found(result: Mapping[str, Any]) -> str:
    facts = [
        ("Steps", f"{result['steps']:,}"),
        ("Time", duration(result["seconds"])),
        ("Memory", f"{size(result['memory_bytes'])} of {size(result['free_bytes'])}"),
    ]
    told = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    colour = "good" if result["fits"] else "bad"
    return f'<dl class="facts card">{told}</dl><p class="note {colour}" role="status">{escape(result["advice"])}</p>'
