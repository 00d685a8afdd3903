"""`lorastyle user ...`: who may log in to a studio."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lorastyle.cli.screen import Json, show

user = typer.Typer(help="Say who may log in to a studio.", no_args_is_help=True)


@user.callback()
def _group() -> None:
    """Keeps `add` a word of its own: typer drops the name of an only command."""


@user.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="Small letters, digits, - and _.")],
    auth_file: Annotated[Path, typer.Option("--auth-file", help="The file that lorastyle ui --auth-file reads.")],
    as_json: Json = False,
) -> None:
    """Add somebody who may log in, or give them a new password; it is asked for, or read from stdin."""
    from lorastyle import Users

    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True) if sys.stdin.isatty() else _line()
    show({"user": name, "new": Users.add(auth_file, name, password)}, as_json)


def _line() -> str:
    return sys.stdin.readline().rstrip("\r\n")
