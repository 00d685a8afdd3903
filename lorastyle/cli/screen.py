"""What the commands say: results on stdout, everything else on stderr; and the options that several of them have."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the results as one JSON object on stdout.")]
BaseName = Annotated[
    str, typer.Option("--base", help="pocket, a diffusers folder, a .safetensors checkpoint or a hub id.")
]
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
