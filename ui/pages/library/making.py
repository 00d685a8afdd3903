"""New adapters without a training: brought in from elsewhere, mixed; and bases with adapters merged into them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lorastyle import BadInput, Workspace
from ui.answers import told
from ui.session import area
from ui.widgets import mixture
from ui.widgets.mixture import Mixture
from ui.widgets.panes import paragraph

BRING = (
    "An adapter that you got elsewhere: from ComfyUI, A1111 or Forge, InvokeAI, kohya, diffusers or peft. "
    "It is read, checked and put into your library."
)
MERGE = (
    "A whole new base with the adapters in its weights, to draw with or to teach further. "
    "The base itself stays as it is."
)
RANK_HELP = "Smaller files, and only nearly the same. 0: exact, and as large as all of them together."


@dataclass(frozen=True)
class Forms:
    """The components of the three forms."""

    family: gr.Dropdown
    bring_in: gr.UploadButton
    mixed: Mixture
    mixed_title: gr.Textbox
    rank: gr.Number
    mix: gr.Button
    merged: Mixture
    base: gr.Dropdown
    merged_title: gr.Textbox
    merge: gr.Button


def build(workspace: Workspace) -> Forms:
    """Build the forms, a tab for each."""
    default = workspace.settings.default_base
    with gr.Tab("Bring one in", id="import"):
        paragraph(BRING)
        families = [("As the file tells", ""), *((title, name) for name, title in workspace.families().items())]
        family = gr.Dropdown(
            families, value="", label="Family", info="Choose one only if the file does not tell what base it is for."
        )
        # No gr.File: a screen reader reads out another name for its place to drop files than the one that it shows.
        bring = gr.UploadButton("Choose a .safetensors file", file_types=[".safetensors"], variant="primary")
    with gr.Tab("Mix", id="mix"):
        paragraph("One new adapter that acts as several do together, each as strong as you say.")
        mixed = mixture.mixture("Adapter", least=2)
        with gr.Row():
            mixed_title = gr.Textbox(label="Name of the new one", max_length=120, placeholder="Ink and watercolour")
            rank = gr.Number(0, label="Rank", precision=0, minimum=0, info=RANK_HELP)
        mix = gr.Button("Mix them", variant="primary")
    with gr.Tab("Merge into a base", id="merge"):
        paragraph(MERGE)
        base = gr.Dropdown([default], value=default, label="Base", allow_custom_value=True)
        merged = mixture.mixture("Adapter")
        merged_title = gr.Textbox(label="Name of the new base", max_length=120, placeholder="Pocket with ink")
        merge = gr.Button("Merge", variant="primary")
    return Forms(family, bring, mixed, mixed_title, rank, mix, merged, base, merged_title, merge)


def wire(forms: Forms, job: gr.Textbox, queued: Callable[[Any], None]) -> None:
    """Connect the buttons; `queued` gets the events that set `job`."""
    brought = [forms.bring_in, forms.family]
    queued(forms.bring_in.upload(told(bring_in), brought, [job], api_name="library_import"))
    mixing = [forms.mixed_title, forms.rank]
    queued(forms.mix.click(told(mix), mixing, [job], inputs_kwargs=forms.mixed.inputs, api_name="library_mix"))
    merging = [forms.base, forms.merged_title]
    queued(forms.merge.click(told(merge), merging, [job], inputs_kwargs=forms.merged.inputs, api_name="library_merge"))


def bring_in(file: str | None, family: str, request: gr.Request) -> str:
    if not file:
        raise BadInput("the file", "there is none", "choose a .safetensors file")
    return area(request).import_adapter(file, (family or "").strip()).id


def mix(request: gr.Request, title: str, rank: float | None, **adapters: Any) -> str:
    asked = mixture.chosen(adapters)
    if len(asked) < 2:
        raise BadInput("the adapters", "a mix needs at least two", "choose another one")
    return area(request).mix(asked, rank=int(rank) if rank else None, title=title.strip()).id


def merge(request: gr.Request, base: str, title: str, **adapters: Any) -> str:
    asked = mixture.chosen(adapters)
    if not asked:
        raise BadInput("the adapters", "none is chosen", "choose what should go into the base")
    return area(request).merge(asked, base, title=title.strip()).id
