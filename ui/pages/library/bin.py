"""What was deleted and can still be taken back."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from lorastyle import Area, BadInput
from ui.session import area
from ui.widgets.panes import pane
from ui.widgets.words import counted


@dataclass(frozen=True)
class Bin:
    """The components; `shown` are the outputs that `looks` has values for."""

    told: gr.HTML
    choice: gr.Dropdown
    restore: gr.Button
    empty: gr.Button

    @property
    def shown(self) -> list[Any]:
        return [self.told, self.choice, self.restore, self.empty]


def build() -> Bin:
    told = pane()
    choice = gr.Dropdown([], label="Adapter", allow_custom_value=True, visible=False)
    with gr.Row(elem_classes="slim"):
        restore = gr.Button("Take it out again", size="sm", visible=False)
        empty = gr.Button("Empty the bin for good", size="sm", variant="stop", visible=False)
    return Bin(told, choice, restore, empty)


def looks(here: Area) -> list[Any]:
    """Values for `Bin.shown`."""
    cards = here.library().cards(binned=True)
    count = f"{counted(len(cards), 'adapter')} {'lies' if len(cards) == 1 else 'lie'} here."
    choices = [(card.title, card.id) for card in cards]
    return [
        f"<p>{count if cards else 'The bin is empty. What you delete comes here first.'}</p>",
        gr.Dropdown(choices, value=choices[0][1] if choices else None, visible=bool(cards)),
        gr.Button(visible=bool(cards)),
        gr.Button(visible=bool(cards)),
    ]


def restore(adapter: str | None, request: gr.Request) -> str:
    if not adapter:
        raise BadInput("the bin", "no adapter is chosen", "choose one")
    return area(request).library().restore(adapter).id


def empty(request: gr.Request) -> str:
    """Delete for good what lies in the bin; no adapter is open afterwards."""
    area(request).library().empty_bin()
    return ""
