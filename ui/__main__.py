"""`python -m ui`: the same as `lorastyle ui`."""

import sys

import typer

from lorastyle import LorastyleError
from ui.command import ui

try:
    typer.run(ui)
except LorastyleError as error:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(2)
