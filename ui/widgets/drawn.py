"""Widgets that only show: their script draws what their value says, and user text goes in as text."""

from typing import Any

import gradio as gr

from ui.widgets.parts import part


def drawn(name: str, value: Any, **more: Any) -> gr.HTML:
    """The widget of the files NAME.html and NAME.js beside this one; NAME.css is named in `ui.theme`.

    Its template has nothing of the value in it, so that Gradio leaves what the script draws alone.
    """
    return gr.HTML(
        value=value,
        html_template=part(f"{name}.html"),
        js_on_load=part(f"{name}.js"),
        apply_default_css=False,
        elem_classes="plain",
        **more,
    )
