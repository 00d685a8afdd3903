"""The routed layer against its equation, against peft and against itself row by row."""

import copy
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.inject import Injection, inject
from lorastyle.adapters.routing import Routing
from lorastyle.errors import LorastyleError


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads split long sums in ways that differ between a convolution and the same matrix product."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(got: Tensor, wanted: Tensor) -> bool:
    """Equal to 1e-6 of the largest entry: float32 sums of the same terms in another order (2^-24 for each rounding)."""
    return bool((got.reshape(wanted.shape) - wanted).abs().max() <= 1e-6 * wanted.abs().max())


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
    stacks = [stack for layer in injection.layers.values() for stack in layer.stacks.values()]
    return found | {
        f"{name} of {len(stack.slots)}": factor.grad for stack in stacks for name, factor in stack.factors.items()
    }


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


def three(net: Net) -> dict[str, Adapter]:
    return {"a": adapter_for(net, 3, 1), "b": adapter_for(net, 3, 2, alpha=6.0), "c": adapter_for(net, 5, 3)}


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
    for place, name in enumerate("ab"):
        pair, alone = slice(2 * place, 2 * place + 2), a_net(layer)
        solo = gradients(alone, injected(alone, {name: three(alone)[name]}), x[pair], [{name: 1.0}] * 2)
        assert same(together["y"][pair], solo["y"])
        assert same(together["x"][pair], solo["x"])
        assert same(together["down of 2"][place], solo["down of 1"])
        assert same(together["up of 2"][place], solo["up of 1"])


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


class Gate:
    """A kind that reads W x: d = (g - 1) W x."""

    name, tensors, config, reads_output = "gate", {"gate": "gate"}, {}, True

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
