"""Who asks: the person behind a request, as `ui.security.Guard` has found out."""

from dataclasses import dataclass
from typing import Any

from lorastyle import Area, Workspace

ALONE = "me"  # the one person of a studio without a login


@dataclass(frozen=True)
class Visit:
    """A request's person, and the studio they are in; `administers`: they may change its settings."""

    user: str
    workspace: Workspace
    administers: bool


def area(request: Any) -> Area:
    """What the person who sent this request has. Takes a Gradio request or a bare one (server functions get that)."""
    visit = visit_of(request)
    return visit.workspace.area(visit.user)


def may_administer(request: Any) -> bool:
    """Whether the person who sent this request may change the settings of the studio."""
    return visit_of(request).administers


def visit_of(request: Any) -> Visit:
    """What the guard has left at the request; a request that did not pass it is refused."""
    visit = getattr(request.state, "visit", None)
    if not isinstance(visit, Visit):
        raise PermissionError("this request did not come through the studio's guard")
    return visit
