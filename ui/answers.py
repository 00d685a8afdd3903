"""What pages tell when something cannot be done: the sentence of the error, where the person looks."""

import re
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from lorastyle import BadFile, LorastyleError, Recipe
from ui.hiding import by_name

FIELD = re.compile(r"[a-z_]+(\.[a-z0-9_]+)+")  # such as recipe.preview_every
# What a job that has begun may still find at fault. In its text files look much like fields, so these alone are.
FIELDS_OF_JOBS = {*(f"recipe.{name}" for name in Recipe.model_fields), "generate.width", "generate.height", "grid.base"}
P = ParamSpec("P")
T = TypeVar("T")


def sentence(error: LorastyleError) -> str:
    """The error for a person who sees the page: a field as it is called there, "preview every" and not its address."""
    text, where = by_name(str(error)), by_name(getattr(error, "where", ""))
    if isinstance(error, BadFile) or not FIELD.fullmatch(where):
        return text
    return _named(where, text)


def failure(text: str) -> str:
    """Why a job failed, worded as :func:`sentence` does it; of its error nothing but the text is left."""
    text = by_name(text)
    where = text.partition(": ")[0]
    return _named(where, text) if where in FIELDS_OF_JOBS else text


def _named(field: str, text: str) -> str:
    """The text with the name of the field that it begins with, in place of its address."""
    name = field.rpartition(".")[2].replace("_", " ")
    return f"{name[:1].upper()}{name[1:]}{text.removeprefix(field)}"


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
