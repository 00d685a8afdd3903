"""The panel of the open adapter: its names and notes, exports with their proof, the bundle, publishing, and the bin."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from lorastyle import BadInput, Card
from ui import files
from ui.answers import told
from ui.pages.library import cards
from ui.session import area
from ui.widgets.panes import pane, paragraph

# The name that people know a tool by, and the format that it reads.
TOOLS = [("ComfyUI", "comfyui"), ("A1111 and Forge", "a1111"), ("InvokeAI", "invoke"), ("diffusers", "diffusers")]
TYPES = [("Full (fp32)", "fp32"), ("Half (fp16), half the size", "fp16"), ("bf16, half the size", "bf16")]
TOKEN = "HF_TOKEN"
WITHOUT_TOKEN = f"To publish on the Hugging Face hub, start the studio with your token in the environment ({TOKEN})."


@dataclass(frozen=True)
class Panel:
    """The components of the panel; `shown` are the outputs that `looks` has values for."""

    column: gr.Column
    facts: gr.HTML
    title: gr.Textbox
    tags: gr.Textbox
    strength: gr.Slider
    notes: gr.Textbox
    save: gr.Button
    delete: gr.Button
    to: gr.Radio
    dtype: gr.Radio
    rank: gr.Number
    export: gr.Button
    bundle: gr.HTML
    repo: gr.Textbox
    private: gr.Checkbox
    publish: gr.Button

    @property
    def shown(self) -> list[Any]:
        return [self.column, self.facts, self.title, self.tags, self.strength, self.notes, self.bundle]


def build() -> Panel:
    """Build the panel, hidden until an adapter is opened."""
    can_publish = bool(os.environ.get(TOKEN))
    with gr.Column(scale=2, min_width=320, visible=False, elem_classes="opened-beside") as column:
        facts = pane(style=cards.STYLE)
        with gr.Accordion("Name, tags and notes", open=False):
            title = gr.Textbox(label="Name", max_length=120)
            tags = gr.Textbox(label="Tags", info="Separated by commas.")
            strength = gr.Slider(0, 2, 1.0, step=0.05, label="Best strength")
            notes = gr.Textbox(label="Notes", lines=4, max_lines=12)
            with gr.Row(elem_classes="slim"):
                save = gr.Button("Save changes", variant="primary", size="sm")
                delete = gr.Button("Move to the bin", variant="secondary", size="sm")
        with gr.Accordion("Use it in another program", open=False):
            to = gr.Radio(TOOLS, value="comfyui", label="For")
            dtype = gr.Radio(TYPES, value="fp32", label="Precision")
            rank = gr.Number(
                0, label="Convert to a LoRA of rank", precision=0, minimum=0,
                info="Only for kinds that the other program cannot read. 0: as it is."
            )  # fmt: skip
            export = gr.Button("Export", variant="primary", size="sm")
        with gr.Accordion("Share it", open=False):
            bundle = pane()
            repo = gr.Textbox(label="Publish as", placeholder="your-name/ink-style", visible=can_publish)
            private = gr.Checkbox(True, label="Only you can see it there", visible=can_publish)
            publish = gr.Button("Publish on the hub", size="sm", visible=can_publish)
            if not can_publish:
                paragraph(WITHOUT_TOKEN)
    return Panel(column, facts, title, tags, strength, notes, save, delete, to, dtype, rank, export, bundle, repo,
                 private, publish)  # fmt: skip


def looks(card: Card | None) -> list[Any]:
    """Values for `Panel.shown`."""
    if card is None:
        return [gr.Column(visible=False), "", "", "", 1.0, "", ""]
    link = f'<a href="{escape(files.bundle(card))}" download>Download a zip</a>'
    bundle = f"<p>{link} of the adapter, its card and its previews.</p>"
    tags = ", ".join(card.tags)
    return [gr.Column(visible=True), cards.facts(card), card.title, tags, card.strength, card.notes, bundle]


def wire(panel: Panel, chosen: gr.Textbox, job: gr.Textbox, queued: Callable[[Any], None]) -> None:
    """Connect the buttons that make something of the adapter; `queued` gets the events that set `job`."""
    wanted = [chosen, panel.to, panel.dtype, panel.rank]
    queued(panel.export.click(told(export), wanted, [job], api_name="library_export"))
    sent = [chosen, panel.repo, panel.private]
    queued(panel.publish.click(told(publish), sent, [job], api_name="library_publish"))


def save(adapter: str, title: str, tags: str, strength: float, notes: str, request: gr.Request) -> str:
    told = [tag.strip() for tag in tags.split(",") if tag.strip()]
    return area(request).library().describe(_required(adapter), title, told, strength, notes).id


def delete(adapter: str, request: gr.Request) -> str:
    area(request).library().delete(_required(adapter))
    return adapter


def export(adapter: str, to: str, dtype: str, rank: float | None, request: gr.Request) -> str:
    here = area(request)
    card = here.library().card(_required(adapter))
    # Some kinds can be converted only with the base's weights at hand.
    converted: dict[str, Any] = {"rank": int(rank), "base": card.base} if rank else {}
    return here.export(card.id, to, dtype=dtype, **converted).id


def publish(adapter: str, repo: str, private: bool, request: gr.Request) -> str:
    if not repo.strip():
        raise BadInput("publish as", "it is empty", "write your name on the hub, a slash, and a name for the adapter")
    return area(request).publish(_required(adapter), repo.strip(), private).id


def _required(adapter: str) -> str:
    if not adapter:
        raise BadInput("the library", "no adapter is open", "choose one first")
    return adapter
