"""Putting routed layers into the models of a base, and taking them out again."""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Factors, Kind, is_layer, kind as kind_called
from lorastyle.adapters.layer import RoutedLayer
from lorastyle.adapters.routing import Router, Routing
from lorastyle.draws import Key
from lorastyle.errors import BadInput, Unsupported


def inject(models: Mapping[str, nn.Module], patterns: Mapping[str, Sequence[str]]) -> "Injection":
    """Put a routed layer in the place of every layer whose whole dotted name one of its model's patterns matches.

    Args:
        models: by the names that they have in adapter files. They are frozen until :meth:`Injection.eject`.
        patterns: regular expressions by model name.

    Raises:
        BadInput: a pattern matches no layer, or a layer already carries the adapters of another injection.
        Unsupported: a layer that is matched cannot carry adapters.
    """
    layers = [f"{part}.{name}" for part, wanted in patterns.items() for name in _matched(models[part], part, wanted)]
    injection = Injection(models)
    try:
        for name in layers:
            injection.inject_layer(name)
    except BadInput:
        injection.eject()
        raise
    return injection


class Injection:
    """The adapters on the models of a base.

    router: what the layers follow. layers: those injected, by dotted names such as "unet.mid_block. ... .to_q".
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        self.router = Router()
        self.layers: dict[str, RoutedLayer] = {}
        self._models = models
        self._members: dict[str, tuple[int, Adapter]] = {}
        self._slots = 0
        self._thawed = [weight for model in models.values() for weight in model.parameters() if weight.requires_grad]
        for weight in self._thawed:
            weight.requires_grad_(False)

    # layers

    def inject_layer(self, name: str) -> RoutedLayer:
        """Put a routed layer in the place of the layer of that dotted name.

        Raises BadInput where there is none or where it has been replaced already.
        """
        parent, leaf = self._place(name)
        base = getattr(parent, leaf)
        if isinstance(base, RoutedLayer):
            raise BadInput(name, "this layer already carries the adapters of another injection", "eject that one first")
        layer = RoutedLayer(name, base, self.router)
        layer.train(base.training)
        setattr(parent, leaf, layer)
        self.layers[name] = layer
        return layer

    def eject(self) -> None:
        """Put the very same layers back that were there before."""
        for name, layer in self.layers.items():
            parent, leaf = self._place(name)
            setattr(parent, leaf, layer.base)
        for weight in self._thawed:
            weight.requires_grad_(True)
        self.layers, self._members, self._thawed = {}, {}, []

    def to(self, device: torch.device | str) -> None:
        """Move the factors."""
        for layer in self.layers.values():
            for stack in layer.stacks.values():
                stack.to(device)

    # adapters

    def create(
        self,
        name: str,
        kind: str,
        rank: int,
        alpha: float | None = None,
        rslora: bool = False,
        *,
        key: Key,
        ranks: Mapping[str, int] | None = None,
        alphas: Mapping[str, float] | None = None,
        settings: Mapping[str, int] | None = None,
    ) -> int:
        """Add an untrained adapter on all injected layers, which changes nothing yet; returns its slot.

        Args:
            alpha: by default the rank. key: what the first factors are drawn from.
            ranks, alphas: by patterns over the names of layers, what is otherwise in them. Where there is no alpha for
                a layer of another rank, its alpha keeps the same share of the rank.
            settings: of the kind's own, what is other than their defaults.

        Raises:
            BadInput: a pattern matches no layer.
            Unsupported: the kind cannot be trained, or not in one of the layers.
        """
        made, settings = kind_called(kind), settings or {}
        if not made.trainable:
            raise Unsupported("kind", f"{kind} adapters are read and merged, not trained", "choose another kind")
        ranked = by_layer(ranks or {}, self.layers, "recipe.ranks")
        alphaed = by_layer(alphas or {}, self.layers, "recipe.alphas")
        factors, kept = {}, {}
        for layer, routed in self.layers.items():
            wanted = int(ranked.get(layer, rank))
            usual = (rank if alpha is None else alpha) * wanted / rank
            factors[layer] = made.init(routed.layer, wanted, key, layer, {**made.settings, **settings})
            kept[layer] = _kept_alpha(made, factors[layer], wanted, alphaed.get(layer, usual), rslora)
        return self.add(name, Adapter(kind=kind, factors=factors, alphas=kept, rslora=rslora))

    def add(self, name: str, adapter: Adapter) -> int:
        """Add an adapter, injecting the layers it needs; returns its slot.

        Raises BadInput where the name is taken or the adapter does not fit the models.
        """
        if name in self._members:
            raise BadInput(name, "there already is an adapter of that name", "choose another name, or remove that one")
        layers = {find_layer(self._models, name, layer): layer for layer in adapter.factors}
        kind = kind_called(adapter.kind)
        for layer, called in layers.items():
            routed = self.layers.get(layer) or self.inject_layer(layer)
            if not kind.fits(adapter.factors[called], routed.layer.shape):
                what = f"its factors for {layer} do not fit a layer with weights {list(routed.layer.shape.weight)}"
                raise BadInput(name, what, "use the base that it was trained on")
        slot, self._slots = self._slots, self._slots + 1
        for layer, called in layers.items():
            self.layers[layer].add(kind, slot, adapter.scale(called), adapter.factors[called])
        alphas = {layer: adapter.alphas[called] for layer, called in layers.items()}
        self._members[name] = slot, replace(adapter, factors={}, alphas=alphas)
        return slot

    def remove(self, name: str) -> None:
        """Take an adapter out; its layers stay injected."""
        slot = self.slot(name)
        for layer in self.layers.values():
            layer.remove(slot)
        del self._members[name]

    def adapter(self, name: str) -> Adapter:
        """The adapter with a copy of its factors as they are now."""
        slot, about = self._member(name)
        held = {layer: routed.member(slot) for layer, routed in self.layers.items()}
        return replace(about, factors={layer: factors for layer, factors in held.items() if factors})

    def slot(self, name: str) -> int:
        """Where routings find the adapter; raises BadInput where there is none of that name."""
        return self._member(name)[0]

    def route(self, rows: Sequence[Mapping[str, float]]) -> Routing:
        """The routing for a batch, from the adapters' names and strengths of each row."""
        return Routing.rows([{self.slot(name): weight for name, weight in row.items()} for row in rows])

    # training

    def factors(self) -> list[tuple[str, str, nn.Parameter]]:
        """All trainable factors as (layer, factor, parameter [members, ...]), always in the same order."""
        return [
            (layer, name, factor)
            for layer, routed in self.layers.items()
            for stack in routed.stacks.values()
            for name, factor in stack.factors.items()
        ]

    def _member(self, name: str) -> tuple[int, Adapter]:
        if name not in self._members:
            known = ", ".join(self._members) or "none so far"
            raise BadInput(name, "there is no adapter of that name", f"add it first; there are: {known}")
        return self._members[name]

    def _place(self, name: str) -> tuple[nn.Module, str]:
        part, _, path = name.partition(".")
        above, _, leaf = path.rpartition(".")
        return self._models[part].get_submodule(above), leaf


