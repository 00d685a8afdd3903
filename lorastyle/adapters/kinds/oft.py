"""OFT (Qiu et al. 2023, arXiv 2306.07280): orthogonal blocks turn what a layer puts out, d(x) = (R - I)^T W x.

Cayley's parametrisation makes any square matrix a rotation: Q = blocks - blocks^T, R = (I + Q) (I - Q)^-1. These are
the "oft_blocks" of kohya's tools and of LyCORIS (diag-oft), [count, size, size] over the outputs in order. As the
rotation acts on what the base has computed, W is needed for merging alone.

peft's OFT turns the inputs instead, W' = W R^T with R = (I - Q) (I + Q)^-1. Q's upper triangle is stored, "rotation"
[count, size (size - 1) / 2]; it is read, not trained. There is no alpha; in files of others it bounds Q.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorastyle.adapters.kinds import Factors, Kind, Layer, Shape, base_weight, precise
from lorastyle.adapters.products import dense
from lorastyle.adapters.routing import Part
from lorastyle.draws import Key
from lorastyle.errors import Unsupported


class Oft(Kind):
    """The kind "oft"; its rank is the size of a block. See :class:`lorastyle.adapters.kinds.Kind`."""

    name = "oft"
    title = "OFT"
    tensors: Mapping[str, str] = {"blocks": "oft_blocks", "rotation": "oft_R.weight"}
    forms: Sequence[frozenset[str]] = (frozenset({"blocks"}), frozenset({"rotation"}))
    config: Mapping[str, Any] = {"peft_type": "OFT"}
    scaled = False
    needs_weight = True
    reads_output = True

    def init(self, layer: Layer, rank: int, key: Key, purpose: str, settings: Mapping[str, int]) -> dict[str, Tensor]:
        """Zero, which turns nothing: the gradient does not vanish there, so there is nothing to draw."""
        shapes = self.shapes(layer.shape, rank, settings)
        if shapes["blocks"][1] < 2:
            side = layer.shape.outputs
            fitting = [one for one in range(2, math.isqrt(side) + 1) if side % one == 0]
            what = (
                f"its {side} outputs do not fall into equal blocks of 2 to {rank}, as many as each has outputs or more"
            )
            other = f"raise the rank to {fitting[0]}" if fitting else "choose another kind"
            raise Unsupported(layer.name, what, f"{other}, or targets without this layer")
        return {"blocks": torch.zeros(shapes["blocks"])}

    def shapes(self, shape: Shape, rank: int, settings: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Blocks of the largest size that is at most the rank and divides the outputs into no fewer blocks than that:
        LyCORIS takes the smaller of the two numbers for the size."""
        most = min(rank, math.isqrt(shape.outputs))
        size = max(one for one in range(1, most + 1) if shape.outputs % one == 0)
        return {"blocks": (shape.outputs // size, size, size)}

    def rank(self, factors: Factors) -> int:
        return factors["blocks"].shape[-1] if "blocks" in factors else _side(factors["rotation"].shape[-1])

    def fits(self, factors: Factors, shape: Shape | None = None) -> bool:
        if frozenset(factors) not in self.forms:
            return False
        (held,) = factors.values()
        if held.dim() != (3 if "blocks" in factors else 2) or not held.numel():
            return False
        size = self.rank(factors)
        if tuple(held.shape[1:]) != ((size, size) if "blocks" in factors else (size * (size - 1) // 2,)):
            return False
        outputs, inputs = self.acts_on(factors)
        flat = (1, 1) if shape is None else (shape.outputs, shape.inputs * math.prod(shape.kernel))
        return shape is None or (outputs == flat[0] if "blocks" in factors else inputs == flat[1])

    def acts_on(self, factors: Factors) -> tuple[int, ...]:
        (held,) = factors.values()
        turned = len(held) * self.rank(factors)
        return (turned, 1) if "blocks" in factors else (1, turned)

    def add(self, y: Tensor, x: Tensor, output: Tensor, factors: Factors, part: Part, layer: Layer) -> Tensor:
        held = {name: part.pick(factor, precise(y.dtype)) for name, factor in factors.items()}
        with torch.autocast(y.device.type, enabled=False):
            turn = _turn(held)
            if "rotation" in held:
                turn = _input_change(layer.weight.to(turn.dtype).flatten(1), turn)
        if "blocks" in held:
            added = _turned(part.take(layer.without_bias(output)), turn.to(y.dtype), layer.shape)
        else:
            changes = turn.to(y.dtype).view(len(turn), *layer.shape.weight)
            added = dense(part.take(x).to(y.dtype), changes, layer.shape)
        return part.put(part.take(y) + part.strengthen(added), y)

    def weight(self, factors: Factors, scale: float, base: Tensor | None = None) -> Tensor:
        weight, turn = base_weight(base, self.name), _turn(factors)
        if "blocks" in factors:
            change = torch.einsum("knm,knj->kmj", turn, weight.unflatten(0, turn.shape[:2]))
        else:
            change = _input_change(weight, turn[None])
        return change.reshape(weight.shape if base is None else base.shape)


def _turn(factors: Factors) -> Tensor:
    """R - I [..., count, size, size] = 2 Q (I - Q)^-1, which is exactly zero where Q is; -Q for Q in peft's way."""
    if "blocks" in factors:
        skew = factors["blocks"] - factors["blocks"].mT
    else:
        held = factors["rotation"]
        size = _side(held.shape[-1])
        rows, columns = torch.triu_indices(size, size, 1, device=held.device)
        lower = torch.zeros(*held.shape[:-1], size, size, device=held.device, dtype=held.dtype)
        lower[..., columns, rows] = held
        skew = lower - lower.mT
    one = torch.eye(skew.shape[-1], device=skew.device, dtype=skew.dtype)
    return torch.linalg.solve(one - skew, 2 * skew, left=False)


def _turned(output: Tensor, turn: Tensor, shape: Shape) -> Tensor:
    """(R - I)^T W x from W x [rows, ...], each block of rows with its own turn [blocks, count, size, size]."""
    blocks, count, size, _ = turn.shape
    if shape.kernel:
        maps = output.reshape(blocks, -1, count, size, output[0, 0].numel())
        return (turn.mT[:, None] @ maps).view(output.shape)
    tokens = output.reshape(blocks, -1, count, size).transpose(1, 2)
    return (tokens @ turn).transpose(1, 2).reshape(output.shape)


def _input_change(weight: Tensor, turn: Tensor) -> Tensor:
    """W (R - I)^T [blocks, outputs, inputs times kernel] for turns [blocks, count, size, size] of the inputs."""
    parts = weight.unflatten(1, turn.shape[1:3])
    return torch.einsum("okc,bkdc->bokd", parts, turn).flatten(2)


def _side(entries: int) -> int:
    """The side of a square matrix with so many entries above its diagonal."""
    return (1 + math.isqrt(1 + 8 * entries)) // 2


KIND = Oft()
