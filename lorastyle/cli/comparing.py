"""`lorastyle grid`."""

from pathlib import Path
from typing import Annotated

import typer

from lorastyle.cli.screen import BaseName, Json, Numbers, Seed, say, show


def grid(
    prompts: Annotated[list[str], typer.Argument(help="One or more prompts.")],
    adapter: Annotated[list[str], typer.Option(help="An adapter file or a checkpoint's folder; repeat for more.")],
    strength: Annotated[list[float] | None, typer.Option(help="Repeat for more; 1 by default, 0 is the base.")] = None,
    base: BaseName = "pocket",
    out: Annotated[Path, typer.Option(help="A folder for the pictures and the sheet of them all.")] = Path("grid"),
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    seed: Seed = 0,
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 20,
    precision: Numbers = "fp32",
    as_json: Json = False,
) -> None:
    """Draw prompts with several adapters or checkpoints at several strengths, to see which to keep."""
    import lorastyle

    drawn = lorastyle.compare_grid(
        lorastyle.load_base(base, precision=precision),
        adapter,
        strength or [1.0],
        prompts,
        seed or 0,
        out,
        steps=steps,
        guidance=guidance,
        progress=lambda done, total: say(f"step {done}/{total}") if done % 20 == 0 or done == total else None,
    )
    show(drawn.summary() if as_json else {"sheet": drawn.sheet, "pictures": len(drawn.cells)}, as_json)
