"""What pages tell when something cannot be done: the sentence of the error, where the person looks."""

from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from lorastyle import LorastyleError
from ui.hiding import hidden

P = ParamSpec("P")
T = TypeVar("T")


def sentence(error: LorastyleError) -> str:
    """The error for a person who sees the page: without the field's name where that is one of ours."""
    text = hidden(str(error))
    where = hidden(getattr(error, "where", ""))
    return text.removeprefix(f"{where}: ")[:1].upper() + text.removeprefix(f"{where}: ")[1:] if "." in where else text


def told(event: Callable[P, T]) -> Callable[P, T]:
    """A Gradio event whose refusals are shown as a message on the page."""

    @wraps(event)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return event(*args, **kwargs)
        except LorastyleError as error:
            message = escape(sentence(error), quote=False)  # Gradio shows it as HTML
            raise gr.Error(message, title="That did not work", print_exception=False) from error

    return call


def answered(call: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A server function whose refusals are an answer {"error": sentence} for its script."""

    @wraps(call)
    def answer(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return call(*args, **kwargs)
        except LorastyleError as error:
            return {"error": sentence(error)}

    return answer
