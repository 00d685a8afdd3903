"""The proof that a file in a foreign format does what its adapter does: each layer's change of weight, compared."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorastyle import draws
from lorastyle.adapters.file import Adapter
from lorastyle.adapters.header import published
from lorastyle.adapters.kinds import Layer, kind as kind_called
from lorastyle.bases.base import Base
from lorastyle.draws import Key
from lorastyle.errors import BadInput

STANDS_IN = 16  # rows or columns of a weight that stands in for the base's where the factors leave its size open


@dataclass(frozen=True)
class Proof:
    """How far a file's changes are from the adapter's own: of how many layers, by how much of the change's norm at
    worst, and where."""

    layers: int
    worst: float
    layer: str


def compare(own: Adapter, other: Adapter, base: Mapping[str, Tensor]) -> Proof:
    """Compare the changes of all layers; a layer that one of the two lacks, it does not change.

    base: the weights of the layers; where they are missing and matter, random ones stand in for them.
    """
    ours = {published(layer): layer for layer in own.factors}
    theirs = {published(layer): layer for layer in other.factors}
    errors = {}
    for layer in sorted({*ours, *theirs}):
        if own.kind == other.kind == "lora" and layer in ours and layer in theirs:
            errors[layer] = _relative_of_pairs(_pair(own, ours[layer]), _pair(other, theirs[layer]))
            continue
        changes = list(_changes(layer, (own, ours.get(layer)), (other, theirs.get(layer)), base))
        errors[layer] = _relative(*changes) if len(changes) == 2 else float(bool(changes[0].any()))
    worst = max(errors, key=errors.__getitem__)
    return Proof(len(errors), errors[worst], worst)


def weights_of(base: Base | None, adapter: Adapter) -> dict[str, Tensor]:
    """The weights of the adapter's layers by their names in files; none without a base.

    Raises BadInput where the base has no such layer.
    """
    if base is None:
        return {}
    weights = {}
    for layer in adapter.factors:
        part, _, _ = layer.partition(".")
        held = dict(base.models[part].named_modules()) if part in base.models else {}
        named = {published(f"{part}.{name}"): module for name, module in held.items()}
        if published(layer) not in named:
            raise BadInput(base.name, f"the base has no layer {layer}", "give the base that the adapter is for")
        weights[published(layer)] = Layer.of(layer, named[published(layer)]).weight.cpu()  # where a file's factors are
    return weights


def stand_in(adapter: Adapter, layer: str) -> Tensor:
    """A random weight that the factors of the layer can act on: a proof that holds for it holds for any."""
    sides = kind_called(adapter.kind).acts_on(adapter.factors[layer])
    shape = [STANDS_IN if side == 1 else side for side in sides[:2]] + list(sides[2:])
    return torch.from_numpy(draws.normal(Key(0, published(layer)), "a weight that stands in", shape))


def _changes(
    layer: str, own: tuple[Adapter, str | None], other: tuple[Adapter, str | None], base: Mapping[str, Tensor]
) -> Iterator[Tensor]:
    weight = base.get(layer)
    for adapter, name in (own, other):
        if name is None:
            continue
        if weight is None and kind_called(adapter.kind).needs_weight:
            weight = stand_in(adapter, name)
        yield adapter.change(name, weight)


def _pair(adapter: Adapter, layer: str) -> tuple[Tensor, Tensor]:
    """The scaled up [outputs, rank] and the down [rank, inputs times kernel], float64."""
    factors = adapter.factors[layer]
    return adapter.scale(layer) * factors["up"].flatten(1).double(), factors["down"].flatten(1).double()


def _relative_of_pairs(own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> float:
    """The same as of the products, without making them: with [D1; D2]^T = Q R, |U1 D1 - U2 D2| = |[U1, -U2] R^T|."""
    (up, down), (other_up, other_down) = own, other
    if len(up) != len(other_up) or down.shape[1] != other_down.shape[1]:
        return float("inf")
    triangle = torch.linalg.qr(torch.cat([down, other_down]).T, mode="r").R
    product, other_product = up @ triangle[:, : len(down)].T, other_up @ triangle[:, len(down) :].T
    return _relative(product, other_product)


def _relative(own: Tensor, other: Tensor) -> float:
    if own.numel() != other.numel():
        return float("inf")
    norm = float(own.norm())
    error = float((other.view(own.shape) - own).norm())
    share = error / norm if norm else float(error > 0)
    return share if math.isfinite(share) else math.inf  # what is no number compares as neither more nor less
