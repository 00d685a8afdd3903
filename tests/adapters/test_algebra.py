"""Adapters merged into models in memory and put back, and mixed into one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lorastyle.adapters.algebra import Merged, mix
from lorastyle.adapters.file import Adapter
from lorastyle.adapters.inject import inject
from lorastyle.adapters.kinds import Layer, kind as kind_called, kinds
from lorastyle.errors import BadInput

Models = dict[str, nn.Module]
LAYERS = (
    "unet.conv_in",
    "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
    "unet.mid_block.attentions.0.proj_in",
    "unet.mid_block.resnets.0.conv1",
    "text_encoder.encoder.layers.0.self_attn.q_proj",
)


def made(models: Models, kind: str, rank: int, seed: int, **about: object) -> Adapter:
    generator, factors = torch.Generator().manual_seed(seed), {}
    for name in LAYERS:
        part, _, path = name.partition(".")
        layer, one = Layer.of(name, models[part].get_submodule(path)), kind_called(kind)
        shapes = one.shapes(layer.shape, rank, one.settings)
        factors[name] = {what: torch.randn(size, generator=generator) * 0.2 for what, size in shapes.items()}
    return Adapter(kind=kind, factors=factors, alphas=dict.fromkeys(LAYERS, rank * 0.7), **about)


def drawn(models: Models, predict: Callable, adapters: dict[Adapter, float]) -> Tensor:
    """What the models predict with the adapters routed."""
    injection = inject(models, {})
    for number, adapter in enumerate(adapters):
        injection.add(str(number), adapter)
    rows = {str(number): strength for number, strength in enumerate(adapters.values())}
    with torch.no_grad(), injection.router.use(injection.route([rows] * 4)):
        y = predict(models)
    injection.eject()
    return y


def close(got: Tensor, wanted: Tensor) -> bool:
    """The same float32 sums in another order, through some forty layers."""
    return bool((got - wanted).abs().max() <= 2e-5 * wanted.abs().max())


@pytest.mark.parametrize("kind", kinds())
def test_merged_it_draws_as_routed_and_comes_out_bit_for_bit(models: Models, predict: Callable, kind: str) -> None:
    adapter = made(models, kind, 4, 1)
    with torch.no_grad():
        alone = predict(models)
    before = {name: weight.clone() for model in models.values() for name, weight in model.state_dict().items()}
    wanted = drawn(models, predict, {adapter: 0.8})
    assert not close(alone, wanted)
    merged = Merged(models, [(adapter, 0.8)])
    with torch.no_grad():
        assert close(predict(models), wanted)
    merged.undo()
    after = {name: weight for model in models.values() for name, weight in model.state_dict().items()}
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())
    with torch.no_grad():
        assert torch.equal(predict(models), alone)


def test_several_are_merged_into_models_that_carry_an_injection(models: Models, predict: Callable) -> None:
    one, two, routed = made(models, "lora", 4, 1), made(models, "dora", 2, 2), made(models, "lora", 3, 3)
    wanted = drawn(models, predict, {one: 0.8, two: 0.5, routed: 1.0})
    injection = inject(models, {})
    injection.add("on top", routed)
    with torch.no_grad(), injection.router.use(injection.route([{"on top": 1.0}] * 4)):
        alone = predict(models)
        with Merged(models, [(one, 0.8), (two, 0.5)]):
            assert close(predict(models), wanted)
        assert torch.equal(predict(models), alone)


def test_half_weights_come_back_bit_for_bit(models: Models) -> None:
    models["unet"].to(torch.bfloat16)
    weight = models["unet"].conv_in.weight
    before = weight.clone()
    with Merged(models, [(made(models, "lora", 4, 1), 1.0)]):
        assert not torch.equal(weight, before)
    assert torch.equal(weight, before)


def test_an_adapter_that_does_not_fit_leaves_the_models_as_they_were(models: Models) -> None:
    before = models["unet"].conv_in.weight.clone()
    adapter = made(models, "lora", 4, 1)
    adapter.factors[LAYERS[-1]]["down"] = torch.zeros(4, 7)
    with pytest.raises(BadInput, match="do not fit a weight of"):
        Merged(models, [(adapter, 1.0)])
    assert torch.equal(models["unet"].conv_in.weight, before)


def test_loras_of_different_ranks_and_alphas_are_mixed_exactly(models: Models, predict: Callable) -> None:
    one, two = made(models, "lora", 4, 1, trigger="ink", family="sd1"), made(models, "lora", 3, 2, rslora=True)
    mixed = mix([(one, 0.8), (two, -0.5)])
    assert mixed.worst == 0
    assert (mixed.adapter.family, mixed.adapter.trigger, mixed.adapter.kind) == ("sd1", "ink", "lora")
    assert {mixed.adapter.rank(layer) for layer in mixed.adapter.factors} == {7}
    assert close(drawn(models, predict, {mixed.adapter: 1.0}), drawn(models, predict, {one: 0.8, two: -0.5}))


def test_names_with_and_without_text_model_are_one_layer(models: Models) -> None:
    one, two = made(models, "lora", 4, 1), made(models, "lora", 3, 2)
    for names in (two.factors, two.alphas):
        names["text_encoder.text_model.encoder.layers.0.self_attn.q_proj"] = names.pop(LAYERS[-1])
    assert len(mix([(one, 1.0), (two, 1.0)]).adapter.factors) == len(LAYERS)


@pytest.mark.parametrize("rank", [1, 4, 100])
def test_a_mix_of_a_given_rank_is_the_nearest_and_says_how_near(models: Models, rank: int) -> None:
    one, two = made(models, "lora", 4, 1), made(models, "lora", 3, 2)
    mixed = mix([(one, 0.8), (two, -0.5)], rank=rank)
    assert len(mixed.errors) == len(LAYERS)
    for layer, named in zip(LAYERS, mixed.errors, strict=True):
        error = mixed.errors[named]
        wanted = 0.8 * one.change(layer) - 0.5 * two.change(layer)
        values = torch.linalg.svdvals(wanted.flatten(1).double())
        # Eckart and Young: the error is that of the singular values left out; ours comes from float64, the rest is fp32
        assert error == pytest.approx(float(values[rank:].norm() / values.norm()), abs=1e-6)
        got = mixed.adapter.change(named)
        assert float((got - wanted).norm() / wanted.norm()) == pytest.approx(error, abs=1e-6)
        assert got.shape == wanted.shape
        assert mixed.adapter.rank(named) <= rank


def test_any_kinds_are_mixed_into_one_lora_with_a_rank(models: Models, predict: Callable) -> None:
    adapters = {made(models, kind, 4, seed): 0.4 for seed, kind in enumerate(kinds())}
    mixed = mix(list(adapters.items()), rank=200, models=models)
    assert mixed.worst <= 1e-6  # of full rank; only float64 roundings are left out
    assert close(drawn(models, predict, {mixed.adapter: 1.0}), drawn(models, predict, adapters))


def test_what_cannot_be_mixed_is_refused(models: Models) -> None:
    lora, oft = made(models, "lora", 4, 1, family="sd1"), made(models, "oft", 4, 1)
    with pytest.raises(BadInput, match=r"rank: oft adapters cannot be put side by side.*Give a rank"):
        mix([(lora, 1.0), (oft, 1.0)])
    with pytest.raises(BadInput, match=r"base: what oft adapters change.*Give the base"):
        mix([(lora, 1.0), (oft, 1.0)], rank=4)
    with pytest.raises(BadInput, match="families: sd1, sdxl"):
        mix([(lora, 1.0), (made(models, "lora", 4, 1, family="sdxl"), 1.0)])
    with pytest.raises(BadInput, match="no adapters"):
        mix([])
