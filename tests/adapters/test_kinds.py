"""The contract of a kind, for every file in the folder."""

import pytest
import torch
from torch import nn

from lorastyle.adapters.kinds import Kind, Layer, Shape, kind, kind_of, kinds, register
from lorastyle.draws import Key
from lorastyle.errors import BadInput, Unsupported
from lorastyle.recipe import Recipe
from lorastyle.settings import KINDS

MODULES = {
    "linear": nn.Linear(6, 10),
    "conv 3x3": nn.Conv2d(6, 10, 3, stride=2, padding=1),
    "conv 1x1": nn.Conv2d(6, 10, 1),
}
EVERY_KIND = pytest.mark.parametrize("made", kinds().values(), ids=kinds())
TRAINABLE = {name: made for name, made in kinds().items() if made.trainable}
EVERY_TRAINABLE = pytest.mark.parametrize("made", TRAINABLE.values(), ids=TRAINABLE)
EVERY_LAYER = pytest.mark.parametrize("layer", [Layer.of(name, one) for name, one in MODULES.items()], ids=MODULES)


def random_factors(made: Kind, shape: Shape) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {name: torch.randn(size, generator=generator) for name, size in made.shapes(shape, 4, made.settings).items()}


def test_the_scan_finds_the_kinds() -> None:
    assert set(kinds()) == {"lora", "dora", "lokr", "loha", "oft"}
    assert kind("lora") is kinds()["lora"]


def test_recipes_can_name_the_kinds_that_can_be_trained() -> None:
    assert set(KINDS) == set(TRAINABLE)
    for name in KINDS:
        assert Recipe(kind=name).kind == name
    with pytest.raises(BadInput, match="no kind of adapter called 'ia3'.*lora"):
        kind("ia3")


@EVERY_TRAINABLE
def test_its_own_settings_are_in_the_recipe(made: Kind) -> None:
    for name, default in made.settings.items():
        assert getattr(Recipe(), f"{made.name}_{name}") == default


@EVERY_KIND
def test_files_can_tell_it_from_the_others(made: Kind) -> None:
    assert made.forms
    for form in made.forms:
        assert kind_of([made.tensors[name] for name in form]) is made
    assert {name for form in made.forms for name in form} == made.tensors.keys()
    assert kind_of(["lora_A.weight"]) is None


@EVERY_TRAINABLE
@EVERY_LAYER
def test_new_factors_have_the_shapes_and_rank_they_should_and_are_pure_draws(made: Kind, layer: Layer) -> None:
    factors = made.init(layer, 4, Key(7, "me"), "some.layer", made.settings)
    shapes = made.shapes(layer.shape, 4, made.settings)
    assert {name: tuple(factor.shape) for name, factor in factors.items()} == shapes
    assert frozenset(factors) in made.forms
    assert 1 <= made.rank(factors) <= 4
    again, other = (made.init(layer, 4, Key(7, "me"), name, made.settings) for name in ("some.layer", "another"))
    assert all(torch.equal(factors[name], again[name]) for name in factors)
    drawn = any(not torch.equal(factors[name], other[name]) for name in factors)
    assert drawn or not any(factor.any() for factor in factors.values())  # oft begins with zeros alone
    base = layer.module.weight
    # the norm of a row, of which dora makes use, is the only thing that is rounded
    assert made.weight(factors, 1.0, base).abs().max() <= 2e-7 * base.abs().max()


@EVERY_KIND
@EVERY_LAYER
def test_factors_fit_the_layers_they_were_made_for(made: Kind, layer: Layer) -> None:
    factors, shape = random_factors(made, layer.shape), layer.shape
    assert made.fits(factors)
    assert made.fits(factors, shape)
    wider = Shape(shape.inputs * 5, shape.outputs * 7, shape.kernel, shape.stride, shape.padding)
    assert not made.fits(factors, wider)
    change = made.weight(factors, 0.5, layer.module.weight)
    assert (change.shape, change.dtype) == (shape.weight, torch.float32)
    sides = zip(made.acts_on(factors)[:2], (shape.outputs, change.flatten(1).shape[1]), strict=True)
    assert all(told in (1, side) or told * 9 == side for told, side in sides)
    if not made.needs_weight:
        alone = made.weight(factors, 0.5)
        assert alone.shape == made.acts_on(factors)
        assert torch.equal(alone.flatten(), change.flatten())


@EVERY_KIND
def test_factors_that_do_not_belong_together_do_not_fit(made: Kind) -> None:
    factors = random_factors(made, Shape(6, 10))
    assert not made.fits({})
    for name, factor in factors.items():
        assert not made.fits(factors | {name: torch.zeros(3)})
        assert not made.fits(factors | {name: torch.zeros(0, *factor.shape[1:])})
        assert not made.fits({other: held for other, held in factors.items() if other != name})
    assert not made.fits(factors | {"strange": torch.zeros(3)})


@EVERY_KIND
def test_a_change_that_depends_on_the_base_needs_it(made: Kind) -> None:
    factors = random_factors(made, Shape(6, 10))
    if made.needs_weight:
        with pytest.raises(BadInput, match="depends on the base's weight"):
            made.weight(factors, 1.0)
    else:
        once, twice = made.weight(factors, 1.0), made.weight(factors, 2.0)
        torch.testing.assert_close(twice, 2 * once)


def test_what_cannot_be_trained_says_so() -> None:
    with pytest.raises(Unsupported, match="loha cannot be trained"):
        kind("loha").init(Layer.of("one", nn.Linear(4, 4)), 2, Key(0), "one", {})


@pytest.mark.parametrize(
    ("outputs", "rank", "what"),
    [
        (7, 4, r"blocks of 2 to 4, .*Choose another kind, or targets"),
        (9, 2, r"blocks of 2 to 2, .*Raise the rank to 3, or targets"),
    ],
)
def test_a_layer_whose_outputs_do_not_fall_into_blocks_is_refused(outputs: int, rank: int, what: str) -> None:
    with pytest.raises(Unsupported, match=rf"one: its {outputs} outputs do not fall into equal {what}"):
        kind("oft").init(Layer.of("one", nn.Linear(4, outputs)), rank, Key(0), "one", {})


def test_a_quantised_layer_is_refused_by_kinds_that_read_its_weight() -> None:
    module = nn.Linear(4, 4)
    module.weight = nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(Unsupported, match=r"one: this kind of adapter needs the layer's weight"):
        kind("dora").init(Layer.of("one", module), 4, Key(0), "one", {})
    assert kind("oft").init(Layer.of("one", module), 4, Key(0), "one", {})["blocks"].shape == (2, 2, 2)


def test_the_norm_of_rows_follows_a_weight_that_changes() -> None:
    layer = Layer.of("one", nn.Linear(4, 4))
    before = layer.row_squares
    assert layer.row_squares is before
    with torch.no_grad():
        layer.module.weight.mul_(2)
    torch.testing.assert_close(layer.row_squares, 4 * before)


def test_a_kind_from_outside_is_found() -> None:
    class Ninth(type(kind("lora"))):  # type: ignore[misc]
        name = "ninth"
        tensors = {"down": "ninth_A.weight", "up": "ninth_B.weight"}  # noqa: RUF012

    register(Ninth())
    try:
        assert isinstance(kind("ninth"), Ninth)
        assert Recipe(kind="ninth").kind == "ninth"
        assert kind_of(["ninth_A.weight", "ninth_B.weight"]) is kind("ninth")
    finally:
        KINDS.remove("ninth")
        del kinds()["ninth"]
