"""InvokeAI: kohya's names for UNets and where a family says so, those of diffusers without alpha elsewhere.

It tells the base that a file is for by how many inputs some layers have, and knows that of a LoKr only where both
factors are whole. A DoRA is refused: its magnitudes would be taken for one of each input.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Kind
from lorastyle.bases.family import Family
from lorastyle.interchange.assembly import grouped
from lorastyle.interchange.format import Format, Sheet
from lorastyle.interchange.formats.comfyui import FORMAT as COMFYUI, flat
from lorastyle.interchange.formats.diffusers import FORMAT as DIFFUSERS
from lorastyle.interchange.formats.kohya import FORMAT as KOHYA

HELD = ("lora", "loha", "lokr")
TELLING = re.compile(r"\w+(_attn2_to_[kv]|_self_attn_\w+)")  # layers whose inputs tell the base


class Invoke(Format):
    """The format "invoke"; see :class:`lorastyle.interchange.format.Format`."""

    name = "invoke"
    title = "InvokeAI"

    def accepts(self, kind: Kind, family: Family) -> str:
        if kind.name == "dora":
            return "InvokeAI takes the magnitudes of a DoRA for those of the inputs, which gives another change"
        if kind.name not in HELD:
            return f"InvokeAI has no kind that holds a {kind.title}"
        return "" if flat(family, self.name) else DIFFUSERS.accepts(kind, family)

    def write(self, adapter: Adapter, family: Family) -> Sheet:
        if not flat(family, self.name):
            return DIFFUSERS.write(adapter, family)
        sheet = KOHYA.write(adapter, family)
        modules = grouped(sheet.tensors)
        told = {name: whole(held) if TELLING.fullmatch(name) else held for name, held in modules.items()}
        tensors = {f"{name}.{ending}": tensor for name, held in told.items() for ending, tensor in held.items()}
        return Sheet(tensors, sheet.header)

    def read(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], family: Family | None) -> Adapter:
        return COMFYUI.read(tensors, header, family)


def whole(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a linear layer with factors of LoKr multiplied out; the scale is in them already."""
    held = dict(held)
    for factor in ("lokr_w1", "lokr_w2"):
        if f"{factor}_a" in held:
            held[factor] = held.pop(f"{factor}_a") @ held.pop(f"{factor}_b")
    return held


FORMAT = Invoke()
