import math

import pytest
import torch
from torch import nn

from lorastyle.errors import LorastyleError
from lorastyle.recipe import Recipe
from lorastyle.training.gradients import check_coverage, clip, member_norms
from lorastyle.training.optimizers import build_optimizer, learning_rate_share, set_learning_rate


def test_warm_up_then_cosine_to_the_floor():
    recipe = Recipe(steps=100, warmup=0.1, schedule="cosine", learning_rate_floor=0.1)
    shares = [learning_rate_share(step, recipe) for step in range(100)]
    assert shares[:10] == [pytest.approx((step + 1) / 11) for step in range(10)]
    assert shares[10] == 1.0
    assert shares[55] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert 0.1 < shares[99] < 0.102
    assert sorted(shares[10:], reverse=True) == shares[10:]


@pytest.mark.parametrize(("schedule", "middle"), [("constant", 1.0), ("linear", 0.5)])
def test_other_schedules(schedule, middle):
    recipe = Recipe(steps=100, warmup=0.0, schedule=schedule)
    expected = middle if schedule == "constant" else 0.1 + 0.9 * middle
    assert learning_rate_share(50, recipe) == pytest.approx(expected)


def test_each_factor_learns_at_its_own_rate():
    recipe = Recipe(learning_rate=1e-3, text_encoder_learning_rate=1e-4, lora_plus_ratio=4.0)
    names = [("unet.a", "down"), ("unet.a", "up"), ("text_encoder.a", "down"), ("text_encoder.a", "up")]
    factors = [(layer, factor, nn.Parameter(torch.zeros(1, 2, 2))) for layer, factor in names]
    optimizer = build_optimizer(factors, recipe)
    set_learning_rate(optimizer, 0.5)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([5e-4, 2e-3, 5e-5, 2e-4])


def factor_with_gradient(gradient):
    parameter = nn.Parameter(torch.zeros_like(gradient))
    parameter.grad = gradient.clone()
    return parameter


def test_clipping_is_per_member_and_keeps_the_direction():
    long_and_short = torch.stack([torch.full((2, 2), 3.0), torch.full((2, 2), 0.1)])
    parameters = [factor_with_gradient(long_and_short), factor_with_gradient(long_and_short)]
    norms = member_norms(parameters)
    assert norms.tolist() == pytest.approx([math.sqrt(8 * 9), math.sqrt(8 * 0.01)])
    clip(parameters, norms, 1.0)
    assert member_norms(parameters).tolist() == pytest.approx([1.0, math.sqrt(0.08)])
    assert torch.equal(parameters[0].grad[1], long_and_short[1])


def test_a_layer_without_gradient_is_reported():
    alive, dead = factor_with_gradient(torch.ones(1, 2, 2)), factor_with_gradient(torch.zeros(1, 2, 2))
    check_coverage(0, [("a", "down", dead), ("a", "up", alive)])
    with pytest.raises(LorastyleError, match="the first is a"):
        check_coverage(1, [("a", "down", dead), ("a", "up", alive)])
    with pytest.raises(LorastyleError, match="the first is b"):
        check_coverage(0, [("a", "up", alive), ("b", "down", dead), ("b", "up", dead)])
