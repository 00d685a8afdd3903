"""Layers that are one layer in other tools, such as q, k and v: putting their factors together, and apart again.

A LoRA whose parts were trained apart becomes one of the sum of their ranks: the downs stand one under another and the
ups on the diagonal, [[B1, 0], [0, B2]] [[A1], [A2]] = [[B1 A1], [B2 A2]]. A part that was not trained has zero rows.
Parts that share one down need no more than its rank.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorastyle.errors import Unsupported
from lorastyle.interchange.spelling import Module

DO = "choose a format that keeps these layers apart, or give a rank to have it converted to a LoRA"
ELSEWHERE = "convert it to a LoRA with the tool that made it"  # reading converts nothing


def fuse(name: str, parts: Mapping[int, Module], widths: Sequence[int]) -> Module:
    """The parts by index as one module.

    Raises Unsupported, saying `name`, where adapters of this kind cannot be put together.
    """
    modules = list(parts.values())
    kind = modules[0].kind
    if kind not in _FUSE:
        raise Unsupported(name, f"the parts of this fused layer cannot be written as one {kind}", DO)
    rows = _rows(name, parts, widths)
    factors = _FUSE[kind](name, {index: _unscaled(part) for index, part in parts.items()}, rows)
    shared = {part.scale for part in modules}
    if kind in _SCALED and len(shared) == 1:  # keeps the factors' own bits
        factors = _FUSE[kind](name, {index: part.factors for index, part in parts.items()}, rows)
        return Module(kind, factors, shared.pop())
    return Module(kind, factors, 1.0)


def split(name: str, module: Module, widths: Sequence[int]) -> dict[int, Module]:
    """The parts by index of a fused module; parts that change nothing are left out, unless all do.

    Raises Unsupported, saying `name`, where adapters of this kind cannot be taken apart.
    """
    if module.kind not in _SPLIT:
        raise Unsupported(name, f"a {module.kind} of this fused layer cannot be taken apart", ELSEWHERE)
    parts = _SPLIT[module.kind](name, module.factors, widths)
    return {index: Module(module.kind, factors, module.scale) for index, factors in parts.items()}


def _outputs(module: Module) -> int:
    return module.made.acts_on(module.factors)[0]


def _rows(name: str, parts: Mapping[int, Module], widths: Sequence[int]) -> list[slice]:
    """The rows of each part, present or not."""
    units = {_outputs(part) / widths[index] for index, part in parts.items()}
    unit = units.pop()
    if units or unit != int(unit):
        raise Unsupported(name, "the parts of this fused layer are not as wide as in the family", "check the base")
    ends = [int(unit) * sum(widths[: index + 1]) for index in range(len(widths))]
    return [slice(end - int(unit) * width, end) for end, width in zip(ends, widths, strict=True)]


def _pieces(name: str, rows: int, widths: Sequence[int]) -> list[slice]:
    unit, rest = divmod(rows, sum(widths))
    if rest:
        raise Unsupported(name, f"its {rows} rows are no multiple of {sum(widths)}", ELSEWHERE)
    ends = [unit * sum(widths[: index + 1]) for index in range(len(widths))]
    return [slice(end - unit * width, end) for end, width in zip(ends, widths, strict=True)]


def _unscaled(part: Module) -> dict[str, Tensor]:
    """The factors with the scale in the first of those that stand on the diagonal."""
    into = next((name for name in ("up", "w1_a") if name in part.factors), None)
    return {name: factor * part.scale if name == into else factor for name, factor in part.factors.items()}


def _diagonal(blocks: Mapping[int, Tensor], rows: Sequence[slice]) -> Tensor:
    """Blocks [rows, rank] on the diagonal of a matrix with all rows."""
    fused = torch.zeros(rows[-1].stop, sum(block.shape[1] for block in blocks.values()))
    column = 0
    for index, block in blocks.items():
        fused[rows[index], column : column + block.shape[1]] = block
        column += block.shape[1]
    return fused


def _all_there(name: str, parts: Mapping[int, object], rows: Sequence[slice]) -> None:
    if len(parts) < len(rows):
        what = "only some of the parts of this fused layer were trained, and a DoRA needs magnitudes for all rows"
        raise Unsupported(name, what, DO)


# lora and dora


def _fuse_lora(name: str, parts: Mapping[int, Mapping[str, Tensor]], rows: Sequence[slice]) -> dict[str, Tensor]:
    downs = {index: part["down"] for index, part in parts.items()}
    first = next(iter(downs.values()))
    if len(parts) == len(rows) and all(torch.equal(first, down) for down in downs.values()):
        return {"down": first, "up": torch.cat([parts[index]["up"] for index in range(len(rows))])}
    ups = {index: part["up"] for index, part in parts.items()}
    return {"down": torch.cat(list(downs.values())), "up": _diagonal(ups, rows)}


def _split_lora(name: str, factors: Mapping[str, Tensor], widths: Sequence[int]) -> dict[int, dict[str, Tensor]]:
    ups = [factors["up"][piece] for piece in _pieces(name, len(factors["up"]), widths)]
    used = [up.abs().flatten(1).amax(0) > 0 for up in ups]  # ranks that other parts alone use are theirs
    if not any(use.any() for use in used):
        used = [torch.ones_like(use) for use in used]
    return {
        index: {"down": factors["down"][use], "up": up[:, use]}
        for index, (up, use) in enumerate(zip(ups, used, strict=True))
        if use.any()
    }


def _fuse_dora(name: str, parts: Mapping[int, Mapping[str, Tensor]], rows: Sequence[slice]) -> dict[str, Tensor]:
    _all_there(name, parts, rows)
    magnitudes = torch.cat([parts[index]["magnitude"] for index in range(len(rows))])
    return {**_fuse_lora(name, parts, rows), "magnitude": magnitudes}


def _split_dora(name: str, factors: Mapping[str, Tensor], widths: Sequence[int]) -> dict[int, dict[str, Tensor]]:
    pieces = _pieces(name, len(factors["up"]), widths)
    return {
        index: {"down": factors["down"], "up": factors["up"][piece], "magnitude": factors["magnitude"][piece]}
        for index, piece in enumerate(pieces)
    }


# loha


def _fuse_loha(name: str, parts: Mapping[int, Mapping[str, Tensor]], rows: Sequence[slice]) -> dict[str, Tensor]:
    if any("t1" in part or "t2" in part for part in parts.values()):
        raise Unsupported(name, "a convolution in three parts is never fused", DO)
    fused = {}
    for product in ("w1", "w2"):
        fused[f"{product}_a"] = _diagonal({index: part[f"{product}_a"] for index, part in parts.items()}, rows)
        fused[f"{product}_b"] = torch.cat([part[f"{product}_b"] for part in parts.values()])
    return fused


def _split_loha(name: str, factors: Mapping[str, Tensor], widths: Sequence[int]) -> dict[int, dict[str, Tensor]]:
    parts = {}
    for index, piece in enumerate(_pieces(name, len(factors["w1_a"]), widths)):
        first, second = factors["w1_a"][piece], factors["w2_a"][piece]
        used = (first.abs().amax(0) > 0) | (second.abs().amax(0) > 0)
        if used.any():
            parts[index] = {
                "w1_a": first[:, used],
                "w1_b": factors["w1_b"][used],
                "w2_a": second[:, used],
                "w2_b": factors["w2_b"][used],
            }
    return parts


# lokr and oft


def _split_lokr(name: str, factors: Mapping[str, Tensor], widths: Sequence[int]) -> dict[int, dict[str, Tensor]]:
    """The rows of a Kronecker product's first factor are blocks of rows of the product."""
    outer = "w1" if "w1" in factors else "w1_a"
    pieces = _pieces(name, len(factors[outer]), widths)
    return {index: {**factors, outer: factors[outer][piece]} for index, piece in enumerate(pieces)}


