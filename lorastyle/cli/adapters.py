"""What is done with adapter files: `lorastyle inspect`, `export`, `import`, `merge` and `mix`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lorastyle import BadInput
from lorastyle.cli.drawing import strengths
from lorastyle.cli.screen import BaseName, Json, say, show

FamilyName = Annotated[
    str | None, typer.Option("--family", help="Of the base that it is for, where the file does not say; see bases.")
]


def inspect(
    file: Annotated[Path, typer.Argument(help="An adapter file, of any tool.")],
    family: FamilyName = None,
    as_json: Json = False,
) -> None:
    """Show what is in an adapter file."""
    import lorastyle

    show(lorastyle.inspect_adapter(file, family), as_json)


def export(
    file: Annotated[Path, typer.Argument(help="An adapter file.")],
    to: Annotated[str, typer.Option(help="diffusers, kohya, comfyui, a1111 or invoke.")],
    out: Annotated[Path | None, typer.Option(help="The new file; NAME-FORMAT.safetensors by default.")] = None,
    dtype: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    base: Annotated[str | None, typer.Option(help="The base that it is for; some need its weights.")] = None,
    family: FamilyName = None,
    rank: Annotated[int | None, typer.Option(help="Convert it to the nearest LoRA of this rank.")] = None,
    metadata: Annotated[str, typer.Option(help="How much the file tells: none, minimal or full.")] = "minimal",
    strength: Annotated[float, typer.Option(help="The usual strength, for tools that show it.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Write an adapter for another tool, and prove that every layer's change is the same there."""
    import lorastyle

    loaded = lorastyle.load_base(base) if base else None
    written = lorastyle.export_adapter(
        file, to, out, dtype=dtype, base=loaded, family=family, rank=rank, metadata=metadata, strength=strength
    )
    show(written.summary(), as_json)


def import_(
    file: Annotated[Path, typer.Argument(help="An adapter file of another tool.")],
    out: Annotated[Path | None, typer.Option(help="The new file; NAME-lorastyle.safetensors by default.")] = None,
    family: FamilyName = None,
    as_json: Json = False,
) -> None:
    """Read an adapter of another tool, to draw with it, mix, merge or export it."""
    import lorastyle

    target = out or file.with_name(f"{file.stem}-lorastyle.safetensors")
    if target.resolve() == file.resolve():
        raise BadInput("--out", "it is the file that is read", "choose another name")
    adapter = lorastyle.import_adapter(file, family)
    lorastyle.save_adapter(target, adapter)
    say(f"It is a {adapter.kind} for {adapter.family}.")
    show({"file": target, "family": adapter.family, "kind": adapter.kind, "layers": len(adapter.factors)}, as_json)


Weighted = Annotated[list[str], typer.Option("--adapter", help="FILE or FILE:STRENGTH; repeat for more.")]


def merge(
    adapter: Weighted,
    out: Annotated[Path, typer.Option(help="A new folder, or a new .safetensors file.")],
    base: BaseName = "pocket",
    as_json: Json = False,
) -> None:
    """Write a base with adapters in its weights, to draw without adapters."""
    import lorastyle

    adapters: dict[Any, float] = strengths(adapter)
    show({"merged": lorastyle.merge(lorastyle.load_base(base), adapters, out)}, as_json)


def mix(
    adapter: Weighted,
    out: Annotated[Path, typer.Option(help="The new adapter file.")],
    rank: Annotated[int | None, typer.Option(help="The nearest adapter of this rank, not an exact larger one.")] = None,
    base: Annotated[str | None, typer.Option(help="The base that they are for; kinds other than lora need it.")] = None,
    as_json: Json = False,
) -> None:
    """Make one adapter of several."""
    import lorastyle

    adapters: dict[Any, float] = strengths(adapter)
    mixed = lorastyle.mix(adapters, rank=rank, base=lorastyle.load_base(base) if base else None)
    lorastyle.save_adapter(out, mixed.adapter)
    show({"file": out, "layers": len(mixed.adapter.factors), "worst_relative_error": mixed.worst}, as_json)
