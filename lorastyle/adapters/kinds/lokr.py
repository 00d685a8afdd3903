"""LoKr (Yeh et al. 2023, arXiv 2309.14859): d(x) = s (w1 kron w2) x, each of the two whole or of low rank.

W [outputs, inputs] is seen as blocks: outputs = o1 o2, inputs = i1 i2, w1 [o1, i1], w2 [o2, i2, *kernel]. Of low rank
w1 = w1_a w1_b and w2 = w2_a w2_b, or on convolutions w2 = t2 with w2_a and w2_b applied to its outputs and inputs.
s = alpha / rank, and alpha where both are whole and there is no rank.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorastyle.adapters.kinds import Factors, Kind, Layer, Shape
from lorastyle.adapters.kinds.lora import uniform
from lorastyle.adapters.products import convolve
from lorastyle.adapters.routing import Part
from lorastyle.draws import Key

NAMES = ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")
FIRST = (frozenset({"w1"}), frozenset({"w1_a", "w1_b"}))
SECOND = (frozenset({"w2"}), frozenset({"w2_a", "w2_b"}), frozenset({"w2_a", "w2_b", "t2"}))


class Lokr(Kind):
    """The kind "lokr"; see :class:`lorastyle.adapters.kinds.Kind`."""

    name = "lokr"
    title = "LoKr"
    tensors: Mapping[str, str] = {name: f"lokr_{name}" for name in NAMES}
    forms: Sequence[frozenset[str]] = tuple(first | second for first, second in itertools.product(FIRST, SECOND))
    config: Mapping[str, Any] = {"peft_type": "LOKR"}
    settings: Mapping[str, int] = {"factor": 8}

    def init(self, layer: Layer, rank: int, key: Key, purpose: str, settings: Mapping[str, int]) -> dict[str, Tensor]:
        """w1 is zero; w2, or what it is the product of, as a new Linear's weights are."""
        shapes = self.shapes(layer.shape, rank, settings)
        drawn = {name: uniform(key, f"{purpose}.{name}", shape) for name, shape in shapes.items() if name != "w1"}
        return drawn | {"w1": torch.zeros(shapes["w1"])}

    def shapes(self, shape: Shape, rank: int, settings: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """w1 whole, of at most `factor` rows and columns; w2 of low rank where that makes it smaller, as in peft."""
        o1, i1 = (split(side, settings["factor"]) for side in (shape.outputs, shape.inputs))
        o2, i2 = shape.outputs // o1, shape.inputs // i1
        if rank >= max(o2, i2) / 2:
            return {"w1": (o1, i1), "w2": (o2, i2, *shape.kernel)}
        return {"w1": (o1, i1), "w2_a": (o2, rank), "w2_b": (rank, i2 * math.prod(shape.kernel))}

    def rank(self, factors: Factors) -> int:
        low = factors.get("w2_b", factors.get("w1_b"))
        return 1 if low is None else low.shape[0]

    def fits(self, factors: Factors, shape: Shape | None = None) -> bool:
        if frozenset(factors) not in self.forms or not _chained(factors):
            return False
        outputs, inputs, *kernel = self.acts_on(factors)
        if shape is None:
            return True
        if kernel:
            return (outputs, inputs, *kernel) == shape.weight
        first = _first(factors).shape[1]
        return (outputs, inputs) == (shape.outputs, shape.inputs * math.prod(shape.kernel)) and not shape.inputs % first

    def acts_on(self, factors: Factors) -> tuple[int, ...]:
        (o1, i1), (o2, i2, *kernel) = _first(factors).shape, _second(factors).shape
        return (o1 * o2, i1 * i2, *kernel)

    def add(self, y: Tensor, x: Tensor, output: Tensor, factors: Factors, part: Part, layer: Layer) -> Tensor:
        """First w2 on all i1 parts of the inputs, then w1 across them: nothing of W's size is made."""
        picked = {name: part.pick(factor, y.dtype) for name, factor in factors.items()}
        first, second, rows = _first(picked), _second(picked), part.take(x).to(y.dtype)
        product = _on_maps if layer.shape.kernel else _on_tokens
        added = product(rows, first, second, layer.shape)
        old = part.take(y)
        return part.put(old + part.amplify(added.reshape(old.shape)), y)

    def weight(self, factors: Factors, scale: float, base: Tensor | None = None) -> Tensor:
        change = scale * torch.kron(_first(factors).contiguous(), _second(factors).flatten(1))
        return change.view(self.acts_on(factors) if base is None else base.shape)


def split(side: int, factor: int) -> int:
    """The largest divisor of `side` that is at most `factor` and at most its square root."""
    return max(one for one in range(1, min(factor, math.isqrt(side)) + 1) if side % one == 0)


def _first(factors: Factors) -> Tensor:
    """w1 [..., o1, i1]."""
    return factors["w1"] if "w1" in factors else factors["w1_a"] @ factors["w1_b"]


def _second(factors: Factors) -> Tensor:
    """w2 [..., o2, i2, *kernel], or [..., o2, i2 times kernel] where the factors leave the kernel open."""
    if "w2" in factors:
        return factors["w2"]
    if "t2" in factors:
        return torch.einsum("...ijkl,...ip,...jr->...prkl", factors["t2"], factors["w2_a"], factors["w2_b"])
    return factors["w2_a"] @ factors["w2_b"]


def _chained(factors: Factors) -> bool:
    """Whether the inner sides agree, and each factor has as many dimensions as it should."""
    sizes = {name: tuple(factor.shape) for name, factor in factors.items()}
    if any(
        0 in size or len(size) not in ((2, 4) if name == "w2" else (4,) if name == "t2" else (2,))
        for name, size in sizes.items()
    ):
        return False
    if "w1" not in sizes and sizes["w1_a"][1] != sizes["w1_b"][0]:
        return False
    if "t2" in sizes:
        return sizes["t2"][:2] == (sizes["w2_a"][0], sizes["w2_b"][0])
    return "w2" in sizes or sizes["w2_a"][1] == sizes["w2_b"][0]


def _on_tokens(x: Tensor, first: Tensor, second: Tensor, shape: Shape) -> Tensor:
    """x [rows, ..., i1 i2] with w1 [blocks, o1, i1] and w2 [blocks, o2, i2] to [blocks, tokens, o1, o2]."""
    blocks, _, i1 = first.shape
    small = torch.bmm(x.reshape(blocks, -1, second.shape[2]), second.mT).unflatten(1, (-1, i1))
    return torch.einsum("bpr,btrq->btpq", first, small)


def _on_maps(x: Tensor, first: Tensor, second: Tensor, shape: Shape) -> Tensor:
    """x [rows, i1 i2, height, width] with w1 [blocks, o1, i1] and w2 [blocks, o2, i2, *kernel] to
    [blocks, rows of a block, o1, o2 height width]."""
    blocks, _, i1 = first.shape
    second = second.reshape(*second.shape[:2], -1, *shape.kernel)
    small = convolve(x.reshape(-1, shape.inputs // i1, *x.shape[2:]), second, shape)
    return torch.einsum("bpr,btrq->btpq", first, small.reshape(blocks, -1, i1, small[0].numel()))


KIND = Lokr()
