"""The page with everything that is being made or waits for its turn, and what can be done about it.

actions.py  the buttons, each an endpoint      rows.py  jobs as HTML
"""

from typing import Any

import gradio as gr

from lorastyle import Job, Workspace
from ui.answers import told
from ui.pages.queue import rows
from ui.pages.queue.actions import ACTIONS, perform
from ui.session import area
from ui.widgets import jobs as words
from ui.widgets.events import QUIET, followed, opened, remembered
from ui.widgets.panes import heading, pane

LOG_BYTES = 20_000  # of the end of a log are shown; the file keeps it all
SECONDS = 2.0  # between looks at the store


def page(workspace: Workspace) -> None:
    """Build the page: the jobs on the left, the one that is open on the right."""
    heading(
        "Queue", "All that you asked for, in the order it will be made. Close this page if you like; the work goes on."
    )
    chosen = gr.Textbox(label="Job", visible=False)
    with gr.Row(elem_classes="opens-above"):
        with gr.Column(scale=3, min_width=300):
            listed = pane(style=rows.STYLE, choosable=True)
        with gr.Column(scale=4, min_width=320, visible=False, elem_classes="opened-beside") as panel:
            facts = pane(style=rows.STYLE)
            with gr.Row(elem_classes="slim"):
                buttons = [gr.Button(action.label, size="sm", min_width=80, visible=False) for action in ACTIONS]
                really = gr.Button("Really delete?", variant="stop", size="sm", visible=False)
            log = pane(style=rows.STYLE)
    record = gr.JSON(label="Job", visible=False)
    shown = [chosen, really, listed, panel, facts, *buttons, log]

    def choose(event: gr.EventData) -> tuple[str, gr.Button]:
        return str(event._data["id"]), gr.Button(visible=False)

    def show(job: str, request: gr.Request) -> list[Any]:
        looks = _looks(workspace, job, request)
        there = words.find(workspace.jobs, job, area(request).user) is not None
        return [job if there else "", gr.Button(visible=False), *looks]

    def open_page(request: gr.Request) -> list[Any]:
        return show(str(request.query_params.get("job", "")), request)

    def tick(job: str, request: gr.Request) -> list[Any]:
        return _looks(workspace, job, request)  # what is open stays open, and what was asked stays asked

    def show_result(record: dict[str, Any], request: gr.Request) -> list[Any]:
        return show(record["id"], request)

    opened(open_page, shown)
    listed.choose(told(choose), None, [chosen, really], **QUIET)
    clock = gr.Timer(SECONDS)
    followed([clock.tick, chosen.change], tick, [chosen], shown[2:])
    for action, button in zip(ACTIONS, buttons, strict=True):
        if action.asks:
            button.click(lambda: gr.Button(visible=True), None, [really], **QUIET)
        clicked = (really if action.asks else button).click(
            perform(action), [chosen], [record], api_name=action.api_name
        )
        remembered(clicked.success(told(show_result), [record], shown, **QUIET), chosen)


def _looks(workspace: Workspace, chosen: str, request: gr.Request) -> list[Any]:
    """What all parts of the page show: the list, and the open job with its facts, buttons and log."""
    here = area(request)
    jobs = workspace.jobs.list(here.user)
    job = next((job for job in jobs if job.id == chosen), None)
    listed = rows.listing(jobs, chosen)
    if job is None:
        return [listed, gr.Column(visible=False), "", *(gr.Button(visible=False) for _ in ACTIONS), ""]
    buttons = [gr.Button(visible=action.applies(job)) for action in ACTIONS]
    return [listed, gr.Column(visible=True), rows.facts(job), *buttons, _end_of_log(workspace, job)]


def _end_of_log(workspace: Workspace, job: Job) -> str:
    """The last lines of the job's log."""
    file = job.folder / "log.txt"
    begin = max(0, file.stat().st_size - LOG_BYTES) if file.is_file() else 0
    text, _ = workspace.jobs.log(job.id, begin, job.owner)
    whole = text.partition("\n")[2] if begin else text
    return rows.log(whole)
