"""The page to judge by eye: two pictures under a slider, and grids of checkpoints and strengths.

slider.py  two sides under one slider     sides.py  what a side can be, and the job that draws it
grid.py    a grid, and keeping the best   table.py  a grid as HTML
"""

from typing import Any

import gradio as gr

from lorastyle import Workspace
from ui.pages.compare import grid, slider
from ui.widgets.events import opened
from ui.widgets.panes import heading


def page(workspace: Workspace) -> None:
    """Build the page."""
    heading("Compare", "The same prompt and the same seed, so that what differs is what was learnt.")
    with gr.Tabs() as tabs:
        with gr.Tab("Side by side", id="sides"):
            two = slider.build(workspace)
        with gr.Tab("Grid", id="grid"):
            many = grid.build(workspace)

    def open_page(request: gr.Request) -> list[Any]:
        return [*slider.open(workspace, request), *grid.open(workspace, request)]

    opened(open_page, [*two.shown, *many.shown])
    # By the page itself, at once: an answer of the server may come when another tab has been chosen already.
    gr.on(None, None, None, [tabs], js=_TAB, api_visibility="private")


_TAB = """() => {
  const asked = new URLSearchParams(location.search);
  return { __type__: "update", selected: asked.get("job") || asked.get("training") ? "grid" : "sides" };
}"""
