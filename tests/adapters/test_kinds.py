"""The contract of a kind, for every file in the folder."""

import pytest
import torch

from lorastyle.adapters.kinds import Kind, Shape, kind, kinds
from lorastyle.adapters.routing import Routing
from lorastyle.draws import Key

SHAPES = {
    "linear": Shape(6, 10),
    "conv 3x3": Shape(6, 10, (3, 3), (2, 2), (1, 1)),
    "conv 1x1": Shape(6, 10, (1, 1), (1, 1), (0, 0)),
}
EVERY_KIND = pytest.mark.parametrize("made", kinds().values(), ids=kinds())
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def random_factors(made: Kind, shape: Shape) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {name: torch.randn(size, generator=generator) for name, size in made.shapes(shape, 4).items()}


def test_the_scan_finds_lora() -> None:
    assert kind("lora") is kinds()["lora"]


@EVERY_KIND
def test_files_can_tell_it_from_the_others(made: Kind) -> None:
    same = [other.name for other in kinds().values() if set(other.tensors.values()) == set(made.tensors.values())]
    assert same == [made.name]


@EVERY_KIND
@EVERY_SHAPE
def test_new_factors_have_the_shapes_and_rank_they_should_and_are_pure_draws(made: Kind, shape: Shape) -> None:
    factors = made.init(shape, 4, Key(7, "me"), "some.layer")
    assert {name: tuple(factor.shape) for name, factor in factors.items()} == made.shapes(shape, 4)
    assert factors.keys() == made.tensors.keys()
    assert made.rank(factors) == 4
    assert made.fits(factors)
    again, other = (made.init(shape, 4, Key(7, "me"), layer) for layer in ("some.layer", "another"))
    assert all(torch.equal(factors[name], again[name]) for name in factors)
    assert not all(torch.equal(factors[name], other[name]) for name in factors)
    assert not made.weight(factors, 1.0).any()


@EVERY_KIND
@EVERY_SHAPE
def test_the_change_of_the_weight_is_what_the_forward_pass_adds(made: Kind, shape: Shape) -> None:
    factors = random_factors(made, shape)
    x = torch.randn(3, 6, *(5 for _ in shape.kernel), generator=torch.Generator().manual_seed(1))
    weight = torch.randn(shape.weight, generator=torch.Generator().manual_seed(3))

    def layer(weight: torch.Tensor) -> torch.Tensor:
        if shape.kernel:
            return torch.conv2d(x, weight, None, shape.stride, shape.padding)
        return x @ weight.T

    (part,) = Routing.rows([{0: 1.0}] * 3).parts((0,), (0.5,), x.device)
    output = layer(weight)
    stacked = {name: factor[None] for name, factor in factors.items()}
    y = made.add(output.clone(), x, output, stacked, part, shape)
    change = made.weight(factors, 0.5)
    assert change.shape == weight.shape
    torch.testing.assert_close(y, layer(weight + change), rtol=1e-5, atol=1e-4)


@EVERY_KIND
def test_factors_that_do_not_belong_together_do_not_fit(made: Kind) -> None:
    factors = random_factors(made, SHAPES["linear"])
    for name in factors:
        assert not made.fits(factors | {name: torch.zeros(3)})
