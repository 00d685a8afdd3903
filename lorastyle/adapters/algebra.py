"""Sums of adapters: merged into models in memory, and mixed into one adapter."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.header import published
from lorastyle.adapters.inject import find_layer
from lorastyle.adapters.kinds import Factors, Layer, kind as kind_called
from lorastyle.adapters.layer import RoutedLayer
from lorastyle.errors import BadInput

Weighted = Sequence[tuple[Adapter, float]]  # adapters and the strength of each


# merging


class Merged:
    """Adapters merged into models in memory, until `undo` or the end of a `with` block puts the very bits back.

    The models may carry an injection; what is routed there comes on top.
    """

    def __init__(self, models: Mapping[str, nn.Module], adapters: Weighted) -> None:
        """Raises BadInput where an adapter does not fit the models; then they are as they were."""
        for _, strength in adapters:
            require_strength("merge", strength)
        self._kept: list[tuple[nn.Parameter, Tensor]] = []
        uses: dict[str, list[tuple[Adapter, str, float]]] = {}
        for adapter, strength in adapters:
            for layer in adapter.factors:
                uses.setdefault(find_layer(models, "merge", layer), []).append((adapter, layer, strength))
        modules = {name: _module(models, name) for name in uses}
        changes = {name: total_change(uses[name], Layer.of(name, modules[name]).weight) for name in uses}
        for name, module in modules.items():
            weight = module.weight
            assert isinstance(weight, nn.Parameter)
            self._kept.append((weight, weight.detach().clone()))
            with torch.no_grad():
                weight.copy_(weight.to(torch.float32) + changes[name])

    def undo(self) -> None:
        """Put the weights back, bit for bit."""
        with torch.no_grad():
            for weight, kept in self._kept:
                weight.copy_(kept)
        self._kept = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.undo()


def total_change(uses: Sequence[tuple[Adapter, str, float]], weight: Tensor) -> Tensor:
    """The change of a layer's weight, float32 in its shape, by adapters, their names for the layer and strengths.

    Raises BadInput where an adapter does not fit a weight of that shape.
    """
    total = torch.zeros(weight.shape, device=weight.device)
    for adapter, layer, strength in uses:
        factors = {name: factor.to(weight.device) for name, factor in adapter.factors[layer].items()}
        made = kind_called(adapter.kind)
        outputs, *inputs = made.acts_on(factors)
        if outputs not in (1, len(weight)) or math.prod(inputs) not in (1, weight[0].numel()):
            what = f"the adapter's factors for {layer} do not fit a weight of {list(weight.shape)}"
            raise BadInput("merge", what, "use the base that it was trained on")
        total += strength * made.weight(factors, adapter.scale(layer), weight)
    return total


def _module(models: Mapping[str, nn.Module], name: str) -> nn.Module:
    part, _, path = name.partition(".")
    module = models[part].get_submodule(path)
    return module.base if isinstance(module, RoutedLayer) else module


# mixing


@dataclass(frozen=True, eq=False)
class Mixed:
    """One adapter in the place of several.

    errors: for each layer how far its change is from the sum it stands for, as a share of that (Frobenius norms).
    """

    adapter: Adapter
    errors: Mapping[str, float] = field(repr=False)

    @property
    def worst(self) -> float:
        """The largest of the errors."""
        return max(self.errors.values(), default=0.0)


def mix(adapters: Weighted, rank: int | None = None, models: Mapping[str, nn.Module] | None = None) -> Mixed:
    """One LoRA that changes each layer as the adapters do together, each as strongly as is said.

    Args:
        rank: of each layer at most; the nearest change of that rank is taken (Eckart and Young 1936). Without it the
            factors are put side by side, which is exact, and as large as all of them together.
        models: of the base, where an adapter is of another kind than lora.

    Raises:
        BadInput: there are none, they are of different families, or of a kind that needs a rank or the base's models.
    """
    if not adapters:
        raise BadInput("mix", "there are no adapters to mix", "give one or more")
    if rank is not None:
        require_rank("rank", rank)
    for _, strength in adapters:
        require_strength("mix", strength)
    families = sorted({adapter.family for adapter, _ in adapters} - {""})
    if len(families) > 1:
        what = f"these adapters are for bases of different families: {', '.join(families)}"
        raise BadInput("mix", what, "mix adapters of one family")
    others = sorted({adapter.kind for adapter, _ in adapters} - {"lora"})
    if others and rank is None:
        what = f"{' and '.join(others)} adapters cannot be put side by side with others"
        raise BadInput("rank", what, "give a rank for the mixed adapter")
    if others and models is None:
        what = f"what {' and '.join(others)} adapters change cannot be told without the base"
        raise BadInput("base", what, "give the base that they are for")
    found: dict[str, tuple[dict[str, Tensor], float]] = {}
    for layer, uses in _by_layer(adapters).items():
        pairs = [scaled_pair(*use) for use in uses if use[0].kind == "lora"]
        if len(pairs) == len(uses):
            beside = {"down": torch.cat([down for down, _ in pairs]), "up": torch.cat([up for _, up in pairs], 1)}
            found[layer] = (beside, 0.0) if rank is None else nearest_to_pair(beside, rank)
        else:
            assert rank is not None
            assert models is not None
            weight = Layer.of(layer, _module(models, find_layer(models, "mix", layer))).weight
            found[layer] = nearest_lora(total_change(uses, weight), rank)
    factors = {layer: held for layer, (held, _) in found.items()}
    triggers = dict.fromkeys(adapter.trigger for adapter, _ in adapters if adapter.trigger)
    adapter = Adapter(
        family="".join(families),
        factors=factors,
        alphas={layer: float(len(held["down"])) for layer, held in factors.items()},
        trigger=", ".join(triggers),
    )
    return Mixed(adapter, {layer: error for layer, (_, error) in found.items()})


def require_rank(where: str, rank: int) -> None:
    """Raise BadInput where a LoRA cannot have that rank."""
    if rank < 1:
        raise BadInput(where, f"a rank of {rank} holds nothing", "give 1 or more")


def require_strength(where: str, strength: float) -> None:
    """Raise BadInput where an adapter cannot act so strongly."""
    if not math.isfinite(strength):
        raise BadInput(where, f"a strength of {strength} is no number", "give a number, such as 1")


def nearest_lora(change: Tensor, rank: int) -> tuple[dict[str, Tensor], float]:
    """The factors of scale 1 and at most that rank whose change is the nearest to `change` [outputs, inputs, *kernel],
    and the relative error."""
    left, values, right = torch.linalg.svd(change.flatten(1).double(), full_matrices=False)
    return _cut(left, values, right, rank, change.shape)


def nearest_to_pair(pair: Factors, rank: int) -> tuple[dict[str, Tensor], float]:
    """The same for the change of LoRA factors of scale 1, without making a matrix of the weight's size."""
    up, down = pair["up"].flatten(1).double(), pair["down"].flatten(1).double()
    left, left_core = torch.linalg.qr(up)
    right, right_core = torch.linalg.qr(down.mT)
    inner_left, values, inner_right = torch.linalg.svd(left_core @ right_core.mT, full_matrices=False)
    shape = torch.Size((len(up), *pair["down"].shape[1:]))
    return _cut(left @ inner_left, values, inner_right @ right.mT, rank, shape)


