"""The bar at the top of every page: the name, the links to the pages, and the switch between light and dark."""

from collections.abc import Sequence
from html import escape

import gradio as gr

from ui.widgets.parts import part

LEAVE = '<form method="post" action="./logout"><button class="leave">Log out</button></form>'


def header(pages: Sequence[tuple[str, str]], current: str, with_login: bool) -> gr.HTML:
    """The bar of the page with the path `current`; `pages` are (name, path) in their order."""
    # Links are relative, so that they hold behind a proxy too; every page lies at the same depth.
    links = "".join(
        f'<a href="./{path}"{" aria-current=page" if path == current else ""}>{escape(name)}</a>'
        for name, path in pages
    )
    return gr.HTML(
        html_template=part("header.html").replace("@links", links).replace("@leave", LEAVE if with_login else ""),
        js_on_load=part("header.js"),
        elem_id="header",
        apply_default_css=False,
    )
