"""The routed layer against its equation, against peft and against itself row by row."""

import copy
from collections.abc import Iterator, Mapping

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from lorastyle.adapters.kinds import Kind
from lorastyle.adapters.routing import Routing
from lorastyle.errors import LorastyleError
from tests.adapters.nets import INPUTS, a_net, adapter_for, an_input, gradients, injected, same, three


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads split long sums in ways that differ between a convolution and the same matrix product."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


EVERY = pytest.mark.parametrize(("layer", "size"), INPUTS.values(), ids=INPUTS)


@EVERY
def test_without_routing_or_adapters_the_output_is_the_bases_bit_for_bit(layer: str, size: tuple[int, ...]) -> None:
    net, x = a_net(layer), an_input(size)
    expected = net(x)
    injection = injected(net, {})
    assert torch.equal(net(x), expected)
    with injection.router.use(injection.route([{}] * 6)):
        assert torch.equal(net(x), expected)
    injection.add("a", adapter_for(net, 3, 1))
    assert torch.equal(net(x), expected)
    for rows in ([{}] * 6, [{"a": 0.0}] * 6):
        with injection.router.use(injection.route(rows)):
            assert torch.equal(net(x), expected)


@EVERY
def test_an_adapter_adds_its_change_of_the_weight(layer: str, size: tuple[int, ...]) -> None:
    net, x = a_net(layer), an_input(size)
    adapter = adapter_for(net, 3, 1, alpha=5.0)
    merged = copy.deepcopy(net)
    merged.one.weight.data += 0.7 * adapter.change("net.one")
    injection = injected(net, {"a": adapter})
    with injection.router.use(injection.route([{"a": 0.7}] * 6)):
        assert same(net(x), merged(x))


@EVERY
@pytest.mark.parametrize(("alpha", "rslora"), [(3.0, False), (7.5, False), (6.0, True)])
def test_output_and_gradients_are_those_of_peft(layer: str, size: tuple[int, ...], alpha: float, rslora: bool) -> None:
    ours, theirs, x = a_net(layer), a_net(layer), an_input(size)
    adapter = adapter_for(ours, 3, 1, alpha=alpha, rslora=rslora)
    inject_adapter_in_model(LoraConfig(r=3, lora_alpha=alpha, use_rslora=rslora, target_modules=["one"]), theirs)
    theirs.one.lora_A["default"].weight.data.copy_(adapter.factors["net.one"]["down"])
    theirs.one.lora_B["default"].weight.data.copy_(adapter.factors["net.one"]["up"])
    found = gradients(ours, injected(ours, {"a": adapter}), x, [{"a": 1.0}] * 6)
    x = x.detach().clone().requires_grad_()
    y = theirs(x)
    (y * torch.linspace(-1, 1, y[0].numel()).view(y[0].shape)).sum().backward()
    expected = [y.detach(), x.grad, theirs.one.lora_A["default"].weight.grad, theirs.one.lora_B["default"].weight.grad]
    assert all(map(same, found.values(), expected))


MIXED = [{"a": 1.0}, {"b": 0.5}, {}, {"c": 1.0}, {"a": 1.0, "b": -0.5, "c": 2.0}, {"b": 1.0}]
SOLO_PAIRS = [{"a": 1.0}] * 2 + [{"b": 1.0}] * 2 + [{"c": 1.0}] * 2


@EVERY
@pytest.mark.parametrize("rows", [MIXED, SOLO_PAIRS], ids=["mixed", "pairs"])
def test_every_row_of_a_batch_is_as_if_it_were_alone(layer: str, size: tuple[int, ...], rows: list) -> None:
    net, x = a_net(layer), an_input(size)
    injection = injected(net, three(net))
    together = gradients(net, injection, x, rows)
    alone = [gradients(net, injection, x[row : row + 1], rows[row : row + 1]) for row in range(6)]
    for name in ("y", "x"):
        assert same(together.pop(name), torch.cat([one.pop(name) for one in alone]))
    for name, gradient in together.items():
        assert same(gradient, torch.stack([one[name] for one in alone if one[name] is not None]).sum(0))


@EVERY
def test_a_member_of_a_cohort_is_as_in_a_solo_run(layer: str, size: tuple[int, ...]) -> None:
    net, x = a_net(layer), an_input(size)
    together = gradients(net, injected(net, three(net)), x, SOLO_PAIRS)
    terms = sums_of_terms(layer, x, SOLO_PAIRS)
    for place, name in enumerate("ab"):
        pair, alone = slice(2 * place, 2 * place + 2), a_net(layer)
        solo = gradients(alone, injected(alone, {name: three(alone)[name]}), x[pair], [{name: 1.0}] * 2)
        for what, of, rows in (("y", "", pair), ("x", "", pair), ("down", " of 2", place), ("up", " of 2", place)):
            got, expected = together[what + of][rows], solo[what + of.replace("2", "1")]
            # The same float32 sums in another order. Each rounding is at most 2^-24 of a partial sum, and no partial
            # sum is larger than that of all terms' absolute values, which in these gradients is up to 50 times the
            # result itself. Both runs together stay within 4 such roundings.
            bound = 4 * 2**-24 * terms[what + of][rows]
            assert ((got.reshape(bound.shape) - expected.reshape(bound.shape)).abs() <= bound.max()).all()


