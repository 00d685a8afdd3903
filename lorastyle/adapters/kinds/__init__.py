"""The kinds of adapters, one file each: what the `d` of the one equation is.

A file of this folder holds one object named `KIND`; :func:`kinds` finds them by scanning the folder.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from torch import Tensor, nn

from lorastyle.adapters.routing import Part
from lorastyle.draws import Key
from lorastyle.errors import BadInput, Unsupported

Factors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """What a layer computes: W x with W [outputs, inputs], or a convolution with W [outputs, inputs, *kernel]."""

    inputs: int
    outputs: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()

    @classmethod
    def of(cls, name: str, layer: Any) -> Self:
        """The shape of `layer`; raises Unsupported, saying `name`, for a layer that cannot carry adapters."""
        if isinstance(layer, nn.Conv2d):
            if (
                layer.groups != 1
                or layer.dilation != (1, 1)
                or layer.padding_mode != "zeros"
                or layer.padding == "same"
            ):
                what = "a convolution with groups, dilation or unusual padding cannot carry an adapter that peft reads"
                raise Unsupported(name, what, "leave it out of the targets")
            return cls(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, _padding(layer))
        if is_layer(layer):
            return cls(layer.in_features, layer.out_features)
        raise Unsupported(name, f"a {type(layer).__name__} cannot carry an adapter", "leave it out of the targets")

    @property
    def weight(self) -> tuple[int, ...]:
        """The shape of W."""
        return (self.outputs, self.inputs, *self.kernel)

    @property
    def pointwise(self) -> bool:
        """Whether it is a convolution that looks at one pixel at a time, and so a matrix product."""
        plain = (1,) * len(self.kernel)
        return self.kernel == plain == self.stride and not any(self.padding)


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    return (0,) * len(layer.kernel_size) if isinstance(layer.padding, str) else layer.padding


def is_layer(module: nn.Module) -> bool:
    """Whether it computes W x: a Linear, whatever holds its weights, or a Conv2d."""
    return isinstance(module, nn.Conv2d) or (hasattr(module, "in_features") and hasattr(module, "out_features"))


class Kind(Protocol):
    """One kind of adapter.

    name: as it is called in the Python interface.
    tensors: the name of each factor, and how its name ends in files, as peft has it.
    config: what peft's configuration says of this kind.
    reads_output: whether `d` depends on W x. Then the layer keeps W x as it is while parts are added.
    """

    name: str
    tensors: Mapping[str, str]
    config: Mapping[str, bool]
    reads_output: bool

    def init(self, shape: Shape, rank: int, key: Key, purpose: str) -> dict[str, Tensor]:
        """The factors of an untrained adapter, for which d is 0. Pure draws from `key`, named by `purpose`."""

    def rank(self, factors: Factors) -> int:
        """The rank of one member's factors."""

    def shapes(self, shape: Shape, rank: int) -> dict[str, tuple[int, ...]]:
        """The shapes that one member's factors of that rank have in such a layer."""

    def fits(self, factors: Factors) -> bool:
        """Whether one member's factors have shapes that belong together in some layer."""

    def add(self, y: Tensor, x: Tensor, output: Tensor, factors: Factors, part: Part, shape: Shape) -> Tensor:
        """y + w d(x, W x) in the rows of `part`; may change y in place.

        Args:
            y: the sum so far [batch, ...]. x: the layer's input [batch, ...].
            factors: of all members of a stack, each tensor [members, ...].
            output: W x [batch, ...]; only kinds that read it get it unchanged.
        """

    def weight(self, factors: Factors, scale: float) -> Tensor:
        """The change of W that one member amounts to, in the shape of W."""


@functools.cache
def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {module.KIND.name: module.KIND for module in modules}


def kind(name: str) -> Kind:
    """The kind of that name; raises BadInput where there is none."""
    if name not in kinds():
        raise BadInput("kind", f"there is no kind of adapter called {name!r}", f"choose from {', '.join(kinds())}")
    return kinds()[name]
