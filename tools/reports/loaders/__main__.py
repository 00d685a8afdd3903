"""make loaders-report: do our files work in the tools that they are for, in those tools' own code?

    python -m tools.reports.loaders [--tools NAME ...] [--families NAME ...]

For each tool, family and kind, an adapter with random factors on all layers that its targets have is exported in the
tool's format; the tool, fetched into build/loaders/ when first needed, loads the file onto a tiny model; and each
layer's change of weight there is compared with the adapter's own. What stands in for what, the tools' modules say. A
cell is a line on stdout; it passes where no key is left unmatched, the layers changed are the adapter's, and each is
right. The last line is one JSON object:

    tools                   the tools' versions
    cells                   tools x families x kinds; of some families only ComfyUI
    passed, refused, failed of these; refused: our export says in a sentence why the tool cannot hold that kind
    worst_relative_error    of a layer's change, norm over norm, of all that was loaded
    unmatched_keys          keys that a tool had no place for, and weights changed that are no layer of the adapter
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from lorastyle.adapters.file import Adapter, save
from lorastyle.adapters.header import published
from lorastyle.bases.base import Base
from lorastyle.bases.family import families
from lorastyle.errors import Unsupported
from lorastyle.interchange.exchange import export_adapter
from tools.reports import exchange
from tools.reports.loaders import comfyui
from tools.reports.loaders.weights import Loaded, layers_of

# Each tool's module here, and the format that our exports call it by.
TOOLS = {"comfyui": "comfyui", "invokeai": "invoke", "lycoris": "kohya", "diffusers": "diffusers"}
FAMILIES = ("sd1", "sdxl", "flux1")
MORE = {"comfyui": ("sd3", "flux2", "zimage", "qwen_image")}  # that this report has ComfyUI's models of
# The exchange report's kind, and the layers: LoRA on convolutions too is what LyCORIS calls LoCon.
KINDS = {"LoRA": ("LoRA", "attention"), "LoCon": ("LoRA", "all")}
KINDS |= {kind: (kind, "all") for kind in ("rsLoRA", "DoRA", "LoKr", "LoHa", "OFT")}
BOUND = 1e-5  # relative error of a layer's change in fp32, which tools take from weights that they have rounded


@dataclass(frozen=True)
class Cell:
    """What came of one tool, family and kind. outcome: "passed", "refused" or "failed"."""

    tool: str
    family: str
    kind: str
    outcome: str
    error: float = 0.0
    unmatched: int = 0
    said: str = ""

    def line(self) -> str:
        measured = f"{self.error:.1e}" if self.outcome != "refused" else ""
        return " ".join(f"{self.tool:9} {self.family:10} {self.kind:6} {self.outcome:7} {measured} {self.said}".split())


def check(tool: str, base: Base, kind: str, folder: Path) -> Cell:
    """Export such an adapter, and have the tool load it."""
    row, targets = KINDS[kind]
    own = exchange.sample(base, row, targets=targets, every=True)
    file, written = folder / "own.safetensors", folder / "written.safetensors"
    save(file, own)
    try:
        export_adapter(file, TOOLS[tool], written, base=base)
    except Unsupported as refused:
        return Cell(tool, base.family.name, kind, "refused", said=refused.what)
    loaded = importlib.import_module(f"tools.reports.loaders.{tool}").load(base, written)
    return judged(tool, base, kind, own, loaded)


def judged(tool: str, base: Base, kind: str, own: Adapter, loaded: Loaded) -> Cell:
    """Compare what the tool did to its model with what the adapter does."""
    weights = layers_of(base)
    wanted = {published(layer): own.change(layer, weights[published(layer)]).double() for layer in own.factors}
    strays = [*loaded.unmatched, *(loaded.changes.keys() - wanted.keys())]
    errors = {}
    for layer, change in wanted.items():
        there = loaded.changes.get(layer, torch.zeros_like(change)).reshape(change.shape)
        errors[layer] = float((there - change).norm() / change.norm())
    worst = max(errors, key=errors.__getitem__)
    right = errors[worst] <= BOUND and not strays
    said = "" if right else f"worst at {worst}; unmatched: {len(strays)}, such as {', '.join(strays[:2])}"
    outcome = "passed" if right else "failed"
    return Cell(tool, base.family.name, kind, outcome, errors[worst], len(strays), said)


def cells_of(tool: str, chosen: Sequence[str]) -> Iterator[Cell]:
    """The cells of a tool whose module is prepared already."""
    with tempfile.TemporaryDirectory() as folder:
        for name in [name for name in (*FAMILIES, *MORE.get(tool, ())) if name in chosen]:
            base = comfyui.base_of(families()[name])
            for kind in KINDS:
                try:
                    yield check(tool, base, kind, Path(folder))
                except Exception as error:  # noqa: BLE001  # of whatever kind the tool raises: the cell has failed
                    said = " ".join(f"{type(error).__name__}: {error}".split())
                    yield Cell(tool, name, kind, "failed", said=said)


def alone(tool: str, chosen: Sequence[str]) -> None:
    """Measure one tool in this process, and print its version and its cells as JSON lines."""
    version = importlib.import_module(f"tools.reports.loaders.{tool}").prepare()
    print(json.dumps(version), flush=True)
    for cell in cells_of(tool, chosen):
        print(json.dumps(asdict(cell)), flush=True)


def measured(tool: str, chosen: Sequence[str]) -> tuple[str, list[Cell]]:
    """The version and the cells of a tool, in a process of its own: what stands in for one is in the others' way."""
    command = [sys.executable, "-W", "ignore", "-m", "tools.reports.loaders", "--alone", tool, "--families", *chosen]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    version, *cells = [json.loads(line) for line in lines]
    return version, [Cell(**cell) for cell in cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tools", nargs="*", choices=TOOLS, default=list(TOOLS))
    every = [*FAMILIES, *sorted({name for more in MORE.values() for name in more})]
    parser.add_argument("--families", nargs="*", choices=every, default=every)
    parser.add_argument("--alone", choices=TOOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        alone(options.alone, options.families)
        return
    versions, cells = [], []
    for tool in track(options.tools, description="tools", console=Console(stderr=True)):
        version, found = measured(tool, options.families)
        versions.append(version)
        cells += found
        print("\n".join(cell.line() for cell in found), flush=True)
    outcomes = [cell.outcome for cell in cells]
    counts = {outcome: outcomes.count(outcome) for outcome in ("passed", "refused", "failed")}
    worst, unmatched = max(cell.error for cell in cells), sum(cell.unmatched for cell in cells)
    summary = {"tools": versions, "cells": len(cells), **counts}
    print(json.dumps({**summary, "worst_relative_error": worst, "unmatched_keys": unmatched}))
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
