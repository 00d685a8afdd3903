"""Reads the templates that lie beside this file: NAME.html, NAME.css and NAME.js of one widget."""

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def part(name: str) -> str:
    """The text of one file of this folder, such as "review.js"."""
    return (_FOLDER / name).read_text(encoding="utf-8")
