"""What the commands say: results on stdout, everything else on stderr; and the options that several of them have."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from lorastyle import Area

Json = Annotated[bool, typer.Option("--json", help="Print the results as one JSON object on stdout.")]
BaseName = Annotated[
    str, typer.Option("--base", help="pocket, pocket-flux, a diffusers folder, a .safetensors checkpoint or a hub id.")
]
Root = Annotated[
    Path,
    typer.Option(
        envvar="LORASTYLE_STUDIO",
        default_factory=lambda: Path.home() / "lorastyle",
        show_default="~/lorastyle",
        help="The studio's folder.",
    ),
]
Numbers = Annotated[
    Literal["fp32", "bf16"], typer.Option("--precision", help="bf16 takes half the memory; for recent graphics cards.")
]
User = Annotated[str, typer.Option("--user", help="Whose it is, in a studio with a login.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same result.")]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(results: dict[str, Any], as_json: bool) -> None:
    """Print results on stdout: as JSON, or a line each."""
    if as_json:
        print(json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in results.items()}))
        return
    for name, value in results.items():
        print(f"{name.replace('_', ' ')}: {value}")


def area(root: Path, user: str) -> "Area":
    """What a person has in the studio at `root`."""
    from lorastyle import Workspace

    return Workspace(root).area(user)
