"""Every kind on a routed layer: alone, in a batch with others, in a cohort, untrained, diverged and in bf16."""

import copy

import pytest
import torch
from torch import Tensor

from lorastyle.adapters.kinds import kinds
from lorastyle.draws import Key
from tests.adapters.nets import INPUTS, a_net, adapter_for, an_input, gradients, injected, three

LAYERS = {name: INPUTS[name] for name in ("modulation [b, d]", "tokens [b, t, d]", "conv 3x3 by 2", "conv 1x1")}
EVERY_LAYER = pytest.mark.parametrize(("layer", "size"), LAYERS.values(), ids=LAYERS)
EVERY_KIND = pytest.mark.parametrize("kind", kinds())
MIXED = [{"a": 1.0}, {"b": 0.5}, {}, {"c": 1.0}, {"a": 1.0, "b": -0.5, "c": 2.0}, {"b": 1.0}]
PAIRS = [{"a": 1.0}] * 2 + [{"b": 1.0}] * 2 + [{"c": 1.0}] * 2


def same(got: Tensor, wanted: Tensor) -> bool:
    """Equal to 5e-6 of the largest entry: a float32 sum in another order has an error of a few 2^-24 of its largest
    partial sum, and in these gradients that is up to 50 times the result."""
    return bool((got.reshape(wanted.shape) - wanted).abs().max() <= 5e-6 * wanted.abs().max())


@EVERY_KIND
@EVERY_LAYER
def test_an_untrained_adapter_changes_nothing(kind: str, layer: str, size: tuple[int, ...]) -> None:
    if not kinds()[kind].trainable:
        pytest.skip("cannot be trained")
    net, x = a_net(layer), an_input(size)
    expected = net(x)
    injection = injected(net, {})
    injection.create("a", kind, 4, alpha=3.0, key=Key(1))
    injection.create("b", kind, 4, key=Key(2))
    for rows in ([{"a": 1.0}] * 6, [{"a": 0.3, "b": 2.0}, {}, {"b": 1.0}] * 2):
        with injection.router.use(injection.route(rows)):
            assert torch.equal(net(x), expected)
    with injection.router.use(injection.route([{"a": 1.0}] * 6)):
        net(x).square().sum().backward()
    assert any(factor.grad[0].any() for _, _, factor in injection.factors())


@EVERY_KIND
@EVERY_LAYER
def test_an_adapter_adds_its_change_of_the_weight(kind: str, layer: str, size: tuple[int, ...]) -> None:
    net, x = a_net(layer), an_input(size)
    adapter = three(net, kind)["b"]
    merged = copy.deepcopy(net)
    merged.one.weight.data += 0.7 * adapter.change("net.one", net.one.weight)
    injection = injected(net, {"a": adapter})
    with injection.router.use(injection.route([{"a": 0.7}] * 6)):
        assert same(net(x), merged(x))


@EVERY_KIND
@EVERY_LAYER
@pytest.mark.parametrize("rows", [MIXED, PAIRS], ids=["mixed", "pairs"])
def test_every_row_of_a_batch_is_as_if_it_were_alone(kind: str, layer: str, size: tuple[int, ...], rows: list) -> None:
    net, x = a_net(layer), an_input(size)
    injection = injected(net, three(net, kind))
    together = gradients(net, injection, x, rows)
    alone = [gradients(net, injection, x[row : row + 1], rows[row : row + 1]) for row in range(6)]
    for name in ("y", "x"):
        assert same(together.pop(name), torch.cat([one.pop(name) for one in alone]))
    for name, gradient in together.items():
        assert same(gradient, torch.stack([one[name] for one in alone if one[name] is not None]).sum(0))


@EVERY_KIND
@EVERY_LAYER
def test_a_member_of_a_cohort_is_as_in_a_solo_run(kind: str, layer: str, size: tuple[int, ...]) -> None:
    net, x = a_net(layer), an_input(size)
    together = gradients(net, injected(net, three(net, kind)), x, PAIRS)
    for place, name in enumerate("ab"):
        pair, alone = slice(2 * place, 2 * place + 2), a_net(layer)
        solo = gradients(alone, injected(alone, {name: three(alone, kind)[name]}), x[pair], [{name: 1.0}] * 2)
        for what, gradient in solo.items():
            if what.endswith(" of 1"):
                assert same(together[what.replace(" of 1", " of 2")][place], gradient[0])
            else:
                assert same(together[what][pair], gradient)


