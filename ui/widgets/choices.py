"""What lists of adapters, bases and checkpoints offer."""

from lorastyle import Area, Workspace

Choices = list[tuple[str, str]]


def adapters_of(here: Area) -> Choices:
    """(title, id) of the adapters of a library, newest first; the trigger word tells those of equal titles apart."""
    cards = here.library().cards()
    return [(f"{card.title} ({card.trigger})" if card.trigger else card.title, card.id) for card in cards]


def titles_of(here: Area) -> dict[str, str]:
    """The titles of the adapters by the paths that jobs know them by."""
    return {str(card.path): card.title for card in here.library().cards()}


def bases_of(workspace: Workspace, also: str = "") -> list[str]:
    """The bases that can be chosen, the studio's default first."""
    return list(dict.fromkeys([*([also] if also else []), workspace.settings.default_base, *workspace.bases()]))
