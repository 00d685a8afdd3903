"""LoHa (Hyeon-Woo et al. 2021, arXiv 2108.06098; Yeh et al. 2023, arXiv 2309.14859): d(x) = s (w1 * w2) x.

The product is entry by entry. w1 = w1_a w1_b and w2 = w2_a w2_b, or on convolutions w1 = t1 with w1_a and w1_b applied
to its outputs and inputs, and w2 likewise. It is read, drawn with, merged and converted, not trained: what it holds,
the other kinds hold in less time.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorastyle.adapters.kinds import Factors, Kind, Layer, Shape
from lorastyle.adapters.products import dense
from lorastyle.adapters.routing import Part

PLAIN = ("w1_a", "w1_b", "w2_a", "w2_b")


class Loha(Kind):
    """The kind "loha"; see :class:`lorastyle.adapters.kinds.Kind`."""

    name = "loha"
    title = "LoHa"
    tensors: Mapping[str, str] = {name: f"hada_{name}" for name in (*PLAIN, "t1", "t2")}
    forms: Sequence[frozenset[str]] = (frozenset(PLAIN), frozenset(tensors))
    config: Mapping[str, Any] = {"peft_type": "LOHA"}
    trainable = False

    def shapes(self, shape: Shape, rank: int, settings: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        ends = {"a": (shape.outputs, rank), "b": (rank, shape.inputs * math.prod(shape.kernel))}
        return {name: ends[name[-1]] for name in PLAIN}

    def rank(self, factors: Factors) -> int:
        return factors["w1_b"].shape[0]

    def fits(self, factors: Factors, shape: Shape | None = None) -> bool:
        if frozenset(factors) not in self.forms or not all(_chained(factors, at) for at in "12"):
            return False
        if (
            self.rank(factors) != factors["w2_b"].shape[0]
            or _product(factors, "1").shape != _product(factors, "2").shape
        ):
            return False
        if shape is None:
            return True
        acts_on = self.acts_on(factors)
        flat = (shape.outputs, shape.inputs * math.prod(shape.kernel))
        return acts_on == (shape.weight if len(acts_on) > 2 else flat)

    def acts_on(self, factors: Factors) -> tuple[int, ...]:
        return _extent(factors, "1")

    def add(self, y: Tensor, x: Tensor, output: Tensor, factors: Factors, part: Part, layer: Layer) -> Tensor:
        picked = {name: part.pick(factor, y.dtype) for name, factor in factors.items()}
        changes = _product(picked, "1") * _product(picked, "2")
        added = dense(part.take(x).to(y.dtype), changes.view(len(changes), *layer.shape.weight), layer.shape)
        return part.put(part.take(y) + part.amplify(added), y)

    def weight(self, factors: Factors, scale: float, base: Tensor | None = None) -> Tensor:
        change = scale * _product(factors, "1") * _product(factors, "2")
        return change if base is None else change.view(base.shape)


def _product(factors: Factors, at: str) -> Tensor:
    """w1 or w2 [..., outputs, inputs, *kernel], or [..., outputs, inputs times kernel]."""
    a, b = factors[f"w{at}_a"], factors[f"w{at}_b"]
    if f"t{at}" in factors:
        return torch.einsum("...ijkl,...ip,...jr->...prkl", factors[f"t{at}"], a, b)
    return a @ b


def _extent(factors: Factors, at: str) -> tuple[int, ...]:
    """The shape of that product for one member."""
    a, b, core = factors[f"w{at}_a"].shape, factors[f"w{at}_b"].shape, factors.get(f"t{at}")
    return (a[0], b[1]) if core is None else (a[1], b[1], *core.shape[2:])


def _chained(factors: Factors, at: str) -> bool:
    a, b, core = factors[f"w{at}_a"].shape, factors[f"w{at}_b"].shape, factors.get(f"t{at}")
    if len(a) != 2 or len(b) != 2 or 0 in (*a, *b):
        return False
    return a[1] == b[0] if core is None else core.dim() == 4 and tuple(core.shape[:2]) == (a[0], b[0])


KIND = Loha()
