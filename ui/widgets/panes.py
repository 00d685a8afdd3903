"""HTML of ours on a page, without the frame and the style that Gradio gives it."""

from html import escape

import gradio as gr

from ui.widgets.parts import part


def pane(value: str = "", style: str = "", choosable: bool = False, visible: bool = True) -> gr.HTML:
    """A place for HTML that handlers write, and escape what people wrote in.

    `choosable`: its entries (see `ui.widgets.entries`) can be opened; its event is then `choose`.
    """
    script = part("choose.js") if choosable else None
    return gr.HTML(
        value, css_template=style, js_on_load=script, apply_default_css=False, visible=visible, elem_classes="plain"
    )


def heading(title: str, text: str = "", level: int = 1) -> gr.HTML:
    """A heading, with a sentence below it."""
    said = f"<p>{escape(text)}</p>" if text else ""
    return gr.HTML(f"<h{level}>{escape(title)}</h{level}>{said}", js_on_load=None, elem_classes="plain")


def paragraph(text: str) -> gr.HTML:
    """A sentence or two between fields."""
    return gr.HTML(f"<p>{escape(text)}</p>", js_on_load=None, elem_classes="plain")
