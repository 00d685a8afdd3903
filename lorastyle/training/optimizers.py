"""Optimizer and learning-rate schedule of a cohort."""

import inspect
import math
from collections.abc import Iterable

import torch
from torch import nn

from lorastyle.adapters.inject import by_layer
from lorastyle.recipe import Recipe


def learning_rate_share(step: int, recipe: Recipe) -> float:
    """The share of the learning rate at `step`: a linear warm-up, then the schedule down to its floor."""
    assert recipe.steps is not None, "the recipe is not resolved"
    warm = round(recipe.warmup * recipe.steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    progress = (step - warm) / max(1, recipe.steps - warm)
    falling = {"constant": 1.0, "linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}
    if recipe.schedule == "constant":
        return 1.0
    return recipe.learning_rate_floor + (1 - recipe.learning_rate_floor) * falling[recipe.schedule]


def build_optimizer(factors: Iterable[tuple[str, str, nn.Parameter]], recipe: Recipe) -> torch.optim.Optimizer:
    """A torch.optim optimizer over stacked factors, by the name in the recipe; one group for each learning rate.

    Args:
        factors: (layer name, factor name, parameter [members, ...]). Layers of text encoders have their own learning
            rate, and so have those that a pattern of the recipe matches; "up" factors learn `lora_plus_ratio` times as
            fast (LoRA+, Hayou et al. 2024, arXiv 2402.12354).

    Raises:
        BadInput: a pattern of the recipe matches no layer.
    """
    factors = list(factors)
    own = by_layer(recipe.learning_rates, {layer for layer, _, _ in factors}, "recipe.learning_rates")
    groups: dict[float, list[nn.Parameter]] = {}
    for layer, factor, parameter in factors:
        text = layer.startswith("text_encoder")
        rate = own.get(layer, recipe.text_encoder_learning_rate if text else recipe.learning_rate)
        groups.setdefault(rate * (recipe.lora_plus_ratio if factor == "up" else 1.0), []).append(parameter)
    made = getattr(torch.optim, recipe.optimizer)
    # One kernel for all factors of a group, where the class has one; else hundreds of small ones.
    fused = {"fused": True} if "fused" in inspect.signature(made).parameters else {}
    return made(
        [{"params": parameters, "peak": peak} for peak, parameters in groups.items()],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        **fused,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
