"""Every kind against peft's own layer with the same weights: names, outputs, gradients and the change of the weight."""

import re
from typing import Any

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, inject_adapter_in_model
from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Kind, kind_of
from tests.adapters.nets import INPUTS, Net, a_net, an_input, gradients, injected

TOKENS, MAPS = INPUTS["tokens [b, t, d]"], INPUTS["conv 3x3"]
EXACT = {"r": 0, "use_cayley_neumann": False, "oft_block_size": 4}
# kind, layer, size of the input, peft's configuration
CASES: dict[str, tuple[str, tuple[str, tuple[int, ...]], Any]] = {
    "dora": ("dora", TOKENS, LoraConfig(r=3, lora_alpha=5, use_dora=True)),
    "dora with rslora": ("dora", TOKENS, LoraConfig(r=3, lora_alpha=5, use_dora=True, use_rslora=True)),
    "dora without bias": ("dora", INPUTS["grid [b, h, w, d]"], LoraConfig(r=3, lora_alpha=5, use_dora=True)),
    "dora on convolutions": ("dora", INPUTS["conv 3x3 by 2"], LoraConfig(r=3, lora_alpha=5, use_dora=True)),
    "dora on pointwise convolutions": ("dora", INPUTS["conv 1x1"], LoraConfig(r=3, lora_alpha=5, use_dora=True)),
    "lokr": ("lokr", TOKENS, LoKrConfig(r=2, alpha=5, decompose_factor=2)),
    "lokr, w1 of low rank": ("lokr", TOKENS, LoKrConfig(r=1, alpha=5, decompose_both=True)),
    "lokr on convolutions": ("lokr", MAPS, LoKrConfig(r=2, alpha=5, decompose_factor=2)),
    "lokr on convolutions, w2 whole": ("lokr", MAPS, LoKrConfig(r=5, alpha=5)),
    "lokr on convolutions with t2": (
        "lokr",
        MAPS,
        LoKrConfig(r=2, alpha=5, decompose_factor=2, use_effective_conv2d=True),
    ),
    "loha": ("loha", TOKENS, LoHaConfig(r=2, alpha=5)),
    "loha on convolutions": ("loha", MAPS, LoHaConfig(r=2, alpha=5)),
    "loha on convolutions with t1 and t2": ("loha", MAPS, LoHaConfig(r=2, alpha=5, use_effective_conv2d=True)),
    "oft": ("oft", TOKENS, OFTConfig(**EXACT)),
    "oft on pointwise convolutions": ("oft", INPUTS["conv 1x1"], OFTConfig(**EXACT)),
}
EVERY = pytest.mark.parametrize(("kind", "given", "config"), CASES.values(), ids=CASES)


def same(got: Tensor, wanted: Tensor) -> bool:
    """Equal to 2e-7 of the largest entry, in float64: only scales and the base's norms are float32 (2^-24 for each)."""
    assert got.dtype == wanted.dtype == torch.float64
    return bool((got.reshape(wanted.shape) - wanted).abs().max() <= 2e-7 * wanted.abs().max())


def theirs_of(layer: str, config: Any) -> Net:
    """peft's layer with random weights, in float64."""
    config.target_modules = {"one"}
    net = a_net(layer)
    inject_adapter_in_model(config, net)
    generator = torch.Generator().manual_seed(5)
    for name, weight in net.named_parameters():
        if "magnitude" in name:
            weight.data *= 1 + 0.2 * torch.randn(weight.shape, generator=generator)
        elif ".default" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    return net.double()


def held(net: Net, gradient: bool = False) -> dict[str, Tensor]:
    """What peft's layer holds, by the endings that the names have in its files."""
    found = {}
    for name, weight in net.one.named_parameters():
        if ".default" in name:
            ending = name.replace(".default", "")
            # as get_peft_model_state_dict does
            ending = re.sub(r"^lora_magnitude_vector\.weight$", "lora_magnitude_vector", ending)
            found[ending] = weight.grad if gradient else weight.detach()
    return found


def ours_of(net: Net) -> tuple[Kind, Adapter]:
    made = kind_of(held(net))
    assert made is not None
    factors = {name: held(net)[ending].float() for name, ending in made.tensors.items() if ending in held(net)}
    scale = net.one.scaling["default"] if made.scaled else 1.0
    adapter = Adapter(
        kind=made.name,
        factors={"net.one": factors},
        alphas={"net.one": scale * made.rank(factors)},
    )
    return made, adapter


@EVERY
def test_output_and_gradients_are_those_of_peft(kind: str, given: tuple[str, tuple[int, ...]], config: Any) -> None:
    layer, size = given
    theirs, ours, x = theirs_of(layer, config), a_net(layer).double(), an_input(size).double()
    made, adapter = ours_of(theirs)
    assert made.name == kind
    assert made.fits(adapter.factors["net.one"])
    injection = injected(ours, {"a": adapter})
    injection.layers["net.one"].double()
    found = gradients(ours, injection, x, [{"a": 1.0}] * 6)
    x = x.detach().requires_grad_()
    y = theirs(x)
    (y * torch.linspace(-1, 1, y[0].numel()).view(y[0].shape)).sum().backward()
    assert same(found.pop("y"), y.detach())
    assert same(found.pop("x"), x.grad)
    wanted = held(theirs, gradient=True)
    assert len(found) == len(wanted)
    # The gradients of their LoHa with t1 and t2 are wrong: those of w1_a are taken from t2. Ours is not trained.
    for name, gradient in found.items() if made.trainable else ():
        assert same(gradient, wanted[made.tensors[name.removesuffix(" of 1")]])


@EVERY
def test_the_change_of_the_weight_is_that_of_peft(kind: str, given: tuple[str, tuple[int, ...]], config: Any) -> None:
    theirs = theirs_of(given[0], config)
    _, adapter = ours_of(theirs)
    before = theirs.one.get_base_layer().weight.detach().clone()
    change = adapter.change("net.one", before)
    theirs.one.merge()
    wanted = theirs.one.get_base_layer().weight.detach() - before
    # our changes are float32: a few roundings of 2^-24 of the largest number that went in, the weight among them
    assert (change - wanted).abs().max() <= 1e-6 * max(wanted.abs().max(), before.abs().max())


def test_oft_on_a_convolution_turns_as_merged_in_peft() -> None:
    """peft's forward pass there adds up overlapping patches, so that even no rotation changes the output."""
    config = OFTConfig(**EXACT)
    theirs, ours, x = theirs_of("conv 3x3", config), a_net("conv 3x3").double(), an_input(MAPS[1]).double()
    _, adapter = ours_of(theirs)
    theirs.one.merge()
    injection = injected(ours, {"a": adapter})
    injection.layers["net.one"].double()
    with injection.router.use(injection.route([{"a": 1.0}] * 6)):
        assert same(ours(x), theirs.one.get_base_layer()(x))
