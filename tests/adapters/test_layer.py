"""The routed layer against its equation, against peft and against itself row by row."""

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.inject import Injection, inject
from lorastyle.errors import LorastyleError

# Two orders of the same float32 sums of up to 300 terms differ by a few units of 2^-24.
TIGHT = {"rtol": 1e-6, "atol": 2e-6}

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(12, 20),
    "linear without bias": lambda: nn.Linear(12, 20, bias=False),
    "conv 3x3": lambda: nn.Conv2d(12, 20, 3, padding=1),
    "conv 3x3 by 2": lambda: nn.Conv2d(12, 20, 3, stride=2, padding=1),
    "conv 3x3 unpadded": lambda: nn.Conv2d(12, 20, 3, padding="valid"),
    "conv 1x1": lambda: nn.Conv2d(12, 20, 1),
    "conv 1x1 by 2": lambda: nn.Conv2d(12, 20, 1, stride=2),
}
INPUTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "modulation [b, d]": ("linear", (6, 12)),
    "tokens [b, t, d]": ("linear", (6, 5, 12)),
    "grid [b, h, w, d]": ("linear without bias", (6, 3, 4, 12)),
} | {name: (name, (6, 12, 7, 9)) for name in LAYERS if name.startswith("conv")}
EVERY = pytest.mark.parametrize(("layer", "size"), INPUTS.values(), ids=INPUTS)


class Net(nn.Module):
    """One layer under a name, behind a weight of its own so that gradients go through it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.one = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x)


def a_net(layer: str) -> Net:
    torch.manual_seed(3)
    return Net(LAYERS[layer]())


def adapter_for(net: Net, rank: int, seed: int, **settings: object) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    weight = net.one.weight
    down = torch.randn(rank, *weight.shape[1:], generator=generator) * 0.3
    up = torch.randn(len(weight), rank, *(1 for _ in weight.shape[2:]), generator=generator) * 0.3
    alphas = {"net.one": float(settings.pop("alpha", rank))}
    return Adapter(factors={"net.one": {"down": down, "up": up}}, alphas=alphas, **settings)


def injected(net: Net, adapters: Mapping[str, Adapter]) -> Injection:
    injection = inject({"net": net}, {"net": ["one"]})
    for name, adapter in adapters.items():
        injection.add(name, adapter)
    return injection


def an_input(size: tuple[int, ...]) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(9)).requires_grad_()


def gradients(net: Net, injection: Injection, x: Tensor, rows: list[Mapping[str, float]]) -> dict[str, Tensor]:
    """The output and, for a loss that weighs every output differently, all gradients."""
    x = x.detach().clone().requires_grad_()
    for _, _, factor in injection.factors():
        factor.grad = None
    with injection.router.use(injection.route(rows)):
        y = net(x)
        (y.float() * torch.linspace(-1, 1, y[0].numel()).view(y[0].shape)).sum().backward()
    found = {"y": y.detach(), "x": x.grad}
    return found | {f"{name} {tuple(factor.shape)}": factor.grad for _, name, factor in injection.factors()}


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
        torch.testing.assert_close(net(x), merged(x), rtol=1e-5, atol=5e-6)


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
    for got, want in zip(found.values(), expected, strict=True):
        # relative to the largest entry: single entries may cancel
        assert (got.view(want.shape) - want).abs().max() <= 1e-6 * want.abs().max()


MIXED = [{"a": 1.0}, {"b": 0.5}, {}, {"c": 1.0}, {"a": 1.0, "b": -0.5, "c": 2.0}, {"b": 1.0}]
SOLO_PAIRS = [{"a": 1.0}] * 2 + [{"b": 1.0}] * 2 + [{"c": 1.0}] * 2


def three(net: Net) -> dict[str, Adapter]:
    return {"a": adapter_for(net, 3, 1), "b": adapter_for(net, 3, 2, alpha=6.0), "c": adapter_for(net, 5, 3)}


@EVERY
@pytest.mark.parametrize("rows", [MIXED, SOLO_PAIRS], ids=["mixed", "pairs"])
def test_every_row_of_a_batch_is_as_if_it_were_alone(layer: str, size: tuple[int, ...], rows: list) -> None:
    net, x = a_net(layer), an_input(size)
    injection = injected(net, three(net))
    together = gradients(net, injection, x, rows)
    alone = [gradients(net, injection, x[row : row + 1], rows[row : row + 1]) for row in range(6)]
    torch.testing.assert_close(together.pop("y"), torch.cat([one.pop("y") for one in alone]), **TIGHT)
    torch.testing.assert_close(together.pop("x"), torch.cat([one.pop("x") for one in alone]), **TIGHT)
    for name, gradient in together.items():
        parts = [one[name] for one in alone if one[name] is not None]
        torch.testing.assert_close(gradient, torch.stack(parts).sum(0), rtol=1e-5, atol=2e-5)


@EVERY
def test_a_member_of_a_cohort_gets_the_bits_of_a_solo_run(layer: str, size: tuple[int, ...]) -> None:
    """At equal numbers of rows, through the adapter's own products; the base here is kept out by a zero weight."""
    net, x = a_net(layer), an_input(size)
    for parameter in net.parameters():
        parameter.data.zero_()
    injection = injected(net, three(net))
    together = gradients(net, injection, x, SOLO_PAIRS)
    for place, name in enumerate("ab"):
        pair = slice(2 * place, 2 * place + 2)
        solo_net = copy.deepcopy(a_net(layer))
        for parameter in solo_net.parameters():
            parameter.data.zero_()
        solo = gradients(solo_net, injected(solo_net, {name: three(net)[name]}), x[pair], [{name: 1.0}] * 2)
        torch.testing.assert_close(solo["y"], together["y"][pair], **TIGHT)
        torch.testing.assert_close(solo["x"], together["x"][pair], **TIGHT)
        down = next(value for key, value in together.items() if key.startswith("down (2"))
        torch.testing.assert_close(
            next(value for key, value in solo.items() if key.startswith("down"))[0], down[place], **TIGHT
        )


@EVERY
def test_a_nan_of_one_member_stays_in_its_own_rows(layer: str, size: tuple[int, ...]) -> None:
    net, x = a_net(layer), an_input(size)
    injection = injected(net, three(net))
    whole = gradients(net, injection, x, MIXED)
    place = injection.layers["net.one"].stacks["lora_3"].slots.index(injection.slot("b"))
    with torch.no_grad():
        injection.layers["net.one"].stacks["lora_3"].up[place].fill_(torch.nan)
    sick = gradients(net, injection, x, MIXED)
    users = [row for row, used in enumerate(MIXED) if "b" in used]
    others = [row for row in range(6) if row not in users]
    for name in ("y", "x"):
        assert sick[name][users].isnan().flatten(1).any(1).all()
        assert torch.equal(sick[name][others], whole[name][others])
    for name, gradient in sick.items():
        if "(2," in name:  # the stack that "a" and the sick "b" share
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

    x = an_input((6, *size[1:]) if len(size) < 4 else (6, 12, 3, 5)).detach().double().requires_grad_()
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
    net.to(memory_format=torch.channels_last)
    last = gradients(net, injection, x.to(memory_format=torch.channels_last), MIXED)
    for name, value in plain.items():
        torch.testing.assert_close(last[name], value, rtol=1e-5, atol=2e-5)


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