@EVERY_KIND
@EVERY_LAYER
def test_a_nan_of_one_member_stays_in_its_own_rows(kind: str, layer: str, size: tuple[int, ...]) -> None:
    net, x = a_net(layer), an_input(size)
    injection = injected(net, three(net, kind))
    whole = gradients(net, injection, x, MIXED)
    (stack,) = (stack for stack in injection.layers["net.one"].stacks.values() if len(stack.slots) == 2)
    place = stack.slots.index(injection.slot("b"))
    with torch.no_grad():
        next(iter(stack.factors.values()))[place].fill_(torch.nan)
    sick = gradients(net, injection, x, MIXED)
    others = [row for row, used in enumerate(MIXED) if "b" not in used]
    assert sick["y"].isnan().any()
    for name in ("y", "x"):
        assert torch.equal(sick[name][others], whole[name][others])
    for name, gradient in sick.items():
        if "of 2" in name:  # the stack that "a" and the sick "b" share
            assert torch.equal(gradient[1 - place], whole[name][1 - place])


@EVERY_KIND
@EVERY_LAYER
def test_bf16_autocast_computes_in_bf16_and_gives_float32_gradients(
    kind: str, layer: str, size: tuple[int, ...]
) -> None:
    net, x = a_net(layer), an_input(size)
    injection = injected(net, three(net, kind))
    exact = gradients(net, injection, x, MIXED)
    with torch.autocast("cpu", torch.bfloat16):
        rough = gradients(net, injection, x, MIXED)
    assert rough["y"].dtype == torch.bfloat16
    for name, value in exact.items():
        # bf16 has 8 bits of mantissa, 0.4 % for each rounding; a dozen of them add up in the longest chains
        assert (rough[name].float() - value).abs().max() <= 0.05 * value.abs().max()
        assert name == "y" or rough[name].dtype == torch.float32


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind != "dora"])
@EVERY_LAYER
def test_gradients_agree_with_finite_differences(kind: str, layer: str, size: tuple[int, ...]) -> None:
    """Not of dora, whose norm counts as a constant; test_kinds_of_peft.py has its gradients."""
    net = a_net(layer).double()
    injection = injected(net, three(net, kind))
    injection.layers["net.one"].double()
    factors = [factor for _, _, factor in injection.factors()]

    def run(x: Tensor, *_: Tensor) -> Tensor:
        with injection.router.use(injection.route(MIXED)):
            return net(x)

    x = an_input((6, 12, 3, 5) if layer.startswith("conv") else size).detach().double().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *factors), fast_mode=True)


@pytest.mark.parametrize("layer", ["conv 3x3", "conv 1x1"])
@EVERY_KIND
def test_maps_with_channels_last_give_the_same(kind: str, layer: str) -> None:
    net, x = a_net(layer), an_input((6, 12, 7, 9))
    injection = injected(net, three(net, kind))
    plain = gradients(net, injection, x, MIXED)
    injection.layers["net.one"].base.to(memory_format=torch.channels_last)
    last = gradients(net, injection, x.to(memory_format=torch.channels_last), MIXED)
    for name, value in plain.items():
        assert same(last[name], value)


def test_members_of_different_kinds_share_a_layer_and_a_row() -> None:
    net, x = a_net("conv 3x3"), an_input((6, 12, 7, 9))
    adapters = {kind: adapter_for(net, 3, 1, kind) for kind in kinds()}
    merged = copy.deepcopy(net)
    for adapter in adapters.values():
        merged.one.weight.data += 0.5 * adapter.change("net.one", net.one.weight)
    injection = injected(net, adapters)
    with injection.router.use(injection.route([dict.fromkeys(kinds(), 0.5)] * 6)):
        assert same(net(x), merged(x))