def _cut(left: Tensor, values: Tensor, right: Tensor, rank: int, shape: torch.Size) -> tuple[dict[str, Tensor], float]:
    kept = min(rank, len(values))
    root = values[:kept].sqrt()
    whole, lost = float(values.square().sum()), float(values[kept:].square().sum())
    down = (root[:, None] * right[:kept]).float().view(kept, *shape[1:])
    up = (left[:, :kept] * root).float().view(shape[0], kept, *(1,) * (len(shape) - 2))
    return {"down": down, "up": up}, math.sqrt(lost / whole) if whole else 0.0


def _by_layer(adapters: Weighted) -> dict[str, list[tuple[Adapter, str, float]]]:
    """Who changes which layer, by the layers' names in files."""
    uses: dict[str, list[tuple[Adapter, str, float]]] = {}
    for adapter, strength in adapters:
        for layer in adapter.factors:
            uses.setdefault(published(layer), []).append((adapter, layer, strength))
    return uses


def scaled_pair(adapter: Adapter, layer: str, strength: float) -> tuple[Tensor, Tensor]:
    """Of a LoRA the down [rank, inputs, ...] and the up [outputs, rank, ...] that holds strength and scale."""
    factors = adapter.factors[layer]
    return factors["down"], strength * adapter.scale(layer) * factors["up"]
