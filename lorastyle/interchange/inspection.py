"""What is in an adapter file: what it is, how strongly it acts where, and what is strange about it."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from lorastyle.adapters.file import Adapter, is_foreign, load
from lorastyle.adapters.kinds import kind as kind_called
from lorastyle.adapters.tensors import read_tensors
from lorastyle.interchange.exchange import import_adapter

BLOCK = re.compile(
    r".*?\.\d+(?=\.)"
)  # up to the first number: "unet.down_blocks.1", "transformer.transformer_blocks.7"
MANY_TIMES = 20.0  # as strong as the median layer is strange
HALF = torch.finfo(torch.float16)


def inspect_adapter(file: Path | str, family: str | None = None) -> dict[str, Any]:
    """What a person wants to know of an adapter file, of ours or of another tool.

    Args:
        family: of the base that it is for, where the names in a file of another tool leave that open.

    Raises BadFile for what is no sound adapter file.
    """
    tensors, _ = read_tensors(file)
    adapter = import_adapter(file, family) if is_foreign(tensors) else load(file)
    norms = {layer: _norm(adapter, layer) for layer in adapter.factors}
    told = {name: _short(text) for name, text in adapter.metadata.items()}
    return adapter.summary() | {
        "norms": _by_block(norms),
        "strange": list(_strange(adapter, norms)),
        "metadata": told,
    }


def _norm(adapter: Adapter, layer: str) -> float:
    """The Frobenius norm of the layer's change; for kinds whose change depends on the base's weight, of the factors."""
    factors, made = adapter.factors[layer], kind_called(adapter.kind)
    if made.needs_weight:
        return math.sqrt(sum(float(factor.double().square().sum()) for factor in factors.values()))
    if factors.keys() == {"down", "up"}:  # |B A|^2 = tr(B^T B A A^T), without making B A
        up, down = factors["up"].flatten(1).double(), factors["down"].flatten(1).double()
        return abs(adapter.scale(layer)) * math.sqrt(max(0.0, float(((up.T @ up) * (down @ down.T)).sum())))
    return float(adapter.change(layer).norm())


def _by_block(norms: Mapping[str, float]) -> dict[str, float]:
    """The norms of all changes of a block taken together."""
    blocks: defaultdict[str, float] = defaultdict(float)
    for layer, norm in norms.items():
        found = BLOCK.match(layer)
        blocks[found[0] if found else layer] += norm**2
    return {block: float(f"{math.sqrt(square):.3g}") for block, square in sorted(blocks.items(), key=_numbered)}


def _numbered(block: tuple[str, float]) -> list[Any]:
    return [int(step) if step.isdigit() else step for step in re.split(r"(\d+)", block[0])]


def _strange(adapter: Adapter, norms: Mapping[str, float]) -> Iterator[str]:
    still = [layer for layer, norm in norms.items() if norm == 0]
    if still:
        yield f"{len(still)} of {len(norms)} layers change nothing, such as {still[0]}"
    usual = median(norms.values())
    loud = max(norms, key=norms.__getitem__)
    if usual and norms[loud] > MANY_TIMES * usual:
        yield f"{loud} changes {norms[loud] / usual:.0f} times as much as the median layer"
    if odd := [layer for layer in norms if kind_called(adapter.kind).scaled and adapter.alphas[layer] <= 0]:
        yield f"alpha is {adapter.alphas[odd[0]]:g} in {odd[0]}"
    largest = max(float(factor.abs().max()) for held in adapter.factors.values() for factor in held.values())
    if largest > HALF.max:
        yield f"values go up to {largest:.2g}, which fp16 cannot hold"


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]} ... ({len(text)} characters)"
