"""LoRA (Hu et al. 2021, arXiv 2106.09685): d(x) = s B A x with A [rank, inputs], B [outputs, rank].

s = alpha / rank, or alpha / sqrt(rank) for rsLoRA (Kalajdzievski 2023, arXiv 2312.03732). On a convolution A is a
convolution of the same geometry to `rank` channels, and B a pointwise one back.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from lorastyle import draws
from lorastyle.adapters.kinds import Factors, Shape
from lorastyle.adapters.routing import Part
from lorastyle.draws import Key


class Lora:
    """The kind "lora"; see :class:`lorastyle.adapters.kinds.Kind`."""

    name = "lora"
    tensors: Mapping[str, str] = {"down": "lora_A.weight", "up": "lora_B.weight"}
    config: Mapping[str, bool] = {"use_dora": False}
    reads_output = False

    def init(self, shape: Shape, rank: int, key: Key, purpose: str) -> dict[str, Tensor]:
        """A as uniform as a new Linear's weights (He et al. 2015, arXiv 1502.01852, with a = sqrt(5)); B is zero."""
        shapes = self.shapes(shape, rank)
        normal = torch.from_numpy(draws.normal(key, f"{purpose}.down", shapes["down"]))
        uniform = torch.erf(normal / math.sqrt(2))  # in -1..1
        return {"down": uniform / math.sqrt(math.prod(shapes["down"][1:])), "up": torch.zeros(shapes["up"])}

    def rank(self, factors: Factors) -> int:
        return factors["down"].shape[0]

    def shapes(self, shape: Shape, rank: int) -> dict[str, tuple[int, ...]]:
        pointwise = (1,) * len(shape.kernel)
        return {"down": (rank, shape.inputs, *shape.kernel), "up": (shape.outputs, rank, *pointwise)}

    def fits(self, factors: Factors) -> bool:
        down, up = factors["down"].shape, factors["up"].shape
        return len(down) == len(up) in (2, 4) and down[0] == up[1] > 0 and tuple(up[2:]) == (1,) * len(up[2:])

    def add(self, y: Tensor, x: Tensor, output: Tensor, factors: Factors, part: Part, shape: Shape) -> Tensor:
        """Tokens [batch, ..., inputs], or maps [batch, inputs, height, width] for a convolution."""
        down, up = part.pick(factors["down"], y.dtype), part.pick(factors["up"], y.dtype)
        rows, added = part.take(x).to(y.dtype), _on_maps if shape.kernel else _on_tokens
        return part.put(added(part.take(y), rows, down, up, part, shape), y)

    def weight(self, factors: Factors, scale: float) -> Tensor:
        down, up = factors["down"], factors["up"]
        return (scale * up.flatten(1) @ down.flatten(1)).view(len(up), *down.shape[1:])


def _on_tokens(y: Tensor, x: Tensor, down: Tensor, up: Tensor, part: Part, shape: Shape) -> Tensor:
    """As one matrix product for each block: [blocks, tokens of a block, features]."""
    if part.blocks == 1:  # the plain product takes half the time of a batched one of one
        small = part.amplify(x.reshape(-1, shape.inputs) @ down.squeeze(0).mT)
        return torch.addmm(y.reshape(-1, shape.outputs), small, up.squeeze(0).mT).view(y.shape)
    tokens = x.reshape(part.blocks, -1, shape.inputs)
    small = part.amplify(torch.bmm(tokens, down.mT))
    return torch.baddbmm(y.reshape(part.blocks, -1, shape.outputs), small, up.mT).view(y.shape)


def _on_maps(y: Tensor, x: Tensor, down: Tensor, up: Tensor, part: Part, shape: Shape) -> Tensor:
    """As one matrix product for each row: [rows, channels, height * width]."""
    if shape.pointwise:
        small = torch.bmm(_each_row(down, len(x)), x.flatten(2))
    else:
        small = _convolve(x, down, shape).flatten(2)
    return torch.baddbmm(y.flatten(2), _each_row(up, len(y)), part.amplify(small)).view(y.shape)


def _convolve(maps: Tensor, down: Tensor, shape: Shape) -> Tensor:
    """Each block's own convolution of its rows, as one convolution in groups: [rows, rank, height, width]."""
    blocks = len(down)
    if blocks == 1:
        return conv2d(maps, down.squeeze(0), None, shape.stride, shape.padding)
    beside = maps.reshape(blocks, -1, *maps.shape[1:]).transpose(0, 1).flatten(1, 2)
    small = conv2d(beside, down.flatten(0, 1), None, shape.stride, shape.padding, groups=blocks)
    return small.unflatten(1, (blocks, -1)).transpose(0, 1).flatten(0, 1)


def _each_row(factors: Tensor, rows: int) -> Tensor:
    """Factors [blocks, a, b, 1, 1] as matrices [rows, a, b], without a copy for one block or one row in each."""
    blocks, a, b = factors.shape[:3]
    return factors.view(blocks, 1, a, b).expand(blocks, rows // blocks, a, b).reshape(rows, a, b)


KIND = Lora()
