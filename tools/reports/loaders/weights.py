"""What a tool did to the weights of its own model, told by our layers."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lorastyle.adapters.header import published
from lorastyle.adapters.kinds import is_layer
from lorastyle.bases.base import Base
from lorastyle.recipe import Recipe

# Our tiny Flux.1 as the original code has it, whose names for its sizes the tools took over.
TINY_FLUX1: dict[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 32,
    "context_in_dim": 32,
    "hidden_size": 32,
    "mlp_ratio": 4.0,
    "num_heads": 4,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [2, 2, 4],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
}


@dataclass(frozen=True)
class Place:
    """Where a layer's weight stands in a tool's model: in all rows of one of its weights, or in some.

    turn: from our order of rows to the tool's; the same function must lead back.
    """

    name: str
    start: int = 0
    rows: int | None = None
    turn: Callable[[Tensor], Tensor] = field(default=lambda weight: weight)

    def of(self, weights: Mapping[str, Tensor]) -> Tensor:
        whole = weights[self.name]
        return whole if self.rows is None else whole.narrow(0, self.start, self.rows)


@dataclass(frozen=True)
class Loaded:
    """What loading a file did. changes: of the layers' weights, float64, by their names in files; those that are 0 are
    left out. unmatched: the file's keys that the tool did not take, and its weights that changed but are no layer of
    ours.
    """

    changes: dict[str, Tensor]
    unmatched: list[str]


def layers_of(base: Base) -> dict[str, Tensor]:
    """The weights of all layers that the targets "all" have, by their names in files."""
    patterns = base.target_patterns(Recipe(targets="all", text_encoder_learning_rate=1e-4))
    return {
        published(f"{part}.{name}"): module.weight.detach()
        for part, wanted in patterns.items()
        for name, module in base.models[part].named_modules()
        if is_layer(module) and any(re.fullmatch(pattern, name) for pattern in wanted)
    }


@torch.no_grad()
def put(layers: Mapping[str, Tensor], weights: Mapping[str, Tensor], places: Mapping[str, Place]) -> None:
    """Give a tool's model, whose weights these are, those of our layers; all others are set, lest one be no number."""
    for weight in weights.values():
        weight.fill_(0.1)
    for layer, place in places.items():
        into = place.of(weights)
        into.copy_(place.turn(layers[layer]).reshape(into.shape))


def kept(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of the weights."""
    return {name: weight.detach().clone() for name, weight in weights.items()}


def loaded(
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    places: Mapping[str, Place],
    unmatched: Iterable[str] = (),
) -> Loaded:
    """Compare a model's weights before and after it was loaded into."""
    rest = {name: after[name].detach().double() - weight.double() for name, weight in before.items()}
    rest = {name: change for name, change in rest.items() if change.any()}
    changes = {}
    for layer, place in places.items():
        if place.name in rest and place.of(rest).any():
            changes[layer] = place.turn(place.of(rest).clone())
            place.of(rest).zero_()
    strays = [f"{name} changed, which is no layer of ours" for name, change in rest.items() if change.any()]
    return Loaded(changes, [*unmatched, *strays])


class WithTextModel(nn.Module):
    """A CLIP text encoder whose layers are under `text_model`, which transformers has dropped of late."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.text_model = getattr(encoder, "text_model", encoder)
        if hasattr(encoder, "text_projection"):
            self.text_projection = encoder.text_projection
