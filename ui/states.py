"""What Gradio computes over and over and the studio does not need: half of a start, and most of every call."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from fastapi import FastAPI
from gradio import Blocks
from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder

MOST = 2_000  # pages and calls; then those not used for longest are forgotten


@contextmanager
def one_app() -> Iterator[None]:
    """Where pages are built: Gradio makes a whole server of them after each page; here only the last one is made."""
    make = App.create_app
    App.create_app = staticmethod(lambda *_, **__: None)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        App.create_app = staticmethod(make)  # type: ignore[method-assign]


class SmallStates(StateHolder):
    """Gradio's states of open pages, begun without the configuration of their components.

    By itself it computes that of every component for every page that opens and for every call of the interface, and
    keeps it: with this studio 0.6 MB and 50 ms each time. It is for links to a page's state, which the studio does not
    have; where something else asks for a part of it, Gradio computes that part.
    """

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            without_components = SimpleNamespace(default_config=self.blocks.default_config, blocks={})
            self.session_data[session_id] = SessionState(without_components)  # type: ignore[arg-type]
        return super().__getitem__(session_id)


def keep_small(inside: FastAPI, pages: Blocks) -> None:
    """Let the pages that are mounted in an application keep their states so."""
    pages.state_session_capacity = MOST
    mounted = next(route.app for route in inside.routes if isinstance(getattr(route, "app", None), App))
    pages.app = mounted
    mounted.state_holder = SmallStates()
    mounted.state_holder.set_blocks(pages)
