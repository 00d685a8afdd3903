"""The kinds of adapters, one file each: what the `d` of the one equation is.

A file of this folder holds one object named `KIND`; :func:`kinds` finds them by scanning the folder.
"""

import functools
import importlib
import pkgutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from lorastyle import settings as recipe_settings
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


@dataclass(eq=False)
class Layer:
    """A frozen layer of the base as a kind sees it.

    name: dotted, for messages. module: the base's own layer; few kinds need more of it than its shape.
    """

    name: str
    shape: Shape
    module: nn.Module
    _squares: tuple[int, Tensor] | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, name: str, module: nn.Module) -> Self:
        """Raises Unsupported for a module that cannot carry adapters."""
        return cls(name, Shape.of(name, module), module)

    @property
    def weight(self) -> Tensor:
        """W; raises Unsupported where it is stored in another form than as fractions in its own shape."""
        weight = self.module.weight
        if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.shape != self.shape.weight:
            what = "this kind of adapter needs the layer's weight, which is quantised"
            raise Unsupported(self.name, what, "use lora, or load the base without quantising it")
        return weight.detach()

    def without_bias(self, output: Tensor) -> Tensor:
        """W x [batch, ...] from the layer's output."""
        bias = getattr(self.module, "bias", None)
        if bias is None:
            return output
        return output - bias.detach().to(output.dtype).view(-1, *(1,) * len(self.shape.kernel))

    @property
    def row_squares(self) -> Tensor:
        """The sum of squares of each output's row of W [outputs], float32, computed once for each state of W.

        Always on the CPU, so that the same W gives the same bits wherever it lies.
        """
        weight = self.weight
        if self._squares is None or self._squares[0] != weight._version:
            squares = weight.to("cpu", torch.float64).flatten(1).square().sum(1)
            self._squares = weight._version, squares.to(torch.float32)
        if self._squares[1].device != weight.device:
            self._squares = weight._version, self._squares[1].to(weight.device)
        return self._squares[1]


class Kind(Protocol):
    """One kind of adapter. Kinds have no state and inherit from this class; what has a body is what most do."""

    name: str
    """As it is called in recipes and in the Python interface."""

    title: str
    """For people."""

    tensors: Mapping[str, str]
    """The name of each factor that a member may have, and how its name ends in files, as peft has it."""

    forms: Sequence[frozenset[str]]
    """The sets of factors that together make one member; no two kinds share one."""

    config: Mapping[str, Any]
    """What peft's configuration says of this kind."""

    settings: Mapping[str, int] = {}
    """Its own settings and their defaults; "x" of the kind "k" is the recipe's `k_x`, where it can be trained."""

    trainable: bool = True
    """Whether it can be trained, and not only read, drawn with, merged and converted."""

    scaled: bool = True
    """Whether alpha says how strongly it acts; where it does not, `scale` is disregarded."""

    needs_weight: bool = False
    """Whether `weight` depends on W; then `init` and `add` may read it too."""

    reads_output: bool = False
    """Whether `d` depends on W x. Then the layer keeps W x as it is while parts are added."""

    def init(self, layer: Layer, rank: int, key: Key, purpose: str, settings: Mapping[str, int]) -> dict[str, Tensor]:
        """The factors of an untrained adapter, for which d is 0. Pure draws from `key`, named by `purpose`.

        `settings` holds all of the kind's own. Raises Unsupported where the layer cannot have such factors.
        """
        raise Unsupported("kind", f"{self.name} cannot be trained", "choose another kind")

    def shapes(self, shape: Shape, rank: int, settings: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shapes of the factors that an adapter of that rank has in such a layer."""

    def rank(self, factors: Factors) -> int:
        """The rank of one member's factors: what alpha is divided by."""

    def fits(self, factors: Factors, shape: Shape | None = None) -> bool:
        """Whether one member's factors make up a form, with shapes that belong together, in such a layer if given."""

    def acts_on(self, factors: Factors) -> tuple[int, ...]:
        """The shape of W as far as the factors tell: [outputs, inputs, *kernel], or [outputs, inputs times kernel]
        where they leave the kernel open, with 1 for a side they leave open."""

    def add(self, y: Tensor, x: Tensor, output: Tensor, factors: Factors, part: Part, layer: Layer) -> Tensor:
        """y + w d(x, W x) in the rows of `part`; may change y in place.

        Args:
            y: the sum so far [batch, ...]. x: the layer's input [batch, ...].
            factors: of all members of a stack, each tensor [members, ...].
            output: W x [batch, ...], with the layer's bias; only kinds that read it get it unchanged.
        """

    def weight(self, factors: Factors, scale: float, base: Tensor | None = None) -> Tensor:
        """The change of W that one member amounts to, float32: in the shape of `base`, where that is given, else in
        that of `acts_on`.

        Args:
            base: W; kinds with `needs_weight` cannot do without.
        """


@functools.cache
def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {module.KIND.name: module.KIND for module in modules}


def register(kind: Kind) -> None:
    """Put in a kind from outside; if it can be trained, recipes can name it from now on."""
    kinds()[kind.name] = kind
    if kind.trainable and kind.name not in recipe_settings.KINDS:
        recipe_settings.KINDS.append(kind.name)


def kind(name: str) -> Kind:
    """The kind of that name; raises BadInput where there is none."""
    if name not in kinds():
        raise BadInput("kind", f"there is no kind of adapter called {name!r}", f"choose from {', '.join(kinds())}")
    return kinds()[name]


def kind_of(names: Collection[str]) -> Kind | None:
    """The kind with a form of exactly these tensors, named by their endings in files; None where there is none."""
    held = frozenset(names)
    for made in kinds().values():
        if held in [frozenset(made.tensors[name] for name in form) for form in made.forms]:
            return made
    return None


def base_weight(base: Tensor | None, name: str) -> Tensor:
    """W as float32 [outputs, inputs times kernel] for a kind that cannot do without; raises BadInput without one."""
    if base is None:
        what = f"what a {name} changes depends on the base's weight"
        raise BadInput(name, what, "give the base that it is for")
    return base.detach().to(torch.float32).flatten(1)


def precise(dtype: torch.dtype) -> torch.dtype:
    """At least float32, for what would lose too much in the numbers that layers compute with."""
    return torch.promote_types(dtype, torch.float32)
