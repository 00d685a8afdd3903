"""Every kind against the modules of LyCORIS with the same weights, by the names that kohya's tools give them."""

import copy
from typing import Any

import pytest
import torch
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from torch import Tensor

from lorastyle.adapters.kinds import kind as kind_called
from tests.adapters.nets import INPUTS, a_net, an_input

NAMES = {"lora_down.weight": "down", "lora_up.weight": "up", "dora_scale": "magnitude", "oft_blocks": "blocks"}
# kind, layer, module, its arguments
CASES: dict[str, tuple[str, str, Any, dict[str, Any]]] = {
    "lora": ("lora", "linear", LoConModule, {}),
    "lora on convolutions": ("lora", "conv 3x3", LoConModule, {}),
    "rslora": ("lora", "linear", LoConModule, {"rs_lora": True}),
    "dora": ("dora", "linear", LoConModule, {"weight_decompose": True}),
    "dora on convolutions": ("dora", "conv 3x3", LoConModule, {"weight_decompose": True}),
    "lokr": ("lokr", "linear", LokrModule, {"factor": 2}),
    "lokr, w1 of low rank": ("lokr", "linear", LokrModule, {"decompose_both": True, "lora_dim": 1}),
    "lokr, both whole": ("lokr", "linear", LokrModule, {"full_matrix": True}),
    "lokr on convolutions": ("lokr", "conv 3x3", LokrModule, {"factor": 2}),
    "lokr on convolutions with t2": ("lokr", "conv 3x3", LokrModule, {"factor": 2, "use_tucker": True}),
    "loha": ("loha", "linear", LohaModule, {}),
    "loha on convolutions": ("loha", "conv 3x3", LohaModule, {}),
    "loha on convolutions with t1 and t2": ("loha", "conv 3x3", LohaModule, {"use_tucker": True}),
    "oft": ("oft", "linear", DiagOFTModule, {"lora_dim": 4}),
    "oft on convolutions": ("oft", "conv 3x3", DiagOFTModule, {"lora_dim": 4}),
}


@pytest.mark.parametrize(("kind", "layer", "module", "settings"), CASES.values(), ids=CASES)
def test_the_change_of_the_weight_is_that_of_lycoris(
    kind: str, layer: str, module: Any, settings: dict[str, Any]
) -> None:
    base, made = a_net(layer).one, kind_called(kind)
    theirs = module("one", base, **({"lora_dim": 2, "alpha": 3.0} | settings))
    generator = torch.Generator().manual_seed(4)
    factors: dict[str, Tensor] = {}
    for name, weight in theirs.named_parameters():
        drawn = torch.randn(weight.shape, generator=generator) * 0.3
        weight.data = weight.data * (1 + 0.5 * drawn) if name == "dora_scale" else drawn
        called = NAMES.get(name, name.removeprefix("lokr_").removeprefix("hada_"))
        factors[called] = weight.data
    if kind == "dora":
        factors["magnitude"] = factors["magnitude"].view(1, -1, 1, 1) if "conv" in layer else factors["magnitude"][:, 0]
    assert made.fits(factors)
    change = made.weight(factors, float(getattr(theirs, "scale", 1.0)), base.weight)
    x = an_input(INPUTS["conv 3x3" if "conv" in layer else "tokens [b, t, d]"][1])
    merged = copy.deepcopy(base)
    with torch.no_grad():
        merged.weight += change
        # Their forward pass: get_diff_weight of LoKr and LoHa multiplies with the scale twice.
        got, wanted, alone = merged(x), theirs(x), base(x)
    # float32 sums of products of the same numbers; the outputs without the adapter are among them
    assert (got - wanted).abs().max() <= 2e-6 * wanted.abs().max()
    assert (wanted - alone).abs().max() >= 0.05 * alone.abs().max()
