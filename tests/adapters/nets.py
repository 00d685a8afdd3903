"""One layer under a name, adapters for it, and what it computes: shared by the tests of routed layers."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.inject import Injection, inject
from lorastyle.adapters.kinds import Shape, kind as kind_called

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


def random_factors(kind: str, layer: nn.Module, rank: int, seed: int) -> dict[str, Tensor]:
    """Factors of an adapter that has learnt something, in the shapes that the kind trains."""
    layer = getattr(layer, "base", layer)
    generator, made = torch.Generator().manual_seed(seed), kind_called(kind)
    shapes = made.shapes(Shape.of("layer", layer), rank, made.settings)
    return {name: torch.randn(size, generator=generator) * 0.3 for name, size in shapes.items()}


def adapter_for(net: Net, rank: int, seed: int, kind: str = "lora", **settings: object) -> Adapter:
    factors = random_factors(kind, net.one, rank, seed)
    alphas = {"net.one": float(settings.pop("alpha", rank))}
    return Adapter(kind=kind, factors={"net.one": factors}, alphas=alphas, **settings)


def three(net: Net, kind: str = "lora") -> dict[str, Adapter]:
    """Two of one shape and a third of another."""
    alphas = {"alpha": 6.0} if kind_called(kind).scaled else {}
    return {
        "a": adapter_for(net, 2, 1, kind),
        "b": adapter_for(net, 2, 2, kind, **alphas),
        "c": adapter_for(net, 5, 3, kind),
    }


def injected(net: Net, adapters: Mapping[str, Adapter]) -> Injection:
    injection = inject({"net": net}, {"net": ["one"]})
    for name, adapter in adapters.items():
        injection.add(name, adapter)
    return injection


def an_input(size: tuple[int, ...]) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(9)).requires_grad_()


def gradients(
    net: Net,
    injection: Injection,
    x: Tensor,
    rows: list[Mapping[str, float]],
    weighed: Callable[[Tensor], Tensor] = lambda weights: weights,
) -> dict[str, Tensor]:
    """The output and, for a loss that weighs every output differently, all gradients."""
    x = x.detach().clone().requires_grad_()
    for _, _, factor in injection.factors():
        factor.grad = None
    with injection.router.use(injection.route(rows)):
        y = net(x)
        wide = y if y.dtype == torch.float64 else y.float()
        (wide * weighed(torch.linspace(-1, 1, y[0].numel())).view(y[0].shape)).sum().backward()
    found = {"y": y.detach(), "x": x.grad}
    stacks = [stack for layer in injection.layers.values() for stack in layer.stacks.values()]
    return found | {
        f"{name} of {len(stack.slots)}": factor.grad for stack in stacks for name, factor in stack.factors.items()
    }


def same(got: Tensor, wanted: Tensor) -> bool:
    """Equal to 1e-6 of the largest entry: float32 sums of the same terms in another order (2^-24 for each rounding)."""
    return bool((got.reshape(wanted.shape) - wanted).abs().max() <= 1e-6 * wanted.abs().max())
