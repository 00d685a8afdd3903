"""The files that diffusers and peft read: dotted names, A and B, peft's configuration in the header.

The scale is folded into B and alpha is the rank, so that readers who look for no alpha read the same.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from torch import Tensor

from lorastyle.adapters import header as headers
from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Kind
from lorastyle.bases.family import Family, families
from lorastyle.errors import BadInput
from lorastyle.interchange.assembly import assembled, modules_of
from lorastyle.interchange.format import Format, Sheet
from lorastyle.interchange.layers import bare_place, original_place, own_place
from lorastyle.interchange.spelling import ALPHA, MAGNITUDE, folded, meant

HELD = ("lora", "dora")
# How the tensors of a module have been spelled over the years.
ENDING = re.compile(
    r"(?P<module>.+?)(?:"
    r"\.lora_(?P<letter>[AB])(?:\.default)?\.weight"
    r"|\.lora_(?P<kohya>down|up)\.weight"
    r"|(?P<old>_lora|\.lora|\.lora_linear_layer)\.(?P<direction>down|up)\.weight"
    r"|\.(?P<magnitude>dora_scale|lora_magnitude_vector)(?:\.default)?(?:\.weight)?"
    r"|\.(?P<other>alpha|lora_mid\.weight|(?:hada|lokr|oft)_\w+(?:\.weight)?)"
    r")"
)
DIRECTIONS = {"A": "lora_A.weight", "down": "lora_A.weight", "B": "lora_B.weight", "up": "lora_B.weight"}
OLD_TEXT = re.compile(r"(\.self_attn\.)to_(q|k|v|out)$")
WRAPPED = "base_model.model."  # by peft


class Diffusers(Format):
    """The format "diffusers"; see :class:`lorastyle.interchange.format.Format`."""

    name = "diffusers"
    title = "diffusers and peft"

    def accepts(self, kind: Kind, family: Family) -> str:
        return "" if kind.name in HELD else f"the loader of diffusers reads LoRA and DoRA, but no {kind.title}"

    def write(self, adapter: Adapter, family: Family) -> Sheet:
        modules = {layer: folded(module) for layer, module in modules_of(adapter).items()}
        plain = replace(
            adapter,
            factors={layer: module.factors for layer, module in modules.items()},
            alphas={layer: module.alpha for layer, module in modules.items()},
            rslora=False,
        )
        tensors = {
            headers.tensor_name(layer, module.made.tensors[name]): factor
            for layer, module in modules.items()
            for name, factor in module.factors.items()
        }
        return Sheet(tensors, {headers.PEFT: headers.peft(plain)})

    def recognises(self, names: Collection[str]) -> bool:
        found = [ENDING.fullmatch(name) for name in names]
        return all(match and "." in match["module"] for match in found)

    def read(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], family: Family | None) -> Adapter:
        found = by_module(tensors)
        modules = {name: meant(name, held) for name, held in found.items()}
        ranks = {name: module.made.rank(module.factors) for name, module in modules.items()}
        said = headers.scales("", header, ranks)
        modules = {
            name: replace(module, scale=said[name]) if ALPHA not in found[name] and module.made.scaled else module
            for name, module in modules.items()
        }
        return assembled(modules, {name: text for name, text in header.items() if name != headers.PEFT}, family, PLACES)


PLACES = (own_place, original_place, bare_place)


def by_module(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by module, under the name that diffusers gives it today, and by ending as peft has it."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = ENDING.fullmatch(name)
        if match is None:
            raise BadInput("", f"the tensor {name} is of no kind of adapter known here", "export it again without")
        module = _today(match["module"], old=match["old"])
        held = found.setdefault(module, {})
        ending = _ending(match)
        if ending in held:
            raise BadInput("", f"{module} has two tensors {ending}", "export it again without one of them")
        held[ending] = tensor
    return found


def _ending(match: re.Match[str]) -> str:
    if match["other"]:
        return match["other"]
    direction = match["letter"] or match["kohya"] or match["direction"]
    return DIRECTIONS[direction] if direction else MAGNITUDE


def _today(module: str, old: str | None) -> str:
    """The module's name, with the part it is in; `old`: how diffusers had LoRA on attention until 2023."""
    module = module.removeprefix(WRAPPED).replace(".processor.", ".")
    if old:
        module = OLD_TEXT.sub(r"\1\2_proj", module)
        module = f"{module}.0" if module.endswith(".to_out") else module
    first = module.partition(".")[0]
    parts = {part for family in families().values() for part in family.adapted} | {"diffusion_model"}
    return headers.published(module) if first in parts else module


FORMAT = Diffusers()
