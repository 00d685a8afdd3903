"""Step three: base, purpose, trigger word and settings; what it will take; and off it goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lorastyle import Job, Recipe, Workspace
from ui.answers import told
from ui.pages.train import estimate, form, peek
from ui.pages.train.chosen import Chosen
from ui.pages.train.trigger import as_html, check_trigger
from ui.session import area
from ui.widgets.choices import bases_of
from ui.widgets.drawn import drawn
from ui.widgets.events import QUIET, followed

PURPOSES = [
    ("A style: how pictures are drawn", "style"),
    ("A character: one figure", "character"),
    ("An object: one thing", "object"),
]
_DOWNLOAD = """(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/toml" }));
  link.download = "recipe.toml";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""


@dataclass(frozen=True)
class Choose:
    """The components of the step."""

    base: gr.Dropdown
    purpose: gr.Radio
    trigger: gr.Textbox
    said: gr.HTML
    peek: gr.Button
    settings: gr.HTML
    title: gr.Textbox
    go: gr.Button
    estimate: estimate.Estimate
    imported: Any

    @property
    def decided(self) -> list[Any]:
        """What decides a training, in the order of `Chosen.on_page`."""
        return [self.base, self.purpose, self.trigger, self.settings]

    @property
    def shown(self) -> list[Any]:
        """What `looks` has values for."""
        return [self.said, self.peek, self.settings]

    @property
    def changes(self) -> list[Any]:
        """The events by which the person changes that. Of text it is `change`, which the page itself sets off too: a
        field's `input` misses what is pasted, cut or deleted."""
        return [self.base.change, self.purpose.input, self.trigger.change, self.settings.input]


def choose(workspace: Workspace, data: gr.Textbox) -> Choose:
    """Build the step for the dataset that `data` names."""
    with gr.Row(equal_height=True):
        base = gr.Dropdown(
            bases_of(workspace), value=workspace.settings.default_base, allow_custom_value=True, label="Base",
            info="What learns: from the list, the hub (owner/name), a folder or a file.",
            elem_id="base", min_width=280,
        )  # fmt: skip
        trigger = gr.Textbox(
            label="Trigger word", max_length=100, elem_id="trigger", min_width=280, placeholder="such as inkpen",
            info="The word that calls up what was learnt: made up, short, easy to remember.",
        )  # fmt: skip
    said = gr.HTML(elem_classes="plain", apply_default_css=False)
    with gr.Row(elem_classes="slim"):
        look = peek.button()
        looked = gr.HTML(elem_classes="plain", apply_default_css=False)
    purpose = gr.Radio(PURPOSES, value="style", label="What should it learn?", elem_id="purpose")
    settings = drawn("settings", {})
    with gr.Row(elem_classes="slim"):
        taken_in = gr.UploadButton("Use a recipe file", file_types=[".toml"], size="sm", variant="secondary")
        given_out = gr.Button("Download this recipe", size="sm")
        written = gr.Textbox(visible=False, label="Recipe as TOML")
    title = gr.Textbox(label="Name of the adapter", max_length=100, elem_id="title", placeholder="such as Ink")
    measured = estimate.estimate()
    with gr.Row(elem_classes="slim"):
        measure = gr.Button("Estimate time and memory", elem_id="estimate")
        go = gr.Button("Start training", variant="primary", elem_id="start")
    fields = [data, base, purpose, trigger, settings]
    imported = _import(workspace, taken_in, data, base, [purpose, trigger, said, look, settings], measured)
    step = Choose(base, purpose, trigger, said, look, settings, title, go, measured, imported)
    _refreshing(workspace, data, step)
    _export(workspace, fields, given_out, written)
    peek.events(workspace, fields, look, looked, settings)
    estimate.events(workspace, fields, step.changes, measure, measured)
    return step


def _refreshing(workspace: Workspace, data: gr.Textbox, step: Choose) -> None:
    def refresh(data: str, base: str, purpose: str, trigger: str, settings: Any, request: gr.Request) -> Any:
        if not settings:  # the step was not opened yet
            return [gr.skip()] * len(step.shown)
        return looks(Chosen.on_page(workspace, area(request), data, base, purpose, trigger, settings))

    followed(step.changes, refresh, [data, *step.decided], step.shown)


def _import(
    workspace: Workspace, taken_in: gr.UploadButton, data: gr.Textbox, base: gr.Dropdown, shown: list[Any],
    measured: estimate.Estimate,
) -> Any:  # fmt: skip
    """The event of taking a recipe file in: it fills `shown`, which are purpose, trigger word and `Choose.shown`."""

    def import_recipe(file: str, data: str, base: str, request: gr.Request) -> Any:
        """Take the settings of a recipe file over."""
        recipe = Recipe.from_toml(Path(file))
        own = {"set": form.own_of(recipe)}
        chosen = Chosen.on_page(workspace, area(request), data, base, recipe.purpose, recipe.trigger, own)
        return recipe.purpose, recipe.trigger, *looks(chosen), *estimate.none()

    outputs = [*shown, *measured.shown]
    return taken_in.upload(told(import_recipe), [taken_in, data, base], outputs, api_name="import_recipe")


def _export(workspace: Workspace, fields: list[Any], given_out: gr.Button, written: gr.Textbox) -> None:
    def recipe_toml(data: str, base: str, purpose: str, trigger: str, settings: Any, request: gr.Request) -> str:
        """The recipe that was chosen as a TOML file."""
        return Chosen.on_page(workspace, area(request), data, base, purpose, trigger, settings).recipe().to_toml()

    wrote = given_out.click(told(recipe_toml), fields, [written], api_name="recipe_toml")
    wrote.success(None, [written], None, js=_DOWNLOAD, **QUIET)


def looks(chosen: Chosen) -> tuple[str, gr.Button, dict[str, Any]]:
    """What is said about base and trigger word, whether the base must be looked at, and the form."""
    cards = chosen.mine.library().cards()
    refused = [(False, chosen.refusal)] if chosen.refusal else []
    remarks = as_html([*refused, *check_trigger(chosen.source, chosen.trigger, cards, chosen.captions)])
    return remarks, peek.shown_for(chosen), chosen.table()


def start(chosen: Chosen, title: str) -> Job:
    """Queue the training; raises BadInput where something cannot be used, or cannot fit as was measured."""
    estimate.refuse_what_cannot_fit(chosen)
    draft = chosen.draft
    job = chosen.mine.train(draft, chosen.base, chosen.settings, title.strip() or chosen.trigger or draft.title)
    chosen.workspace.jobs.ensure_worker()
    return job