def _fuse_oft(name: str, parts: Mapping[int, Mapping[str, Tensor]], rows: Sequence[slice]) -> dict[str, Tensor]:
    sizes = {part["blocks"].shape[-1] if "blocks" in part else 0 for part in parts.values()}
    size = sizes.pop()
    if sizes or not size or any((piece.stop - piece.start) % size for piece in rows):
        raise Unsupported(name, "the rotations of the parts of this fused layer are of different sizes", DO)
    counts = [(piece.stop - piece.start) // size for piece in rows]
    still = [torch.zeros(count, size, size) for count in counts]
    blocks = [parts[index]["blocks"] if index in parts else still[index] for index in range(len(rows))]
    return {"blocks": torch.cat(blocks)}


def _split_oft(name: str, factors: Mapping[str, Tensor], widths: Sequence[int]) -> dict[int, dict[str, Tensor]]:
    if "blocks" not in factors:
        raise Unsupported(name, "a rotation of the inputs cannot be taken apart", ELSEWHERE)
    pieces = _pieces(name, len(factors["blocks"]), widths)
    parts = {index: {"blocks": factors["blocks"][piece]} for index, piece in enumerate(pieces)}
    turned = {index: part for index, part in parts.items() if part["blocks"].any()}
    return turned or parts


_FUSE = {"lora": _fuse_lora, "dora": _fuse_dora, "loha": _fuse_loha, "oft": _fuse_oft}
_SPLIT = {"lora": _split_lora, "dora": _split_dora, "loha": _split_loha, "lokr": _split_lokr, "oft": _split_oft}
_SCALED = ("lora", "dora", "loha")
