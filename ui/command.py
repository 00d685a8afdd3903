"""The command that starts the studio: `lorastyle ui`, or `python -m ui`."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lorastyle import BadInput

ROOT = Path("~/lorastyle")
Root = Annotated[
    Path | None,
    typer.Option(help="The folder of the studio: datasets, jobs, adapters. ~/lorastyle, or LORASTYLE_STUDIO.",
                 file_okay=False),
]  # fmt: skip
Port = Annotated[
    int | None, typer.Option(help="The port; the first free one from 7860 on where none is given.", min=1, max=65535)
]


def ui(
    root: Root = None,
    host: Annotated[str, typer.Option(help="The address to listen at; any other needs --auth-file.")] = "127.0.0.1",
    port: Port = None,
    auth_file: Annotated[
        Path | None, typer.Option(help="Who may log in; people are added by: lorastyle user add.", dir_okay=False)
    ] = None,
    admin: Annotated[
        list[str] | None, typer.Option(help="Who of them may change the settings; can be given again.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="A name that people call this machine by; can be given again.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Where people open it, if a proxy passes their requests on: https://studio.example/lorastyle.",
            metavar="URL",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the studio in the browser.")] = True,
) -> None:
    """Start the studio: teach styles and characters in the browser."""
    if find_spec("gradio") is None:
        raise BadInput("lorastyle ui", "the studio's packages are not installed", "install lorastyle with [ui]")
    from ui.server import serve

    place = root or Path(os.environ.get("LORASTYLE_STUDIO") or ROOT)
    serve(place, host=host, port=port, auth_file=auth_file, administrators=admin or (), names=name or (),
          address=address or "", browser=browser)  # fmt: skip
