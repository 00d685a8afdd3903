"""What every page does with Gradio's events."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from ui.answers import told


def opened(handler: Callable[..., Any], outputs: Sequence[Any]) -> None:
    """Run the handler each time that the page being built is opened or reloaded."""
    gr.on(None, told(handler), None, list(outputs), api_visibility="private", show_progress="hidden", queue=False)


def followed(events: Sequence[Any], handler: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Run the handler at each of the events: at the ticks of a clock, and where what it looks at becomes another.

    One event of the page for all of them, so that one look is on its way and none that knew less has the last word.
    """
    gr.on(list(events), told(handler), list(inputs), list(outputs), trigger_mode="always_last", **QUIET)


def remembered(event: Any, job: gr.Textbox) -> None:
    """Once an event of a button is done, put the job that it set into the address, so that a reload shows it again.

    Where it left no job, none stays in the address.
    """
    event.success(None, [job], None, js=_REMEMBER, api_visibility="private")


_REMEMBER = """(job) => {
  const address = new URL(location.href);
  if (job) address.searchParams.set("job", job);
  else address.searchParams.delete("job");
  address.searchParams.delete("cell");
  history.replaceState(history.state, "", address);
}"""
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Of events that only keep the page up to date: no endpoint, and nothing flickers."""
