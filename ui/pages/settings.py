"""The page with the studio's settings, and what everybody may use."""

from html import escape
from typing import Any

import gradio as gr

from lorastyle import BadInput, StudioSettings, Workspace
from ui.answers import told
from ui.session import area, may_administer
from ui.widgets.choices import bases_of
from ui.widgets.events import QUIET, opened
from ui.widgets.panes import heading, pane, paragraph
from ui.widgets.parts import part
from ui.widgets.words import size

STYLE = part("limits.css")
GIB = 2**30
LANGUAGES = {"en": "English"}
# What was saved holds at once in this browser, and in others when they open a page; see `head.js`.
SHOW_THEME = """(theme) => {
  document.documentElement.dataset.theme = theme;
  localStorage.removeItem("lorastyle-theme");
  const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.body.classList.toggle("dark", dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
}"""


def page(workspace: Workspace) -> None:
    """Build the page: what can be changed, how much room is left, and the limits."""
    heading("Settings")
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            general = _general(workspace.settings)
            paragraph(f"Language: {LANGUAGES[workspace.settings.language]}")
            with gr.Accordion("Change the limits", open=False):
                limits = _limits(workspace.settings)
            save = gr.Button("Save", variant="primary")
            note = pane(style=STYLE)
        with gr.Column(scale=2, min_width=300):
            used, published = pane(style=STYLE), pane(style=STYLE)

    def show(request: gr.Request) -> list[Any]:
        now, may = workspace.settings, may_administer(request)
        bases = bases_of(workspace)
        return [
            gr.Dropdown(bases, value=now.default_base, interactive=may),
            gr.Radio(value=now.precision, interactive=may),
            gr.Textbox("\n".join(now.model_folders) if may else "", visible=may),
            gr.Radio(value=now.theme, interactive=may),
            *(gr.Number(_shown(name, now), interactive=may) for name in type(now.limits).model_fields),
            gr.Button(interactive=may),
            "" if may else "<p>Only the person who runs this studio can change these.</p>",
            _usage(area(request).usage(), now.limits.disk_bytes),
            _published(now),
        ]

    def change(
        request: gr.Request, base: str, precision: str, folders: str, theme: str, **limits: float | None
    ) -> dict[str, Any]:
        if not may_administer(request):
            raise BadInput("Settings", "only the person who runs this studio can change them", "ask them to")
        listed = [line.strip() for line in (folders or "").splitlines() if line.strip()]
        asked: dict[str, Any] = {
            "default_base": base, "precision": precision, "model_folders": listed, "theme": theme
        }  # fmt: skip
        now = workspace.settings  # bytes are shown rounded: what stands as it was shown stays what it is
        changed = {name: value for name, value in limits.items() if value != _shown(name, now)}
        asked |= {f"limits.{name}": _meant(name, value, now) for name, value in changed.items()}
        return workspace.save_settings(asked).model_dump()

    def saved(request: gr.Request) -> list[Any]:
        now = workspace.settings
        gr.Info("Saved.")
        return [_usage(area(request).usage(), now.limits.disk_bytes), _published(now)]

    opened(show, [*general, *limits.values(), save, note, used, published])
    record = gr.JSON(visible=False, label="Settings")
    done = save.click(told(change), general, [record], inputs_kwargs=limits, api_name="settings_save")
    done.success(told(saved), None, [used, published], **QUIET)
    done.success(None, [general[3]], None, js=SHOW_THEME, api_visibility="private")


def _general(settings: StudioSettings) -> list[Any]:
    help = {name: field.description or "" for name, field in type(settings).model_fields.items()}
    return [
        gr.Dropdown([settings.default_base], value=settings.default_base, label="Base for new trainings",
                    info=help["default_base"], allow_custom_value=True),
        gr.Radio(["fp32", "bf16"], value=settings.precision, label="Precision of drawing", info=help["precision"]),
        gr.Textbox(visible=False, label="Folders with models", lines=3,
                   info=f"{help['model_folders']} One on each line.", placeholder="/path/to/models"),
        gr.Radio([("As the system is", "system"), ("Light", "light"), ("Dark", "dark")], value=settings.theme,
                 label="Colours", info="The button at the top of the page changes them in your browser alone."),
    ]  # fmt: skip


def _limits(settings: StudioSettings) -> dict[str, Any]:
    """A field for each limit; bytes are given in GB."""
    return {
        name: gr.Number(_shown(name, settings), label=f"{_what(field)} ({_unit(field)})")
        for name, field in type(settings.limits).model_fields.items()
    }


def _what(field: Any) -> str:
    return str(field.description).rstrip(".")


def _unit(field: Any) -> str:
    unit = str(field.json_schema_extra["unit"])
    return "GB" if unit == "bytes" else unit


def _shown(name: str, settings: StudioSettings) -> float:
    value = int(getattr(settings.limits, name))
    return round(value / GIB, 3) if name.endswith("bytes") else value


def _meant(name: str, value: float | None, settings: StudioSettings) -> int:
    """The limit in a field; raises BadInput that calls the field as the page does."""
    field, in_bytes = type(settings.limits).model_fields[name], name.endswith("bytes")
    if value is None:
        raise BadInput(_what(field), "it is empty", "give a number")
    meant = round(value * GIB) if in_bytes else int(value)
    if meant < 1 or not (in_bytes or value == meant):
        do = "give more than 0" if in_bytes else "give a whole number, 1 or more"
        raise BadInput(_what(field), f"{value:g} cannot be used", do)
    return meant


def _usage(used: int, most: int) -> str:
    percent = min(100.0, 100 * used / most)
    bar = f'<span class="room" aria-hidden="true"><i style="width: {percent:.1f}%"></i></span>'
    return f'<div class="used"><h2>Your room on the disk</h2><p>{size(used)} of {size(most)} are used.</p>{bar}</div>'


def _published(settings: StudioSettings) -> str:
    rows = "".join(
        f"<tr><td>{escape(_what(field))}</td><td>{escape(_amount(name, field, settings))}</td></tr>"
        for name, field in type(settings.limits).model_fields.items()
    )
    return f"<h2>Limits</h2><table><thead><tr><th>What</th><th>At most</th></tr></thead><tbody>{rows}</tbody></table>"


def _amount(name: str, field: Any, settings: StudioSettings) -> str:
    value, unit = getattr(settings.limits, name), field.json_schema_extra["unit"]
    return size(value) if unit == "bytes" else f"{value:,} {unit}"
