"""`lorastyle settings`: the settings of a studio."""

import json
import tomllib
from typing import Annotated, Any

import typer

from lorastyle import BadInput
from lorastyle.cli.screen import Json, Root, show


def settings(
    root: Root,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Such as limits.steps=2000 or theme=dark.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the settings of a studio, or change some; all can be seen with --json."""
    from lorastyle import Workspace

    workspace = Workspace(root)
    now = workspace.save_settings(dict(map(_change, changes))) if changes else workspace.settings
    told = now.model_dump()
    if as_json:
        show(told, as_json)
        return
    limits = told.pop("limits")
    for name, value in (told | {f"limits.{limit}": value for limit, value in limits.items()}).items():
        print(f"{name}={json.dumps(value)}")


def _change(text: str) -> tuple[str, Any]:
    """A setting and its value, which is read as TOML, or as it stands where it is none: a word needs no quotes."""
    name, equals, value = text.partition("=")
    if not equals:
        raise BadInput("settings", f"{text!r} has no '='", "write NAME=VALUE, such as theme=dark")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()
