"""Which row of a batch uses which adapters, and how strongly: the `w` of the one equation."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Self

import torch
from torch import Tensor

UNUSED = -1  # the index of a place that no adapter fills


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a batch that use members of one stack, each row one member.

    The rows fall into `blocks` consecutive blocks of equal length, all rows of a block using the same member: a solo
    run is one block, a cohort one block for each member, and serving may come down to one block for each row.

    rows: which rows of the batch, [rows]; None for all of them in order.
    members: the member of each block, [blocks]; None where the blocks are the stack's members in order.
    gain: weight times scale of each row, [rows]; None where it is 1 for all.
    strengths: the weight of each row. scales: the scale of each block's member.
    """

    rows: slice | Tensor | None
    blocks: int
    members: Tensor | None
    gain: Tensor | None
    strengths: tuple[float, ...]
    scales: tuple[float, ...]
    device: torch.device

    @cached_property
    def strength(self) -> Tensor | None:
        """The weight of each row, [rows]; None where it is 1 for all."""
        return _unless_one(self.strengths, self.device)

    @cached_property
    def scale(self) -> Tensor:
        """The scale of each block's member, [blocks]."""
        return torch.tensor(self.scales, dtype=torch.float32, device=self.device)

    def take(self, batch: Tensor) -> Tensor:
        """The rows [rows, ...] of a batch [batch, ...]."""
        if self.rows is None:
            return batch
        return batch[self.rows] if isinstance(self.rows, slice) else batch.index_select(0, self.rows)

    def put(self, rows: Tensor, batch: Tensor) -> Tensor:
        """The batch [batch, ...] with these rows [rows, ...] in the place of its own."""
        rows = rows.to(batch.dtype)
        if self.rows is None:
            return rows
        if isinstance(self.rows, slice):
            return batch.slice_scatter(rows, 0, self.rows.start, self.rows.stop)
        return batch.index_copy(0, self.rows, rows)

    def pick(self, factors: Tensor, dtype: torch.dtype) -> Tensor:
        """The factors of each block [blocks, ...] from those of all members [members, ...]."""
        return (factors if self.members is None else factors.index_select(0, self.members)).to(dtype)

    def amplify(self, rows: Tensor) -> Tensor:
        """Each row times its gain; any shape that holds one row after the other."""
        return _times(rows, self.gain)

    def strengthen(self, rows: Tensor) -> Tensor:
        """Each row times its weight alone, for what has its member's scale in it already."""
        return _times(rows, self.strength)


@dataclass(frozen=True, eq=False)
class Routing:
    """Row b of a batch uses the adapters `index[b]` with the strengths `weight[b]`.

    index: slots of an injection [batch, k], -1 where a place is unused. weight: [batch, k], 0 where it is unused.
    With k = 0 every row is the base's own.
    """

    index: Tensor
    weight: Tensor
    _parts: dict[tuple[object, ...], list[Part]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def base(cls, batch: int) -> Self:
        """No adapter on any row."""
        return cls.rows([{}] * batch)

    @classmethod
    def rows(cls, rows: Sequence[Mapping[int, float]]) -> Self:
        """From the slots and strengths of each row. Strength 0 is the same as not being named."""
        used = [[(slot, weight) for slot, weight in row.items() if weight] for row in rows]
        places = max(map(len, used), default=0)
        full = [row + [(UNUSED, 0.0)] * (places - len(row)) for row in used]
        index = torch.tensor([[slot for slot, _ in row] for row in full], dtype=torch.long)
        weight = torch.tensor([[weight for _, weight in row] for row in full], dtype=torch.float32)
        return cls(index.view(len(rows), places), weight.view(len(rows), places))

    @property
    def batch(self) -> int:
        """How many rows it is for."""
        return self.index.shape[0]

    def repeat(self, times: int) -> "Routing":
        """The same rows `times` times one after the other, as the halves of classifier-free guidance are."""
        return Routing(self.index.repeat(times, 1), self.weight.repeat(times, 1))

    def parts(self, slots: tuple[int, ...], scales: tuple[float, ...], device: torch.device) -> list[Part]:
        """What this routing asks of a stack whose members are at these slots and have these scales.

        It is worked out once and remembered: most layers of a model have the same members. A row that names several
        members of the stack has one of them in each part, and is in no more parts than that, so that nothing that
        one member computes can reach a row that does not use it.
        """
        key = (slots, scales, device)
        if key not in self._parts:
            self._parts[key] = list(self._worked_out(slots, scales, device))
        return self._parts[key]

    def _worked_out(self, slots: tuple[int, ...], scales: tuple[float, ...], device: torch.device) -> Iterator[Part]:
        places = {slot: place for place, slot in enumerate(slots)}
        named = [
            [(places[slot], weight) for slot, weight in zip(*row, strict=True) if slot in places]
            for row in zip(self.index.tolist(), self.weight.tolist(), strict=True)
        ]
        for turn in range(max(map(len, named), default=0)):
            rows = [row for row, uses in enumerate(named) if turn < len(uses)]
            members, strengths = zip(*(named[row][turn] for row in rows), strict=True)
            yield _part(rows, members, strengths, self.batch, scales, device)


class Router:
    """Holds the routing that the layers of one injection follow."""

    def __init__(self) -> None:
        self.routing: Routing | None = None

    @contextmanager
    def use(self, routing: Routing | None) -> Iterator[None]:
        """Follow this routing inside the block; outside, and with None, every layer is the base's own.

        A training step keeps it open until backward has ended: gradient checkpointing runs the forward pass again.
        """
        before, self.routing = self.routing, routing
        try:
            yield
        finally:
            self.routing = before


def _part(
    rows: list[int],
    members: Sequence[int],
    strengths: tuple[float, ...],
    batch: int,
    scales: Sequence[float],
    device: torch.device,
) -> Part:
    length = math.gcd(*(len(list(run)) for _, run in groupby(members)))
    blocks = members[::length]
    gains = [strength * scales[member] for strength, member in zip(strengths, members, strict=True)]
    return Part(
        rows=_rows(rows, batch, device),
        blocks=len(blocks),
        members=None if blocks == tuple(range(len(scales))) else torch.tensor(blocks, device=device),
        gain=_unless_one(gains, device),
        strengths=strengths,
        scales=tuple(scales[member] for member in blocks),
        device=device,
    )


def _unless_one(values: Sequence[float], device: torch.device) -> Tensor | None:
    return None if set(values) == {1.0} else torch.tensor(values, dtype=torch.float32, device=device)


def _times(rows: Tensor, gain: Tensor | None) -> Tensor:
    if gain is None:
        return rows
    return (rows.reshape(len(gain), -1) * gain[:, None].to(rows.dtype)).view(rows.shape)


def _rows(rows: list[int], batch: int, device: torch.device) -> slice | Tensor | None:
    if len(rows) == batch:
        return None
    if rows == list(range(rows[0], rows[-1] + 1)):
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows, device=device)
