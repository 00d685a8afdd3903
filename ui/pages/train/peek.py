"""A base that the studio does not know yet: a job looks at it, and then its own suggestions stand in the form."""

from html import escape
from typing import Any

import gradio as gr

from lorastyle import Job, Workspace
from ui.answers import told
from ui.pages.train import bases
from ui.pages.train.chosen import Chosen
from ui.session import area
from ui.widgets import jobs as words
from ui.widgets.events import QUIET

SECONDS = 1.0  # between looks at the job


def button() -> gr.Button:
    return gr.Button("Look at this base, and suggest what suits it", size="sm", visible=False, elem_id="peek")


def shown_for(chosen: Chosen) -> gr.Button:
    """The button shows where nothing is known of a base that may be used."""
    return gr.Button(visible=bool(chosen.source) and chosen.facts is None)


def events(
    workspace: Workspace, inputs: list[Any], look: gr.Button, said: gr.HTML, settings: gr.HTML
) -> None:  # fmt: skip
    """`look` starts the job for the base in `inputs`, `said` tells how far it is, `settings` is the form."""
    job = gr.Textbox(visible=False, label="Job")
    clock = gr.Timer(SECONDS, active=False)

    def begin(base: str, request: gr.Request) -> tuple[str, str, gr.Timer]:
        """Look at a base that is not known yet; one of the hub is downloaded for it."""
        started = bases.look_at(workspace, area(request), base)
        return started.id, _said(started), gr.Timer(active=True)

    def follow(
        id: str, data: str, base: str, purpose: str, trigger: str, form: Any, request: gr.Request
    ) -> tuple[Any, ...]:
        mine = area(request)
        found = workspace.jobs.get(id, mine.user)
        running = not found.state.ended
        chosen = Chosen.on_page(workspace, mine, data, base, purpose, trigger, form)
        return _said(found), gr.Timer(active=running), shown_for(chosen), gr.skip() if running else chosen.table()

    look.click(told(begin), [inputs[1]], [job, said, clock], api_name="look_at_base", show_progress="hidden")
    clock.tick(told(follow), [job, *inputs], [said, clock, look, settings], **QUIET)


def _said(job: Job) -> str:
    if job.state == "failed":
        return f'<p class="note bad" role="status">{escape(words.error(job))}</p>'
    if job.state.ended:
        return ""
    return f'<p class="note" role="status">{escape(job.message or "Waiting for its turn")} …</p>'
