"""`lorastyle generate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lorastyle.cli.screen import BaseName, Json, Numbers, Seed, show


def generate(
    prompts: Annotated[list[str], typer.Argument(help="One or more prompts.")],
    base: BaseName = "pocket",
    adapter: Annotated[list[str] | None, typer.Option(help="FILE or FILE:STRENGTH; repeat to mix.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("images"),
    negative: Annotated[str, typer.Option(help="What should not be in the images.")] = "",
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    seed: Seed = 0,
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 20,
    width: Annotated[int | None, typer.Option(help="In pixels; by default the base's own.")] = None,
    height: Annotated[int | None, typer.Option(help="In pixels; by default the base's own.")] = None,
    precision: Numbers = "fp32",
    as_json: Json = False,
) -> None:
    """Draw prompts with a base and any number of adapters."""
    import lorastyle

    adapters: dict[Any, float] = strengths(adapter or [])
    loaded = lorastyle.load_base(base, precision=precision)
    images = lorastyle.generate(
        loaded,
        prompts,
        adapters,
        negative=negative,
        seed=seed or 0,
        steps=steps,
        guidance=guidance,
        width=width,
        height=height,
    )
    paths = [out / f"{seed or 0}-{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        lorastyle.write_image(path, image)
    show({"images": [str(path) for path in paths]}, as_json)


def strengths(options: list[str]) -> dict[Path, float]:
    """FILE or FILE:STRENGTH of each option; a file that is named twice is as strong as both say together."""
    found: dict[Path, float] = {}
    for path, strength in map(strength_of, options):
        found[path] = found.get(path, 0.0) + strength
    return found


def strength_of(option: str) -> tuple[Path, float]:
    """Split FILE:STRENGTH; a name without a number behind its last colon is all file (C:\\styles\\ink.safetensors)."""
    name, _, strength = option.rpartition(":")
    try:
        return (Path(name), float(strength)) if name else (Path(option), 1.0)
    except ValueError:
        return Path(option), 1.0
