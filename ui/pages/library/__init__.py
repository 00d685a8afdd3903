"""The page with all adapters: cards on the left, the open one beside them, and ways to make new ones below.

cards.py  adapters as HTML      details.py  the panel of the open adapter
making.py  import, mix, merge   results.py  what a job of this page made, as HTML
bin.py  what was deleted
"""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lorastyle import Card, Workspace
from ui.answers import told
from ui.pages.library import bin, cards, details, making, results
from ui.session import area
from ui.widgets import jobs as words, mixture
from ui.widgets.choices import adapters_of, bases_of
from ui.widgets.events import QUIET, followed, opened, remembered
from ui.widgets.panes import heading, pane

SORTS = [("Newest first", "newest"), ("Oldest first", "oldest"), ("By name", "title"), ("Largest first", "size")]
SECONDS = 1.0  # between looks at the store while a job of this page is under way


@dataclass(frozen=True)
class Parts:
    """The components that events of more than one kind touch."""

    chosen: gr.Textbox
    job: gr.Textbox
    search: gr.Textbox
    sort: gr.Dropdown
    grid: gr.HTML
    panel: details.Panel
    progress: gr.HTML
    stop: gr.Button
    clock: gr.Timer

    @property
    def order(self) -> list[Any]:
        return [self.search, self.sort]

    @property
    def followed(self) -> list[Any]:
        """What `_following` has values for."""
        return [self.progress, self.stop, self.clock]


def page(workspace: Workspace) -> None:
    """Build the page."""
    heading("Library", "Every style, character and object that you have.")
    chosen, job = gr.Textbox(visible=False, label="Adapter"), gr.Textbox(visible=False, label="Job")
    progress = pane(style=results.STYLE, visible=False)
    stop = gr.Button("Cancel", visible=False, size="sm")
    with gr.Row():
        search = gr.Textbox(label="Search", placeholder="a name, trigger word, tag or note", scale=3, min_width=200)
        sort = gr.Dropdown(SORTS, value="newest", label="Order", scale=1, min_width=160)
    undo = gr.Button("Undo: take it out of the bin", visible=False, size="sm")
    with gr.Row(elem_classes="opens-above"):
        with gr.Column(scale=3, min_width=320):
            grid = pane(style=cards.STYLE, choosable=True)
        panel = details.build()
    parts = Parts(chosen, job, search, sort, grid, panel, progress, stop, gr.Timer(SECONDS, active=False))
    heading("Make another", level=2)
    with gr.Tabs():
        forms = making.build(workspace)
    heading("The bin", level=2)
    binned = bin.build()
    _open(workspace, parts, forms, binned)
    _work(workspace, parts, forms)
    _throw_away(parts, undo, binned)


def _open(workspace: Workspace, parts: Parts, forms: making.Forms, binned: bin.Bin) -> None:
    """Opening the page, searching, and opening a card."""

    def open_page(request: gr.Request) -> list[Any]:
        here = area(request)
        adapter, job = (str(request.query_params.get(name, "")) for name in ("adapter", "job"))
        card = _card(adapter, request)
        choices = adapters_of(here)
        return [
            card.id if card else "",
            job,
            cards.grid(here.library().cards(), adapter, ""),
            *details.looks(card),
            *_following(workspace, job, request),
            *mixture.fill({}, choices, least=2),
            *mixture.fill({}, choices),
            gr.Dropdown(bases_of(workspace, here=here)),
            *bin.looks(here),
        ]

    def choose(event: gr.EventData, request: gr.Request) -> list[Any]:
        adapter = str(event._data["id"])
        return [adapter, *details.looks(_card(adapter, request))]

    shown = [parts.chosen, parts.job, parts.grid, *parts.panel.shown, *parts.followed]
    opened(open_page, [*shown, *forms.mixed.shown, *forms.merged.shown, forms.base, *binned.shown])
    parts.grid.choose(told(choose), None, [parts.chosen, *parts.panel.shown], **QUIET)


def _work(workspace: Workspace, parts: Parts, forms: making.Forms) -> None:
    """The jobs of this page: put into the queue by the buttons, followed until they are over; and what they made."""

    def follow(job: str, request: gr.Request) -> list[Any]:
        return _following(workspace, job, request)

    def look(job: str, adapter: str, search: str, sort: str, request: gr.Request) -> list[Any]:
        return [*_following(workspace, job, request), _grid(adapter, search, sort, request)]

    def cancel(job: str, request: gr.Request) -> str:
        return workspace.jobs.cancel(job, area(request).user).id

    def queued(event: Any) -> None:
        remembered(event, parts.job)
        _to_top(event)  # where it is told

    details.wire(parts.panel, parts.chosen, parts.job, queued)
    making.wire(forms, parts.job, queued)
    stopped = parts.stop.click(told(cancel), [parts.job], [parts.job], api_name="library_cancel")
    stopped.success(told(follow), [parts.job], parts.followed, **QUIET)
    looked_at = [parts.job, parts.chosen, *parts.order]
    # `input` tells of typed letters alone; with the last change nothing of what is typed fast is missed.
    changes = [component.change for component in looked_at]
    followed([parts.clock.tick, *changes], look, looked_at, [*parts.followed, parts.grid])


def _throw_away(parts: Parts, undo: gr.Button, binned: bin.Bin) -> None:
    """Into the bin and out of it; and changed names, which show on the cards."""

    def show(adapter: str, search: str, sort: str, request: gr.Request) -> list[Any]:
        card = _card(adapter, request)
        deleted = bool(adapter) and card is None
        return [_grid(adapter, search, sort, request), *details.looks(card), gr.Button(visible=deleted),
                *bin.looks(area(request))]  # fmt: skip

    def changed(event: Any) -> None:
        shown = [parts.grid, *parts.panel.shown, undo, *binned.shown]
        event.success(told(show), [parts.chosen, *parts.order], shown, **QUIET)

    panel = parts.panel
    fields = [parts.chosen, panel.title, panel.tags, panel.strength, panel.notes]
    changed(panel.save.click(told(details.save), fields, [parts.chosen], api_name="library_save"))
    deleted = panel.delete.click(told(details.delete), [parts.chosen], [parts.chosen], api_name="library_delete")
    changed(deleted)
    _to_top(deleted)  # where it can be undone
    changed(undo.click(told(bin.restore), [parts.chosen], [parts.chosen], api_name="library_undo"))
    changed(binned.restore.click(told(bin.restore), [binned.choice], [parts.chosen], api_name="library_restore"))
    changed(binned.empty.click(told(bin.empty), None, [parts.chosen], api_name="library_empty_bin"))


def _to_top(event: Any) -> None:
    event.success(None, None, None, js="() => scrollTo({ top: 0 })", api_visibility="private")


def _grid(adapter: str, search: str, sort: Any, request: gr.Request) -> str:
    return cards.grid(area(request).library().cards(search or "", sort), adapter, search or "")


def _card(adapter: str, request: gr.Request) -> Card | None:
    """The adapter that is open; None where there is none, or it lies in the bin."""
    return next((card for card in area(request).library().cards() if card.id == adapter), None)


def _following(workspace: Workspace, job: str, request: gr.Request) -> list[Any]:
    """Values for `Parts.followed`: the job in words, whether it can be cancelled, and whether to look again."""
    here = area(request)
    found = words.find(workspace.jobs, job, here.user)
    under_way = found is not None and not words.is_over(found)
    made = here.library().of_job(found.id) if found and found.state == "done" else None
    progress = gr.HTML(results.told(found, made), visible=found is not None)
    return [progress, gr.Button(visible=under_way), gr.Timer(active=under_way)]
