"""The studio's pages put together: one Blocks with a route for each page."""

from collections.abc import Callable

import gradio as gr

from lorastyle import Workspace
from ui.pages import compare, generate, library, queue, settings, train
from ui.widgets.header import header

PAGES: tuple[tuple[str, str, Callable[[Workspace], None]], ...] = (
    ("Train", "", train.page),
    ("Compare", "compare", compare.page),
    ("Generate", "generate", generate.page),
    ("Library", "library", library.page),
    ("Queue", "queue", queue.page),
    ("Settings", "settings", settings.page),
)


def build(workspace: Workspace, with_login: bool = False) -> gr.Blocks:
    """All pages of the studio over one workspace. Theme and style are `ui.theme.look()`, given where it is served.

    `with_login`: people log in, and so can log out.
    """
    links = [(name, path) for name, path, _ in PAGES]
    studio = gr.Blocks(title="lorastyle", analytics_enabled=False, fill_width=True)
    for name, path, page in PAGES:
        with studio.route(name, path, show_in_navbar=False) if path else studio:
            gr.Navbar(visible=False)  # ours is the header
            header(links, path, with_login)
            with gr.Column(elem_id="page"):
                page(workspace)
    return studio
