"""Injecting into real models, and ejecting."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lorastyle.adapters.inject import Injection, inject
from lorastyle.adapters.layer import RoutedLayer
from lorastyle.draws import Key
from lorastyle.errors import BadInput, LorastyleError, Unsupported

Models = dict[str, nn.Module]
Predict = Callable[..., Tensor]

ATTENTION = {
    "unet": [r".*attn[12]\.to_(q|k|v|out\.0)"],
    "text_encoder": [r".*self_attn\.(q|k|v|out)_proj"],
}
EVERYTHING = {
    "unet": [
        r".*attn[12]\.to_(q|k|v|out\.0)",
        r".*ff\.net\.(0\.proj|2)",
        r".*(proj_in|proj_out|conv\w*|time_emb_proj)",
    ],
    "text_encoder": [r"encoder.*(_proj|fc[12])"],
}


def trained(injection: Injection, name: str, rank: int, seed: int) -> None:
    """Create an adapter and give it random factors, as if it were trained."""
    slot = injection.create(name, "lora", rank, key=Key(seed, name))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in injection.layers.values():
            for stack in layer.stacks.values():
                if slot in stack.slots:
                    up = stack.factors["up"][stack.slots.index(slot)]
                    up.copy_(torch.randn(up.shape, generator=generator) * 0.2)


@pytest.mark.parametrize("patterns", [ATTENTION, EVERYTHING], ids=["attention", "everything"])
def test_an_untrained_adapter_changes_nothing(models: Models, predict: Predict, patterns: dict) -> None:
    expected = predict(models)
    injection = inject(models, patterns)
    assert torch.equal(predict(models), expected)
    injection.create("new", "lora", 4, key=Key(0))
    with injection.router.use(injection.route([{"new": 1.0}] * 4)):
        assert torch.equal(predict(models), expected)
    with injection.router.use(injection.route([{}] * 4)):
        assert torch.equal(predict(models), expected)


def test_eject_puts_the_very_same_modules_back(models: Models, predict: Predict) -> None:
    expected, before = predict(models), {part: dict(model.named_modules()) for part, model in models.items()}
    weights = {name: weight.clone() for name, weight in models["unet"].state_dict().items()}
    injection = inject(models, EVERYTHING)
    trained(injection, "a", 2, 1)
    with injection.router.use(injection.route([{"a": 1.0}] * 4)):
        predict(models).sum().backward()
    assert not torch.equal(torch.zeros(()), injection.factors()[0][2].grad)
    injection.eject()
    for part, model in models.items():
        after = dict(model.named_modules())
        assert list(after) == list(before[part])
        assert all(after[name] is module for name, module in before[part].items())
    assert all(torch.equal(weight, weights[name]) for name, weight in models["unet"].state_dict().items())
    assert torch.equal(predict(models), expected)


def test_the_base_never_requires_grad_until_it_is_ejected(models: Models, predict: Predict) -> None:
    first = next(models["unet"].parameters())
    first.requires_grad_(False)
    injection = inject(models, ATTENTION)
    trained(injection, "a", 2, 1)
    factors = {id(factor) for _, _, factor in injection.factors()}
    weights = [weight for model in models.values() for weight in model.parameters() if id(weight) not in factors]
    assert not any(weight.requires_grad for weight in weights)
    with injection.router.use(injection.route([{"a": 1.0}] * 4)):
        predict(models).sum().backward()
    assert all(weight.grad is None for weight in weights)
    injection.eject()
    assert not first.requires_grad
    assert all(weight.requires_grad for weight in weights if weight is not first)


@pytest.mark.parametrize("patterns", [ATTENTION, EVERYTHING], ids=["attention", "everything"])
def test_rows_of_one_batch_follow_their_own_adapters(models: Models, predict: Predict, patterns: dict) -> None:
    injection = inject(models, patterns)
    trained(injection, "a", 2, 1)
    trained(injection, "b", 5, 2)
    rows = [{"a": 1.0}, {}, {"b": 0.5}, {"a": 0.5, "b": 1.0}]
    with torch.no_grad(), injection.router.use(injection.route(rows)):
        together = predict(models)
    for row, used in enumerate(rows):
        with torch.no_grad(), injection.router.use(injection.route([used])):
            alone = predict(models, slice(row, row + 1))
        # the base's own kernels differ by 1e-6 between batch sizes, and some forty layers add up
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=2e-5)
    with torch.no_grad():
        assert not torch.allclose(together[0], predict(models)[0], atol=1e-2)


def test_gradient_checkpointing_gives_the_same_gradients(models: Models, predict: Predict) -> None:
    injection = inject(models, EVERYTHING)
    trained(injection, "a", 2, 1)
    models["unet"].train()
    found = []
    for checkpointing in (False, True):
        for _, _, factor in injection.factors():
            factor.grad = None
        if checkpointing:
            models["unet"].enable_gradient_checkpointing()
        with injection.router.use(injection.route([{"a": 1.0}] * 4)):
            predict(models).square().sum().backward()
        found.append([factor.grad for _, _, factor in injection.factors()])
    assert all(torch.equal(kept, again) for kept, again in zip(*found, strict=True))
    assert all(gradient.any() for gradient in found[0])


def test_a_batch_that_is_not_the_routings_is_refused(models: Models, predict: Predict) -> None:
    injection = inject(models, ATTENTION)
    with (
        injection.router.use(injection.route([{}] * 3)),
        pytest.raises(LorastyleError, match=r"batch of 4 came to text_encoder\..* 3 rows"),
    ):
        predict(models)


def test_factors_come_in_the_order_of_the_model_and_are_float32(models: Models) -> None:
    injection = inject(models, ATTENTION)
    injection.create("a", "lora", 2, key=Key(0))
    injection.create("b", "lora", 2, key=Key(1))
    factors = injection.factors()
    assert [name for name, _, _ in factors] == [name for name in injection.layers for _ in range(2)]
    assert {name for _, name, _ in factors} == {"down", "up"}
    assert all(factor.shape[0] == 2 and factor.dtype == torch.float32 for _, _, factor in factors)
    assert all(factor.requires_grad for _, _, factor in factors)


def test_members_are_drawn_by_their_key_alone(models: Models) -> None:
    injection = inject(models, ATTENTION)
    injection.create("a", "lora", 2, key=Key(0, "one"))
    injection.create("b", "lora", 4, key=Key(0, "two"))
    injection.create("c", "lora", 2, key=Key(0, "one"))
    first, _, third = (injection.adapter(name).factors for name in "abc")
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    assert torch.equal(first[layer]["down"], third[layer]["down"])
    assert not torch.equal(injection.adapter("b").factors[layer]["down"][:2], first[layer]["down"])
    bound = 1 / first[layer]["down"].shape[1] ** 0.5
    assert 0.5 * bound < first[layer]["down"].abs().max() <= bound


def test_an_adapter_taken_out_and_put_in_elsewhere_is_the_same(models: Models, predict: Predict) -> None:
    injection = inject(models, ATTENTION)
    trained(injection, "a", 2, 1)
    with torch.no_grad(), injection.router.use(injection.route([{"a": 1.0}] * 4)):
        expected = predict(models)
    adapter = injection.adapter("a")
    injection.eject()
    injection = inject(models, {})
    assert not injection.layers
    injection.add("again", adapter)
    assert len(injection.layers) == len(adapter.factors)
    with torch.no_grad(), injection.router.use(injection.route([{"again": 1.0}] * 4)):
        assert torch.equal(predict(models), expected)


def test_removing_an_adapter_leaves_the_others(models: Models, predict: Predict) -> None:
    injection = inject(models, ATTENTION)
    for seed, name in enumerate("abc"):
        trained(injection, name, 2, seed)
    with torch.no_grad():
        with injection.router.use(injection.route([{"c": 1.0}] * 4)):
            expected = predict(models)
        injection.remove("a")
        with injection.router.use(injection.route([{"c": 1.0}] * 4)):
            assert torch.equal(predict(models), expected)
    with pytest.raises(BadInput, match="a: there is no adapter of that name"):
        injection.route([{"a": 1.0}])
    injection.remove("b")
    injection.remove("c")
    assert injection.factors() == []


def test_names_with_and_without_the_level_text_model_are_the_same_layer(models: Models) -> None:
    injection = inject(models, {"text_encoder": ATTENTION["text_encoder"]})
    injection.create("a", "lora", 2, key=Key(0))
    adapter = injection.adapter("a")
    for names in (adapter.factors, adapter.alphas):
        older = {name.replace("text_encoder.", "text_encoder.text_model."): names.pop(name) for name in list(names)}
        names.update(older)
    injection.add("b", adapter)
    assert injection.adapter("b").factors.keys() == injection.adapter("a").factors.keys()


def test_a_pattern_that_matches_nothing_is_refused_and_nothing_is_left_injected(models: Models) -> None:
    with pytest.raises(BadInput, match=re.escape("'nowhere.*' matches no layer of unet")):
        inject(models, {"text_encoder": ATTENTION["text_encoder"], "unet": ["nowhere.*"]})
    with pytest.raises(BadInput, match="matches no layer"):
        inject(models, {"unet": ["mid_block"]})
    assert not any(isinstance(module, RoutedLayer) for model in models.values() for module in model.modules())
    assert all(weight.requires_grad for model in models.values() for weight in model.parameters())


def test_layers_are_not_injected_twice(models: Models) -> None:
    first = inject(models, ATTENTION)
    with pytest.raises(BadInput, match="already carries"):
        inject(models, ATTENTION)
    assert all(
        models["unet"].get_submodule(name[5:]) is layer for name, layer in first.layers.items() if "unet" in name
    )


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    ],
    ids=["groups", "dilation", "same", "circular"],
)
def test_layers_that_cannot_carry_an_adapter_are_refused(layer: nn.Module) -> None:
    with pytest.raises(Unsupported, match=r"net\.0: .* Leave it out"):
        inject({"net": nn.Sequential(layer)}, {"net": ["0"]})


def test_adapters_of_another_base_are_refused(models: Models) -> None:
    injection = inject(models, ATTENTION)
    injection.create("a", "lora", 2, key=Key(0))
    adapter = injection.adapter("a")
    with pytest.raises(BadInput, match="there already is an adapter of that name"):
        injection.add("a", adapter)
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    adapter.factors[layer]["down"] = torch.zeros(2, 7)
    with pytest.raises(BadInput, match=rf"wide: .*{layer} do not fit a layer with weights \[16, 16\]"):
        injection.add("wide", adapter)
    for names in (adapter.factors, adapter.alphas):
        names["unet.elsewhere.to_q"] = names.pop(layer)
    with pytest.raises(BadInput, match=r"other: the base has no layer unet\.elsewhere\.to_q"):
        injection.add("other", adapter)


def test_an_unknown_kind_is_refused(models: Models) -> None:
    with pytest.raises(BadInput, match="no kind of adapter called 'ia3'.*lora"):
        inject(models, ATTENTION).create("a", "ia3", 2, key=Key(0))