def find_layer(models: Mapping[str, nn.Module], adapter: str, layer: str) -> str:
    """The name that a layer of an adapter's file has in these models; raises BadInput where they have none such."""
    part, _, path = layer.partition(".")
    # Text encoders have all their layers under text_model or not, depending on class and version of transformers.
    for name in (path, path.removeprefix("text_model."), f"text_model.{path}"):
        if part in models and _has(models[part], name):
            return f"{part}.{name}"
    raise BadInput(adapter, f"the base has no layer {layer}", "use the base that it was trained on")


def by_layer(patterns: Mapping[str, float], layers: Collection[str], where: str) -> dict[str, float]:
    """The values of the layers that patterns match, with or without the model's name in front; the first one counts.

    Raises BadInput, naming `where`, for a pattern that matches no layer.
    """
    found: dict[str, float] = {}
    for pattern, value in patterns.items():
        matched = [name for name in layers if _matches(pattern, name) or _matches(pattern, name.partition(".")[2])]
        if not matched:
            raise BadInput(where, f"{pattern!r} matches no layer that has an adapter", "correct the pattern")
        found = dict.fromkeys(matched, value) | found
    return found


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name) is not None


def _kept_alpha(made: Kind, factors: Factors, rank: int, alpha: float, rslora: bool) -> float:
    """The alpha with which factors whose own rank may be another act as strongly as was wanted."""
    own = made.rank(factors)
    if not made.scaled:
        return float(own)
    return alpha * math.sqrt(own / rank) if rslora else alpha * own / rank


def _matched(model: nn.Module, part: str, patterns: Sequence[str]) -> Iterator[str]:
    layers = [name for name, module in model.named_modules() if is_layer(module)]
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name in layers):
            raise BadInput("targets", f"{pattern!r} matches no layer of {part}", "correct the pattern")
    for name in layers:
        if any(re.fullmatch(pattern, name) for pattern in patterns):
            yield name


def _has(model: nn.Module, name: str) -> bool:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        return False
    return isinstance(module, RoutedLayer) or is_layer(module)
