"""The routed layer: a frozen layer of the base and the adapters stacked on it."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from lorastyle.adapters.kinds import Factors, Kind, Layer
from lorastyle.adapters.routing import Router
from lorastyle.errors import LorastyleError


class Stack(nn.Module):
    """The factors of the members of one kind and shape in one layer: parameters [members, ...], always float32.

    slots: where routings find the members. scales: the `s` of each member.
    """

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.slots: tuple[int, ...] = ()
        self.scales: tuple[float, ...] = ()

    def add(self, slot: int, scale: float, factors: Factors) -> None:
        """Put a member with these factors after the others."""
        for name in sorted(factors):
            new = factors[name].detach().to(torch.float32)[None]
            old = self.factors.get(name)
            self._replace(name, new.clone() if old is None else torch.cat([old.detach(), new.to(old.device)]))
        self.slots, self.scales = (*self.slots, slot), (*self.scales, scale)

    def remove(self, slot: int) -> None:
        """Take a member out; the others keep their slots."""
        kept = [place for place, held in enumerate(self.slots) if held != slot]
        for name, factors in list(self.factors.items()):
            self._replace(name, factors.detach()[kept])
        self.slots, self.scales = tuple(self.slots[at] for at in kept), tuple(self.scales[at] for at in kept)

    @property
    def factors(self) -> dict[str, nn.Parameter]:
        """The factors of all members, each [members, ...], by name."""
        return cast(dict[str, nn.Parameter], self._parameters)

    def _replace(self, name: str, factors: Tensor) -> None:
        self.register_parameter(name, nn.Parameter(factors))


class RoutedLayer(nn.Module):
    """y = W x + sum of w d(x, W x): stands in the place of the base's layer and follows the router.

    Attributes that it does not have itself are the base layer's.
    """

    def __init__(self, name: str, base: nn.Module, router: Router) -> None:
        super().__init__()
        self.name, self.router, self.layer = name, router, Layer.of(name, base)
        self.base = base
        self.stacks: dict[str, Stack] = {}
        self._keeps_output = False

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, x: Tensor) -> Tensor:
        """x [batch, ...] to y [batch, ...]; bitwise the base's own where no adapter of this layer is routed.

        Raises LorastyleError where the batch is not the routing's.
        """
        # Not self.base: the slow way to a module's attribute is felt in every layer.
        output = self._modules["base"](x)  # type: ignore[misc]
        routing = self.router.routing
        if routing is None:
            return output
        if x.shape[0] != routing.batch:
            what = f"a batch of {len(x)} came to {self.name}, but the routing is for {routing.batch} rows"
            raise LorastyleError(what)
        y = output.clone() if self._keeps_output else output
        for stack in self.stacks.values():
            for part in routing.parts(stack.slots, stack.scales, x.device):
                y = stack.kind.add(y, x, output, stack.factors, part, self.layer)
        return y

    def add(self, kind: Kind, slot: int, scale: float, factors: Factors) -> None:
        """Add a member to the stack of its kind and shapes."""
        shapes = ("x".join(map(str, factors[name].shape)) for name in sorted(factors))
        key = "_".join([kind.name, *shapes])
        if key not in self.stacks:
            self.stacks[key] = Stack(kind)
            self.register_module(key, self.stacks[key])
        self.stacks[key].add(slot, scale, factors)
        self._keeps_output |= kind.reads_output

    def remove(self, slot: int) -> None:
        """Take a member out, if it has factors here; a stack without members goes."""
        for key, stack in list(self.stacks.items()):
            if slot in stack.slots:
                stack.remove(slot)
            if not stack.slots:
                del self.stacks[key], self._modules[key]

    def member(self, slot: int) -> dict[str, Tensor]:
        """A copy of one member's factors; empty where it has none in this layer."""
        for stack in self.stacks.values():
            if slot in stack.slots:
                place = stack.slots.index(slot)
                return {name: factors.detach()[place].clone() for name, factors in stack.factors.items()}
        return {}
