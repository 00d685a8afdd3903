"""Does every kind of adapter survive every foreign format, in every family?

    python -m tools.reports.exchange [--families NAME ...] [--readme]

For each kind and format, adapters with random factors on layers of each family's tiny base are exported, and the files
imported again; each layer's change of weight is compared. What a format cannot hold must be refused in a sentence, and
be written where a conversion to a LoRA is asked for. A cell passes where all its families do. With --readme the table
is put into the README. The last line on stdout is one JSON object:

    cells                   kinds x formats x directions
    passed, failed          of these
    worst_relative_error    of a layer's change, norm over norm, of all that was written without a conversion
"""

import argparse
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from lorastyle import draws
from lorastyle.adapters.file import Adapter, load, save
from lorastyle.adapters.kinds import Shape, is_layer, kind as kind_called
from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, families
from lorastyle.draws import Key
from lorastyle.errors import BadInput, Unsupported
from lorastyle.interchange.exchange import export_adapter, import_adapter
from lorastyle.interchange.format import Format, formats
from lorastyle.interchange.proof import compare, weights_of
from lorastyle.recipe import Recipe

KINDS = {"LoRA": "lora", "rsLoRA": "lora", "DoRA": "dora", "LoKr": "lokr", "LoHa": "loha", "OFT": "oft"}
DIRECTIONS = ("export", "import")
BOUND = 1e-6  # relative error of a layer's change in fp32
NEAREST = 1e-4  # the same after a conversion by SVD, which is that much less exact
RANK, WHOLE = 4, 10_000  # of the adapters, and one that any change has at most
README, BEGIN, END = Path("README.md"), "<!-- exchange-report: begin -->", "<!-- exchange-report: end -->"


@dataclass(frozen=True)
class Result:
    """What came of one kind, format, direction and family. how: "whole", "converted" or "not applicable"."""

    passed: bool
    how: str
    error: float = 0.0
    said: str = ""


def sample(base: Base, row: str, targets: str = "all", every: bool = False) -> Adapter:
    """An adapter with random factors, trained as it were on one layer of each sort that the targets have, or on every
    one."""
    made = kind_called(KINDS[row])
    patterns = base.target_patterns(Recipe(targets=targets, text_encoder_learning_rate=1e-4))
    layers, seen = {}, set()
    for part, wanted in patterns.items():
        for name, module in base.models[part].named_modules():
            sort = part + (name if every else re.sub(r"(?<=blocks\.)\d+|(?<=layers\.)\d+", "#", name))
            if is_layer(module) and sort not in seen and any(re.fullmatch(pattern, name) for pattern in wanted):
                seen.add(sort)
                layers[f"{part}.{name}"] = Shape.of(name, module)
    layers = {name: shape for name, shape in layers.items() if made.name != "oft" or shape.outputs % RANK == 0}
    factors = {
        layer: {
            name: torch.from_numpy(draws.normal(Key(0, row), f"{layer}.{name}", size)) / 4 + (name == "magnitude")
            for name, size in made.shapes(shape, RANK, made.settings).items()
        }
        for layer, shape in layers.items()
    }
    alphas = {layer: float(1 + number % 3) for number, layer in enumerate(layers)}
    return Adapter(base.family.name, made.name, factors, alphas, row == "rsLoRA", trigger="zorvex")


def check(base: Base, row: str, form: Format, folder: Path) -> dict[str, Result]:
    """Export such an adapter and import what was exported: the result of each direction."""
    if form.accepts(kind_called("lora"), base.family):
        return dict.fromkeys(DIRECTIONS, Result(True, "not applicable"))
    own = sample(base, row)
    file, written = folder / "own.safetensors", folder / "written.safetensors"
    save(file, own)
    try:
        exported, said = export_adapter(file, form.name, written, base=base), ""
    except Unsupported as refused:
        exported, said = export_adapter(file, form.name, written, base=base, rank=WHOLE), str(refused)
    save(file, import_adapter(written))  # what is whole once it is read, is so when it is ours again
    proofs = {"export": exported.proof, "import": compare(own, load(file), weights_of(base, own))}
    if exported.converted is None:
        named = load(file).family == base.family.name
        return {
            direction: Result(proof.worst <= BOUND and named, "whole", proof.worst)
            for direction, proof in proofs.items()
        }
    lost = exported.converted.worst
    return {
        direction: Result(max(proof.worst, lost) <= NEAREST, "converted", said=said)
        for direction, proof in proofs.items()
    }


def report(chosen: Sequence[Family], folder: Path) -> dict[tuple[str, str, str], list[Result]]:
    """The results of each cell, one for each family."""
    cells: dict[tuple[str, str, str], list[Result]] = {}
    for family in track(chosen, description="families", console=Console(stderr=True)):
        base = Base("tiny", family, family.tiny(0))
        for row in KINDS:
            for form in formats().values():
                for direction, result in _tried(base, row, form, folder).items():
                    cells.setdefault((row, form.name, direction), []).append(result)
    return cells


def _tried(base: Base, row: str, form: Format, folder: Path) -> dict[str, Result]:
    try:
        return check(base, row, form, folder)
    except (BadInput, RuntimeError, KeyError) as error:
        said = f"{base.family.name} {row} {form.name}: {type(error).__name__}: {error}"
        return dict.fromkeys(DIRECTIONS, Result(False, "failed", said=said))


def table(cells: dict[tuple[str, str, str], list[Result]]) -> str:
    """The cells as Markdown."""
    lines = ["| kind | " + " | ".join(formats()) + " |", "|---|" + "---|" * len(formats())]
    for row in KINDS:
        words = []
        for name in formats():
            results = [result for direction in DIRECTIONS for result in cells[row, name, direction]]
            words.append(_word(results))
        lines.append(f"| {row} | " + " | ".join(words) + " |")
    return "\n".join(lines)


def _word(results: Sequence[Result]) -> str:
    if not all(result.passed for result in results):
        return "failed"
    how = {result.how for result in results} - {"not applicable"}
    if how == {"whole"}:
        return "both ways"
    return "as LoRA" if how == {"converted"} else "both ways; in some families as LoRA"


def put_into_readme(text: str) -> None:
    """Replace what stands between the markers."""
    old = README.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        README.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--families", nargs="*", choices=sorted(families()), default=sorted(families()))
    parser.add_argument("--readme", action="store_true", help="put the table into the README")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cells = report([families()[name] for name in options.families], Path(folder))
    print(table(cells))
    for results in cells.values():
        for result in results:
            if not result.passed:
                print(f"failed: {result.said or result}")
    if options.readme:
        put_into_readme(table(cells))
    passed = sum(all(result.passed for result in results) for results in cells.values())
    whole = [result.error for results in cells.values() for result in results if result.how == "whole"]
    summary = {"cells": len(cells), "passed": passed, "failed": len(cells) - passed, "worst_relative_error": max(whole)}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