def sums_of_terms(layer: str, x: Tensor, rows: list) -> dict[str, Tensor]:
    """What `gradients` gives, but with the absolute values of all terms summed, in float64."""
    net = a_net(layer).double()
    injection = injected(net, three(net))
    injection.layers["net.one"].double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.abs_()
    return gradients(net, injection, x.detach().double().abs(), rows, torch.Tensor.abs)


@EVERY
def test_a_nan_of_one_member_stays_in_its_own_rows(layer: str, size: tuple[int, ...]) -> None:
    net, x = a_net(layer), an_input(size)
    injection = injected(net, three(net))
    whole = gradients(net, injection, x, MIXED)
    (stack,) = (stack for stack in injection.layers["net.one"].stacks.values() if len(stack.slots) == 2)
    place = stack.slots.index(injection.slot("b"))
    with torch.no_grad():
        stack.up[place].fill_(torch.nan)
    sick = gradients(net, injection, x, MIXED)
    users = [row for row, used in enumerate(MIXED) if "b" in used]
    others = [row for row in range(6) if row not in users]
    for name in ("y", "x"):
        assert sick[name][users].isnan().flatten(1).any(1).all()
        assert torch.equal(sick[name][others], whole[name][others])
    for name, gradient in sick.items():
        if "of 2" in name:  # the stack that "a" and the sick "b" share
            assert torch.equal(gradient[1 - place], whole[name][1 - place])


@EVERY
def test_gradients_agree_with_finite_differences(layer: str, size: tuple[int, ...]) -> None:
    net = a_net(layer).double()
    injection = injected(net, three(net))
    injection.layers["net.one"].double()
    factors = [factor for _, _, factor in injection.factors()]

    def run(x: Tensor, *_: Tensor) -> Tensor:
        with injection.router.use(injection.route(MIXED)):
            return net(x)

    x = an_input((6, 12, 3, 5) if layer.startswith("conv") else size).detach().double().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *factors), fast_mode=True)


@EVERY
def test_bf16_autocast_computes_in_bf16_and_gives_float32_gradients(layer: str, size: tuple[int, ...]) -> None:
    net, x = a_net(layer), an_input(size)
    injection = injected(net, three(net))
    exact = gradients(net, injection, x, MIXED)
    for _ in range(2):  # entered anew for each step, it must not keep cast factors of the step before
        with torch.autocast("cpu", torch.bfloat16):
            rough = gradients(net, injection, x, MIXED)
        assert rough["y"].dtype == torch.bfloat16
        for name, value in exact.items():
            # bf16 has 8 bits of mantissa, 0.4 % for each rounding; a few of them add up
            assert (rough[name].float() - value).abs().max() <= 0.03 * value.abs().max()
            assert name == "y" or rough[name].dtype == torch.float32
        with torch.no_grad():
            for _, _, factor in injection.factors():
                factor.mul_(1.5)
        exact = gradients(net, injection, x, MIXED)


@pytest.mark.parametrize("layer", ["conv 3x3", "conv 1x1"])
def test_maps_with_channels_last_give_the_same(layer: str) -> None:
    net, x = a_net(layer), an_input((6, 12, 7, 9))
    injection = injected(net, three(net))
    plain = gradients(net, injection, x, MIXED)
    injection.layers["net.one"].base.to(memory_format=torch.channels_last)
    last = gradients(net, injection, x.to(memory_format=torch.channels_last), MIXED)
    for name, value in plain.items():
        assert same(last[name], value)


@pytest.mark.parametrize("rows", [5, 7, 12])
def test_a_batch_that_is_not_the_routings_is_refused(rows: int) -> None:
    net = a_net("linear")
    injection = injected(net, three(net))
    for routed in ([{"a": 1.0}] * 6, [{}] * 6):
        with (
            injection.router.use(injection.route(routed)),
            pytest.raises(LorastyleError, match=rf"batch of {rows} came to net\.one.*6 rows"),
        ):
            net(torch.zeros(rows, 12))


def test_a_routed_layer_has_the_attributes_of_the_bases() -> None:
    net = a_net("conv 3x3")
    weight = net.one.weight
    injected(net, three(net))
    assert net.one.weight is weight
    assert (net.one.in_channels, net.one.stride) == (12, (1, 1))
    with pytest.raises(AttributeError):
        _ = net.one.no_such_thing


class Gate(Kind):
    """A kind that reads W x: d = (g - 1) W x."""

    name, tensors, forms, config, reads_output = "gate", {"gate": "gate"}, (frozenset({"gate"}),), {}, True

    def rank(self, factors: Mapping[str, Tensor]) -> int:
        return 1

    def add(self, y: Tensor, x: Tensor, output: Tensor, factors: Mapping[str, Tensor], *_: object) -> Tensor:
        return y + (factors["gate"] - 1) * output


def test_a_kind_that_reads_the_layers_own_output_sees_it_unchanged() -> None:
    net, x = a_net("linear"), an_input((6, 12))
    expected = net(x)
    injection = injected(net, {"a": adapter_for(net, 3, 1)})
    with injection.router.use(injection.route([{"a": 1.0}] * 6)):
        change = net(x) - expected
    injection.layers["net.one"].add(Gate(), 1, 1.0, {"gate": torch.tensor(3.0)})
    with injection.router.use(Routing.rows([{0: 1.0, 1: 1.0}] * 6)):
        assert same(net(x), 3 * expected + change)
