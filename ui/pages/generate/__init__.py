"""The page that draws: a prompt, adapters with their strengths, and every picture that was drawn so far.

    form.py  what is asked for, and the jobs it becomes      pictures.py  pictures as HTML

Each picture is a job of its own with its own seed, so that any of them can be drawn again or compared by itself.
"""

from contextlib import suppress
from typing import Any

import gradio as gr

from lorastyle import BadInput, Job, Jobs, Workspace
from ui.answers import told
from ui.pages.generate import form, pictures
from ui.session import area
from ui.widgets import jobs as words
from ui.widgets.choices import titles_of
from ui.widgets.events import QUIET, followed, opened, remembered
from ui.widgets.panes import heading, pane

SHOWN = 60  # pictures of the history on the page
SECONDS = 1.5  # between looks at the store while something is being drawn
UNDER_WAY = ("queued", "running", "pausing")


def page(workspace: Workspace) -> None:
    """Build the page: what to draw on the left, the open picture and the history on the right."""
    heading("Generate", "Draw with what you have taught.")
    chosen = gr.Textbox(label="Picture", visible=False)
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            asked = form.build(workspace)
        with gr.Column(scale=3, min_width=320):
            stage = pane(style=pictures.STAGE_STYLE)
            with gr.Row(elem_classes="slim"):
                reuse = gr.Button("Use these settings again", size="sm", visible=False)
                stop = gr.Button("Stop drawing", size="sm", visible=False)
            heading("Drawn so far", level=2)
            drawn = pane(style=pictures.HISTORY_STYLE, choosable=True)
    clock = gr.Timer(SECONDS, active=False)
    shown = [chosen, stage, drawn, reuse, stop, clock]
    record = gr.JSON(visible=False, label="Pictures")

    def show(job: str, request: gr.Request) -> list[Any]:
        return _looks(workspace, job, request)

    def tick(job: str, request: gr.Request) -> list[Any]:
        return show(job, request)[1:]  # what is open stays open

    def first(ids: list[str]) -> str:
        return ids[0]

    def choose(event: gr.EventData) -> str:
        return str(event._data["id"])

    def open_page(request: gr.Request) -> list[Any]:
        asked_for = str(request.query_params.get("job", ""))
        job = words.find(workspace.jobs, asked_for, area(request).user)
        return [*show(asked_for, request), *form.open(workspace, job, request)]

    def stop_all(request: gr.Request) -> list[str]:
        here = area(request)
        return cancel_all(workspace.jobs, _drawings(workspace, here.user, UNDER_WAY))

    def again(job: str, request: gr.Request) -> list[Any]:
        here = area(request)
        return form.refill(workspace.jobs.get(job, here.user), here)

    def read(picture: str, request: gr.Request) -> list[Any]:
        return form.read(picture, area(request))

    def follow(adapter: str, request: gr.Request) -> Any:
        return form.base_for(workspace, adapter, area(request))

    opened(open_page, [*shown, *asked.outputs])
    followed([clock.tick, chosen.change], tick, [chosen], shown[1:])
    drawn.choose(told(choose), None, [chosen], **QUIET)
    outputs = [record, asked.seed]
    done = asked.draw.click(
        told(form.draw), asked.inputs, outputs, inputs_kwargs=asked.mixture.inputs, api_name="generate_draw"
    )
    remembered(done.success(told(first), [record], [chosen], **QUIET), chosen)
    stopped = stop.click(told(stop_all), None, [record], api_name="generate_stop")
    stopped.success(told(show), [chosen], shown, **QUIET)
    asked.read.upload(told(read), [asked.read], asked.outputs, api_name="generate_read")
    for adapter in asked.mixture.adapters:
        adapter.input(told(follow), [adapter], [asked.base], **QUIET)
    reuse.click(told(again), [chosen], asked.outputs, api_name="generate_reuse")


def cancel_all(jobs: Jobs, found: list[Job]) -> list[str]:
    """Cancel the jobs that were found under way; returns the ids of those that still were."""
    cancelled = []
    for job in found:
        with suppress(BadInput):  # it has ended since
            cancelled.append(jobs.cancel(job.id, job.owner).id)
    return cancelled


def _drawings(workspace: Workspace, owner: str, states: tuple[str, ...] | None = None) -> list[Job]:
    return workspace.jobs.list(owner, task="generate", states=states)


def _looks(workspace: Workspace, chosen: str, request: gr.Request) -> list[Any]:
    """What the parts of the page show: the open picture (the newest without one), the history, and the buttons."""
    here = area(request)
    jobs = sorted(_drawings(workspace, here.user), key=lambda job: job.created, reverse=True)
    job = next((job for job in jobs if job.id == chosen), jobs[0] if jobs and not chosen else None)
    under_way = any(job.state in UNDER_WAY for job in jobs)
    titles = titles_of(here)
    return [
        job.id if job else "",
        pictures.stage(job, titles),
        pictures.history(jobs[:SHOWN], job.id if job else ""),
        gr.Button(visible=job is not None),
        gr.Button(visible=under_way),
        gr.Timer(active=under_way),
    ]
