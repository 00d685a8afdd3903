"""LoRA (Hu et al. 2021, arXiv 2106.09685): d(x) = s B A x with A [rank, inputs], B [outputs, rank].

s = alpha / rank, or alpha / sqrt(rank) for rsLoRA (Kalajdzievski 2023, arXiv 2312.03732). On a convolution A is a
convolution of the same geometry to `rank` channels, and B a pointwise one back.

The two autograd functions below exist for speed. They save only x and the small product A x, add in place into the
base layer's output, and choose for each gradient the order of factors in which the matrix product is fastest.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
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
        if shape.kernel:
            return _OnMaps.apply(y.contiguous(), x, factors["down"], factors["up"], part, shape)
        return _OnTokens.apply(y.contiguous(), x, factors["down"], factors["up"], part)

    def weight(self, factors: Factors, scale: float) -> Tensor:
        down, up = factors["down"], factors["up"]
        return (scale * up.flatten(1) @ down.flatten(1)).view(len(up), *down.shape[1:])


class _OnTokens(torch.autograd.Function):
    """Adds s B A x to y in place. Shapes inside: [blocks, tokens of a block, features]."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, down: Tensor, up: Tensor, part: Part) -> Tensor:
        tokens, rows = _blocks(part.take(x), part, y.dtype), part.take(y)
        small = part.amplify(torch.bmm(tokens, part.pick(down, y.dtype).mT).to(y.dtype))
        rows.view(part.blocks, -1, y.shape[-1]).baddbmm_(small, part.pick(up, y.dtype).mT)
        part.put(rows, y)
        ctx.save_for_backward(x, small, down, up)
        ctx.part = part
        ctx.mark_dirty(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, small, down, up = ctx.saved_tensors
        part, dtype = ctx.part, gradient.dtype
        gradient = gradient.contiguous()  # handed on as such, the base's own backward need not copy it again
        of_y = _blocks(part.take(gradient), part, dtype)
        of_small = part.amplify(torch.bmm(of_y, part.pick(up, dtype)).to(dtype))
        of_x = None
        if ctx.needs_input_grad[1]:
            of_x = torch.bmm(of_small, part.pick(down, dtype)).view(-1, *x.shape[1:])
            of_x = part.spread(of_x.to(x.dtype), x)
        of_down = torch.bmm(of_small.mT, _blocks(part.take(x), part, dtype))
        of_up = torch.bmm(small.mT, of_y).mT
        return gradient, of_x, part.unpick(of_down, down), part.unpick(of_up, up), None


class _OnMaps(torch.autograd.Function):
    """Adds s B A x to y in place. Shapes inside: [rows, channels, height * width]."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, down: Tensor, up: Tensor, part: Part, shape: Shape) -> Tensor:
        rows = part.take(y)
        small = _convolve(part.take(x).to(y.dtype), part.pick(down, y.dtype), shape)
        small = part.amplify(small.to(y.dtype).contiguous())
        rows.flatten(2).baddbmm_(_each_row(part.pick(up, y.dtype), len(rows)), small)
        part.put(rows, y)
        ctx.save_for_backward(x, small, down, up)
        ctx.part, ctx.shape = part, shape
        ctx.mark_dirty(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, small, down, up = ctx.saved_tensors
        part, dtype = ctx.part, gradient.dtype
        gradient = gradient.contiguous()
        maps = part.take(gradient)
        of_y = maps.flatten(2)
        of_small = torch.bmm(_each_row(part.pick(up, dtype), len(maps)).mT, of_y).to(dtype)
        of_small = part.amplify(of_small).view(len(maps), -1, *maps.shape[2:])
        of_x, of_down = _convolve_backward(
            of_small, part.take(x).to(dtype), part.pick(down, dtype), ctx.shape, ctx.needs_input_grad[1]
        )
        of_up = _sum_rows(torch.bmm(of_y, small.mT), part.blocks).view(part.blocks, *up.shape[1:])
        of_x = None if of_x is None else part.spread(of_x.to(x.dtype), x)
        return gradient, of_x, part.unpick(of_down, down), part.unpick(of_up, up), None, None


def _convolve(maps: Tensor, down: Tensor, shape: Shape) -> Tensor:
    """Each block's own convolution of its rows: [rows, rank, height * width]."""
    if shape.pointwise:
        return torch.bmm(_each_row(down, len(maps)), maps.flatten(2))
    blocks = len(down)
    folded = conv2d(_fold(maps, blocks), down.flatten(0, 1), None, shape.stride, shape.padding, groups=blocks)
    return _unfold(folded, blocks).flatten(2)


def _convolve_backward(
    gradient: Tensor, maps: Tensor, down: Tensor, shape: Shape, needs_x: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradients of `_convolve` for the maps (where needed) and for the factors [blocks, ...]."""
    blocks = len(down)
    if shape.pointwise:
        flat = gradient.flatten(2)
        of_down = _sum_rows(torch.bmm(flat, maps.flatten(2).mT), blocks).view(down.shape)
        return torch.bmm(_each_row(down, len(maps)).mT, flat).view(maps.shape) if needs_x else None, of_down
    of_x, of_down, _ = torch.ops.aten.convolution_backward(
        _fold(gradient, blocks),
        _fold(maps, blocks),
        down.flatten(0, 1),
        None,
        shape.stride,
        shape.padding,
        [1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=blocks,
        output_mask=[needs_x, True, False],
    )
    return _unfold(of_x, blocks) if needs_x else None, of_down.view(down.shape)


def _blocks(tokens: Tensor, part: Part, dtype: torch.dtype) -> Tensor:
    """[rows, ..., features] as [blocks, tokens of a block, features]."""
    return tokens.reshape(part.blocks, -1, tokens.shape[-1]).to(dtype)


def _each_row(factors: Tensor, rows: int) -> Tensor:
    """Factors [blocks, a, b, 1, 1] as matrices [rows, a, b], without a copy for one block or one row in each."""
    matrices = factors.flatten(3).squeeze(3) if factors.dim() > 3 else factors
    return matrices[:, None].expand(-1, rows // len(factors), -1, -1).flatten(0, 1)


def _sum_rows(matrices: Tensor, blocks: int) -> Tensor:
    """[rows, a, b] summed over the rows of each block, [blocks, a, b]."""
    return matrices.view(blocks, -1, *matrices.shape[1:]).sum(1)


def _fold(maps: Tensor, blocks: int) -> Tensor:
    """[rows, channels, height, width] with the blocks beside each other, [rows of a block, blocks * channels, ...]."""
    return maps.reshape(blocks, -1, *maps.shape[1:]).transpose(0, 1).flatten(1, 2)


def _unfold(maps: Tensor, blocks: int) -> Tensor:
    """The inverse of `_fold`."""
    return maps.unflatten(1, (blocks, -1)).transpose(0, 1).flatten(0, 1)


KIND = Lora()
