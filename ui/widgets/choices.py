"""What lists of adapters, bases and checkpoints offer."""

from typing import Any

import gradio as gr

from lorastyle import Area, Workspace

Choices = list[tuple[str, str]]


def adapters_of(here: Area) -> Choices:
    """(title, id) of the adapters of a library, newest first; the trigger word tells those of equal titles apart."""
    cards = here.library().cards()
    return [(f"{card.title} ({card.trigger})" if card.trigger else card.title, card.id) for card in cards]


def strength_of(here: Area, adapter: str) -> float | None:
    """The preferred strength of an adapter that was chosen from a list; None where it is none of the library."""
    return next((card.strength for card in here.library().cards() if card.id == adapter), None)


def titles_of(here: Area) -> dict[str, str]:
    """The titles of the adapters by the paths that jobs know them by."""
    return {str(card.path): card.title for card in here.library().cards()}


def bases_of(workspace: Workspace, also: str = "", here: Area | None = None) -> list[str]:
    """The bases that can be chosen, the studio's default first; of a person's area what they merged too."""
    known = here.bases() if here else workspace.bases()
    return list(dict.fromkeys([*([also] if also else []), workspace.settings.default_base, *known]))


def renewed(choices: Choices, known: Choices, lists: int = 1) -> list[Any]:
    """Values for the state that holds what lists offer, `known` until now, and for that many lists of the same.

    Where nothing is new they stay alone: a list that is drawn anew forgets what was typed to look for an entry.
    """
    if choices == known:
        return [gr.skip()] * (1 + lists)
    return [choices, *(gr.Dropdown(choices) for _ in range(lists))]
