"""DoRA (Liu et al. 2024, arXiv 2402.09353): d(x) = (g - 1) W x + g s B A x with g = m / ||W + s B A||.

The norm is that of each output's row, over inputs and kernel, as peft has it; the magnitude m [outputs] starts as
||W||, so that g is 1. As in section 4.3 of the paper the norm counts as a constant in the gradient.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorastyle.adapters.kinds import Factors, Kind, Layer, Shape, base_weight, precise
from lorastyle.adapters.kinds.lora import pair_fits, uniform
from lorastyle.adapters.products import each_output, low_rank
from lorastyle.adapters.routing import Part
from lorastyle.draws import Key

SMALLEST = 1e-24  # of a squared norm, so that a row of W that is zero does not divide by zero


class Dora(Kind):
    """The kind "dora"; see :class:`lorastyle.adapters.kinds.Kind`."""

    name = "dora"
    title = "DoRA"
    tensors: Mapping[str, str] = {
        "down": "lora_A.weight",
        "up": "lora_B.weight",
        "magnitude": "lora_magnitude_vector",
    }
    forms: Sequence[frozenset[str]] = (frozenset(tensors),)
    config: Mapping[str, Any] = {"use_dora": True}
    needs_weight = True
    reads_output = True

    def init(self, layer: Layer, rank: int, key: Key, purpose: str, settings: Mapping[str, int]) -> dict[str, Tensor]:
        """A as a new Linear's weights are; B is zero; m = ||W||."""
        shapes = self.shapes(layer.shape, rank, settings)
        magnitude = layer.row_squares.clamp(min=SMALLEST).sqrt().view(shapes["magnitude"])
        down = uniform(key, f"{purpose}.down", shapes["down"])
        return {"down": down, "up": torch.zeros(shapes["up"]), "magnitude": magnitude}

    def shapes(self, shape: Shape, rank: int, settings: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        pointwise = (1,) * len(shape.kernel)
        return {
            "down": (rank, shape.inputs, *shape.kernel),
            "up": (shape.outputs, rank, *pointwise),
            "magnitude": (1, shape.outputs, *pointwise) if shape.kernel else (shape.outputs,),
        }

    def rank(self, factors: Factors) -> int:
        return factors["down"].shape[0]

    def fits(self, factors: Factors, shape: Shape | None = None) -> bool:
        if factors.keys() != self.tensors.keys() or not pair_fits(factors, shape):
            return False
        up = factors["up"]
        return factors["magnitude"].shape == ((len(up),) if up.dim() == 2 else (1, len(up), 1, 1))

    def acts_on(self, factors: Factors) -> tuple[int, ...]:
        return (len(factors["up"]), *factors["down"].shape[1:])

    def add(self, y: Tensor, x: Tensor, output: Tensor, factors: Factors, part: Part, layer: Layer) -> Tensor:
        down, up, magnitude = (part.pick(factors[name], precise(y.dtype)) for name in ("down", "up", "magnitude"))
        with torch.autocast(y.device.type, enabled=False):
            growth = magnitude.flatten(1) / _norms(layer, down.detach(), up.detach(), part.scale)
            grown = growth.view(*growth.shape, *(1,) * (up.dim() - 2)) * up
        turned = each_output(part.take(layer.without_bias(output)), (growth - 1).to(y.dtype), layer.shape)
        rows = part.take(y) + part.strengthen(turned)
        inputs = part.take(x).to(y.dtype)
        return part.put(low_rank(rows, inputs, down.to(y.dtype), grown.to(y.dtype), part, layer.shape), y)

    def weight(self, factors: Factors, scale: float, base: Tensor | None = None) -> Tensor:
        weight = base_weight(base, self.name)
        turned = weight + scale * factors["up"].flatten(1) @ factors["down"].flatten(1)
        norms = turned.square().sum(1, keepdim=True).clamp(min=SMALLEST).sqrt()
        change = factors["magnitude"].view(-1, 1) / norms * turned - weight
        return change.view(self.acts_on(factors) if base is None else base.shape)


def _norms(layer: Layer, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
    """||W + s B A|| of each row for each block [blocks, outputs].

    As ||W||^2 + 2 s <W, B A> + s^2 ||B A||^2: that needs no matrix of W's size, and where B is zero it is ||W|| to the
    last bit.
    """
    down, up, scale = down.flatten(2), up.flatten(2).view(*up.shape[:3]), scale[:, None]
    across = ((layer.weight.to(up.dtype).flatten(1) @ down.mT) * up).sum(2)
    own = ((up @ (down @ down.mT)) * up).sum(2)
    return (layer.row_squares + scale * (2 * across + scale * own)).clamp(min=SMALLEST).sqrt()


KIND = Dora()
