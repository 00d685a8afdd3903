"""Step four: watching a training, and telling it what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from lorastyle import Job, Jobs, Workspace
from ui import files
from ui.answers import told
from ui.pages.queue import actions as queue
from ui.pages.train import progress
from ui.session import area
from ui.widgets.drawn import drawn
from ui.widgets.events import QUIET
from ui.widgets.jobs import find, is_over

SECONDS = 1.0  # between looks at the training
SLOW = 4.0  # between looks at one that has ended, and may be tried again or deleted elsewhere
LOG_CHARACTERS = 20_000  # of its end, on the page


SHOWN = ("pause", "resume", "sample", "save", "retry", "cancel")
ACTIONS = tuple(action for action in queue.ACTIONS if action.name in SHOWN)  # the queue's page has their endpoints
ANNOUNCED = {"sample": "Previews are drawn after the next step.", "save": "It is saved after the next step."}
GONE = """<div class="own after" role="status"><p>This training is not there any more. What was kept of it is in the
library.</p><a class="button" href="./library">Library</a></div>"""


@dataclass(frozen=True)
class Watch:
    """The components of the step, in the order of `looks`."""

    shown: list[Any]
    clock: gr.Timer
    seen: gr.State


def watch(workspace: Workspace, job: gr.Textbox) -> Watch:
    """Build the step for the training that `job` names."""
    card = drawn("watch", {})
    with gr.Row(elem_classes="slim"):
        buttons = [
            gr.Button(action.label, size="sm", min_width=90, visible=False, elem_id=f"job-{action.name}")
            for action in ACTIONS
        ]
    after = gr.HTML(elem_classes="plain", apply_default_css=False)
    with gr.Row(visible=False) as charts:
        loss = gr.LinePlot(
            progress.losses([]), x="step", y="loss", color="which", title="Loss", height=260, min_width=320,
            color_map={"each step": "#b9b9b4", "smoothed": "#28937a"},
            x_title="step", y_title="loss", color_title="", scale=2,
        )  # fmt: skip
        rate = gr.LinePlot(
            progress.rates([]), x="step", y="learning rate", title="Learning rate", height=260, min_width=240, scale=1
        )
    previews = drawn("previews", {})
    with gr.Accordion("Change the preview prompts", open=False, visible=False) as change:
        prompts = gr.Textbox(label="Prompts, one on each line", lines=3, elem_id="prompts")
        set_prompts = gr.Button("Use these from the next preview on", size="sm")
    with gr.Accordion("Log", open=False):
        log = gr.Textbox(label="Log", show_label=False, lines=12, max_lines=18, interactive=False, autoscroll=True)
    shown = [card, *buttons, after, charts, loss, rate, previews, change, prompts, log]
    step = Watch(shown, gr.Timer(SECONDS, active=False), gr.State({}))
    _events(workspace, job, step, buttons, prompts, set_prompts)
    return step


def _events(
    workspace: Workspace, job: gr.Textbox, step: Watch, buttons: list[gr.Button], prompts: gr.Textbox, use: gr.Button
) -> None:
    outputs = [*step.shown, step.clock, step.seen]

    def look(job: str, seen: dict[str, Any], request: gr.Request) -> list[Any]:
        return looks(workspace, area(request).user, job, seen)

    def set_prompts(job: str, prompts: str, request: gr.Request) -> str:
        """Change the preview prompts, one on each line, of a training while it runs."""
        workspace.jobs.set_prompts(job, prompts.splitlines(), area(request).user)
        gr.Info("The next previews show these.")
        return job

    step.clock.tick(told(look), [job, step.seen], outputs, queue=False, **QUIET)
    for action, button in zip(ACTIONS, buttons, strict=True):
        clicked = button.click(_perform(workspace, action), [job], [job], **QUIET)
        clicked.success(told(look), [job, step.seen], outputs, **QUIET)
    use.click(told(set_prompts), [job, prompts], [job], api_name="training_prompts", show_progress="hidden")


def _perform(workspace: Workspace, action: queue.Action) -> Callable[..., str]:
    def perform(job: str, request: gr.Request) -> str:
        action.act(area(request), job)
        workspace.jobs.ensure_worker()
        if action.name in ANNOUNCED:
            gr.Info(ANNOUNCED[action.name])
        return job

    return told(perform)


def looks(workspace: Workspace, user: str, id: str, seen: dict[str, Any]) -> list[Any]:
    """New values for `Watch.shown`, the clock and `seen`; what is as it was when `seen` was made stays alone."""
    job = find(workspace.jobs, id, user)
    if job is None:
        hidden = [gr.Button(visible=False) for _ in ACTIONS]
        return [{}, *hidden, GONE if id else "", gr.Row(visible=False), gr.skip(), gr.skip(), {},
                gr.Accordion(visible=False), "", "", gr.Timer(active=False), {}]  # fmt: skip
    seen = seen if seen.get("job") == id else {}
    last = workspace.jobs.metrics(id, points=1, owner=user)
    previews = workspace.jobs.previews(id, user)
    log, read = _log(workspace.jobs, job, seen.get("log", ""), seen.get("read", 0))
    now = {"job": id, "step": last[-1]["step"] if last else 0, "previews": len(previews), "state": job.state.value,
           "log": log, "read": read}  # fmt: skip
    rows = workspace.jobs.metrics(id, owner=user) if now["step"] != seen.get("step") else []

    def fresh(name: str, make: Callable[[], Any]) -> Any:
        return gr.skip() if now[name] == seen.get(name) else make()

    return [
        progress.card(job, last[-1] if last else {}),
        *(fresh("state", partial(gr.Button, visible=action.applies(job))) for action in ACTIONS),
        fresh("state", lambda: _after(job)),
        fresh("step", lambda: gr.Row(visible=bool(rows))),
        fresh("step", lambda: progress.losses(rows)),
        fresh("step", lambda: progress.rates(rows)),
        fresh("previews", lambda: _rows(job, list(previews))),
        fresh("state", lambda: gr.Accordion(visible=not is_over(job))),
        fresh("job", lambda: "\n".join(job.prompts or job.settings["recipe"].get("preview_prompts", ()))),
        fresh("log", lambda: log),
        gr.Timer(SLOW if is_over(job) else SECONDS, active=True),
        now,
    ]


def _log(jobs: Jobs, job: Job, known: str, read: int) -> tuple[str, int]:
    """The end of the log, of which `known` was read already, up to byte `read`; and how far it is read now."""
    while True:
        more, after = jobs.log(job.id, read, job.owner)
        if after == read:
            return known, read
        known, read = (known + more)[-LOG_CHARACTERS:], after


def _after(job: Job) -> str:
    if job.state != "done":
        return ""
    return (
        '<div class="own after"><p>It has learnt. Look at it beside the base, choose the best moment, and keep it.</p>'
        f'<a class="button main" href="./compare?training={job.id}">Compare</a>'
        '<a class="button" href="./generate">Draw with it</a><a class="button" href="./library">Library</a></div>'
    )


def _rows(job: Job, previews: list[dict[str, Any]]) -> dict[str, Any]:
    """The value of the previews: newest checkpoint first."""
    steps = sorted({preview["step"] for preview in previews}, reverse=True)
    return {
        "rows": [
            {
                "step": step,
                "share": f"{step / job.steps:.0%}" if job.steps else "",
                "pictures": [
                    {"url": files.url("preview", job.id, step, preview["number"]), "prompt": preview["prompt"]}
                    for preview in previews
                    if preview["step"] == step
                ],
            }
            for step in steps
        ]
    }
