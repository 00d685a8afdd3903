"""Rows of an adapter and its strength; one is shown at first, and a button brings the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lorastyle import BadInput
from ui.answers import told
from ui.session import area
from ui.widgets.choices import Choices, adapters_of, renewed, strength_of
from ui.widgets.events import QUIET

MOST = 4  # rows; more adapters than that at once rarely add anything but mud
LEAST, HIGHEST = -1.0, 2.0  # strengths; below 0 an adapter takes away what it learnt
NONE = ("None", "")


@dataclass(frozen=True)
class Mixture:
    """The rows' components; `inputs` are given to handlers, which understand them by `chosen`."""

    rows: tuple[gr.Row, ...]
    adapters: tuple[gr.Dropdown, ...]
    strengths: tuple[gr.Slider, ...]
    more: gr.Button
    count: gr.State
    offered: gr.State

    @property
    def inputs(self) -> dict[str, Any]:
        """For `inputs_kwargs` of an event; its handler takes `**adapters`, and the endpoint has a name for each."""
        rows = enumerate(zip(self.adapters, self.strengths, strict=True), 1)
        pairs = [{f"adapter_{number}": adapter, f"strength_{number}": strength} for number, (adapter, strength) in rows]
        return {name: part for pair in pairs for name, part in pair.items()}

    @property
    def shown(self) -> list[Any]:
        """The outputs that `fill` has values for."""
        return [self.count, *self.rows, *self.inputs.values(), self.more, self.offered]


def mixture(first: str = "Adapter", least: int = 1) -> Mixture:
    """Build the rows, of which `least` are shown at first."""
    rows, adapters, strengths = [], [], []
    for number in range(MOST):
        with gr.Row(visible=number < least, elem_classes="mixture-row") as row:
            label = first if number == 0 else f"{first} {number + 1}"
            # Others may add adapters meanwhile, so a value that the page has not listed yet is no error here.
            adapters.append(gr.Dropdown([NONE], value="", label=label, scale=3, min_width=160, allow_custom_value=True))
            label = f"Strength {number + 1}" if number else "Strength"
            strengths.append(gr.Slider(LEAST, HIGHEST, 1.0, step=0.05, label=label, scale=2, min_width=160))
        rows.append(row)
    more = gr.Button("Add another adapter", size="sm", variant="secondary")
    count, offered = gr.State(least), gr.State([])
    more.click(_one_more, [count], [count, *rows, more], **QUIET)
    for adapter, strength in zip(adapters, strengths, strict=True):
        # What was made or brought in since the page opened.
        adapter.focus(told(_offered), [offered], [offered, *adapters], **QUIET)
        adapter.input(told(_preferred), [adapter], [strength], **QUIET)
    return Mixture(tuple(rows), tuple(adapters), tuple(strengths), more, count, offered)


def chosen(given: Mapping[str, Any]) -> dict[str, float]:
    """The adapters of the rows and their strengths; rows without an adapter do not count."""
    values = [*given.values()]
    pairs = [(str(adapter), float(strength)) for adapter, strength in zip(values[::2], values[1::2], strict=True)]
    asked = [(adapter, strength) for adapter, strength in pairs if adapter]
    if len(dict(asked)) < len(asked):
        raise BadInput(
            "the adapters", "the same one is chosen twice", "choose it once, with the strength it should have"
        )
    return dict(asked)


def fill(adapters: dict[str, float], choices: Sequence[tuple[str, str]], least: int = 1) -> list[Any]:
    """Values for `Mixture.shown` that show these adapters; `choices` are (title, id) of all there are."""
    asked = [*adapters.items()][:MOST]
    padded = [*asked, *[("", 1.0)] * (MOST - len(asked))]
    parts: list[Any] = []
    for adapter, strength in padded:
        parts += [gr.Dropdown([NONE, *choices], value=adapter), strength]
    return [*_open(max(least, len(asked)))[:-1], *parts, gr.Button(visible=len(asked) < MOST), [NONE, *choices]]


def _offered(known: Choices, request: gr.Request) -> list[Any]:
    return renewed([NONE, *adapters_of(area(request))], known, MOST)


def _preferred(adapter: str | None, request: gr.Request) -> Any:
    """The strength of an adapter that was just chosen."""
    strength = strength_of(area(request), adapter or "")
    return gr.skip() if strength is None else strength


def _one_more(count: int) -> list[Any]:
    return _open(min(MOST, count + 1))


def _open(count: int) -> list[Any]:
    visible = [gr.Row(visible=number < count) for number in range(MOST)]
    return [count, *visible, gr.Button(visible=count < MOST)]
