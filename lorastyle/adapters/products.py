"""Matrix products and convolutions of the rows of a part, each block of rows with the factors of its own member.

Rows of tokens are [rows, ..., inputs], rows of maps [rows, inputs, height, width].
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from lorastyle.adapters.kinds import Shape
from lorastyle.adapters.routing import Part


def low_rank_tokens(y: Tensor, x: Tensor, down: Tensor, up: Tensor, part: Part, shape: Shape) -> Tensor:
    """y + gain * up down x, as one matrix product for each block: [blocks, tokens of a block, features].

    down: [blocks, rank, inputs]. up: [blocks, outputs, rank].
    """
    if part.blocks == 1:  # the plain product takes half the time of a batched one of one
        small = part.amplify(x.reshape(-1, shape.inputs) @ down.squeeze(0).mT)
        return torch.addmm(y.reshape(-1, shape.outputs), small, up.squeeze(0).mT).view(y.shape)
    tokens = x.reshape(part.blocks, -1, shape.inputs)
    small = part.amplify(torch.bmm(tokens, down.mT))
    return torch.baddbmm(y.reshape(part.blocks, -1, shape.outputs), small, up.mT).view(y.shape)


def low_rank_maps(y: Tensor, x: Tensor, down: Tensor, up: Tensor, part: Part, shape: Shape) -> Tensor:
    """y + gain * up down x, as one matrix product for each row: [rows, channels, height * width].

    down: [blocks, rank, inputs, *kernel]. up: [blocks, outputs, rank, 1, 1].
    """
    if shape.pointwise:
        small = torch.bmm(each_row(down.flatten(2), len(x)), x.flatten(2))
    else:
        small = convolve(x, down, shape).flatten(2)
    return torch.baddbmm(y.flatten(2), each_row(up.flatten(2), len(y)), part.amplify(small)).view(y.shape)


def low_rank(y: Tensor, x: Tensor, down: Tensor, up: Tensor, part: Part, shape: Shape) -> Tensor:
    """y + gain * up down x for the rows of a part, on tokens or maps."""
    return (low_rank_maps if shape.kernel else low_rank_tokens)(y, x, down, up, part, shape)


def dense(x: Tensor, weights: Tensor, shape: Shape) -> Tensor:
    """What layers of that shape with these weights [blocks, outputs, inputs, *kernel] give for x [rows, ...]."""
    if shape.kernel:
        return convolve(x, weights, shape)
    tokens = x.reshape(len(weights), -1, x.shape[-1])
    return torch.bmm(tokens, weights.mT).view(*x.shape[:-1], weights.shape[1])


def convolve(maps: Tensor, weights: Tensor, shape: Shape) -> Tensor:
    """Each block's own convolution of its rows, as one in groups: [rows, outputs, height, width].

    weights: [blocks, outputs, inputs, *kernel], of which outputs and inputs need not be those of `shape`.
    """
    blocks = len(weights)
    if blocks == 1:
        return conv2d(maps, weights.squeeze(0), None, shape.stride, shape.padding)
    beside = maps.reshape(blocks, -1, *maps.shape[1:]).transpose(0, 1).flatten(1, 2)
    small = conv2d(beside, weights.flatten(0, 1), None, shape.stride, shape.padding, groups=blocks)
    return small.unflatten(1, (blocks, -1)).transpose(0, 1).flatten(0, 1)


def each_row(factors: Tensor, rows: int) -> Tensor:
    """Matrices [blocks, a, b] as [rows, a, b], without a copy for one block or one row in each."""
    blocks, a, b = factors.shape
    return factors.view(blocks, 1, a, b).expand(blocks, rows // blocks, a, b).reshape(rows, a, b)


def each_output(rows: Tensor, factors: Tensor, shape: Shape) -> Tensor:
    """Rows [rows, ...] with each output multiplied by its block's factor [blocks, outputs]."""
    blocks = len(factors)
    if shape.kernel:
        return (rows.reshape(blocks, -1, *rows.shape[1:]) * factors[:, None, :, None, None]).view(rows.shape)
    return (rows.reshape(blocks, -1, rows.shape[-1]) * factors[:, None]).view(rows.shape)
