"""LoRA (Hu et al. 2021, arXiv 2106.09685): d(x) = s B A x with A [rank, inputs], B [outputs, rank].

s = alpha / rank, or alpha / sqrt(rank) for rsLoRA (Kalajdzievski 2023, arXiv 2312.03732). On a convolution A is a
convolution of the same geometry to `rank` channels, and B a pointwise one back.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorastyle import draws
from lorastyle.adapters.kinds import Factors, Kind, Layer, Shape
from lorastyle.adapters.products import low_rank
from lorastyle.adapters.routing import Part
from lorastyle.draws import Key


class Lora(Kind):
    """The kind "lora"; see :class:`lorastyle.adapters.kinds.Kind`."""

    name = "lora"
    title = "LoRA"
    tensors: Mapping[str, str] = {"down": "lora_A.weight", "up": "lora_B.weight"}
    forms: Sequence[frozenset[str]] = (frozenset({"down", "up"}),)
    config: Mapping[str, Any] = {"use_dora": False}

    def init(self, layer: Layer, rank: int, key: Key, purpose: str, settings: Mapping[str, int]) -> dict[str, Tensor]:
        """A as a new Linear's weights are; B is zero."""
        shapes = self.shapes(layer.shape, rank, settings)
        return {"down": uniform(key, f"{purpose}.down", shapes["down"]), "up": torch.zeros(shapes["up"])}

    def shapes(self, shape: Shape, rank: int, settings: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        pointwise = (1,) * len(shape.kernel)
        return {"down": (rank, shape.inputs, *shape.kernel), "up": (shape.outputs, rank, *pointwise)}

    def rank(self, factors: Factors) -> int:
        return factors["down"].shape[0]

    def fits(self, factors: Factors, shape: Shape | None = None) -> bool:
        return factors.keys() == {"down", "up"} and pair_fits(factors, shape)

    def acts_on(self, factors: Factors) -> tuple[int, ...]:
        return (len(factors["up"]), *factors["down"].shape[1:])

    def add(self, y: Tensor, x: Tensor, output: Tensor, factors: Factors, part: Part, layer: Layer) -> Tensor:
        down, up = part.pick(factors["down"], y.dtype), part.pick(factors["up"], y.dtype)
        return part.put(low_rank(part.take(y), part.take(x).to(y.dtype), down, up, part, layer.shape), y)

    def weight(self, factors: Factors, scale: float, base: Tensor | None = None) -> Tensor:
        shape = self.acts_on(factors) if base is None else base.shape
        return (scale * factors["up"].flatten(1) @ factors["down"].flatten(1)).view(shape)


def uniform(key: Key, purpose: str, shape: tuple[int, ...]) -> Tensor:
    """Drawn as a new Linear's weights (He et al. 2015, arXiv 1502.01852, with a = sqrt(5)): within 1 / sqrt(inputs)."""
    normal = torch.from_numpy(draws.normal(key, purpose, shape))
    within_one = torch.erf(normal / math.sqrt(2))
    return within_one / math.sqrt(math.prod(shape[1:]))


def pair_fits(factors: Factors, shape: Shape | None) -> bool:
    """Whether "down" and "up" belong together, in such a layer if given."""
    down, up = factors["down"].shape, factors["up"].shape
    if not (len(down) == len(up) in (2, 4) and down[0] == up[1] and all(side == 1 for side in up[2:])) or 0 in (
        *down,
        *up,
    ):
        return False
    return shape is None or (up[0], *down[1:]) == shape.weight


KIND = Lora()
