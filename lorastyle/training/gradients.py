"""Gradients of stacked factors, member by member."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lorastyle.errors import LorastyleError

Factors = Sequence[tuple[str, str, nn.Parameter]]  # layer name, factor name, parameter [members, ...]


def member_norms(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The length of each member's gradient over all its factors [members]."""
    squares = [parameter.grad.flatten(1).square().sum(1) for parameter in parameters if parameter.grad is not None]
    return torch.stack(squares).sum(0).sqrt()


def clip(parameters: Sequence[nn.Parameter], norms: Tensor, longest: float) -> None:
    """Shorten the gradient of every member whose length exceeds `longest`, leaving its direction."""
    shares = (longest / norms.clamp(min=1e-12)).clamp(max=1.0)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(shares.view(-1, *[1] * (parameter.dim() - 1)))


def check_coverage(step: int, factors: Factors) -> None:
    """Raise if a layer that should learn gets no gradient: on the first step any factor of it, on the second all.

    (An adapter starts as no change because one of its factors is zero, and then the others have no gradient yet.)
    """
    if step > 1:
        return
    alive = defaultdict(list)
    for layer, _, parameter in factors:
        alive[layer].append(parameter.grad is not None and bool(parameter.grad.any()))
    dead = [layer for layer, found in alive.items() if not (all(found) if step else any(found))]
    if dead:
        raise LorastyleError(
            f"{len(dead)} layers get no gradient at step {step}, the first is {dead[0]}: a bug, or a frozen path"
        )
