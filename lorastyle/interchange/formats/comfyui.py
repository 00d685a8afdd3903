"""The form that ComfyUI prefers: kohya's names for UNets, those of diffusers for transformers, alpha always.

ComfyUI does not read diffusers' names of a UNet. Those of a transformer it maps to its own, which keeps apart what was
trained apart; but some layers outside the blocks it knows by their original names alone. A DoRA is refused: ComfyUI
divides by the norms of the base's weight where LyCORIS and peft divide by those of the changed weight, so the same file
means another change there.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Kind
from lorastyle.bases.family import Family
from lorastyle.interchange.assembly import modules_of
from lorastyle.interchange.format import Format, Sheet
from lorastyle.interchange.formats.diffusers import FORMAT as DIFFUSERS
from lorastyle.interchange.formats.kohya import FORMAT as KOHYA
from lorastyle.interchange.layers import original_place
from lorastyle.interchange.spelling import OURS, evened, spelled

HELD = ("lora", "loha", "lokr", "oft")
UNMAPPED = re.compile(r"transformer\.(?:(?:double|single)_stream_modulation\w*|time_guidance_embed)\..+")


class ComfyUI(Format):
    """The format "comfyui"; see :class:`lorastyle.interchange.format.Format`."""

    name = "comfyui"
    title = "ComfyUI"

    def accepts(self, kind: Kind, family: Family) -> str:
        if kind.name == "dora":
            return "ComfyUI divides a DoRA by the norms of the base's weight alone, which gives another change"
        return "" if kind.name in HELD else f"ComfyUI has no kind that holds a {kind.title}"

    def write(self, adapter: Adapter, family: Family) -> Sheet:
        if flat(family, self.name):
            return KOHYA.sheet(adapter, family)
        return Sheet(
            {
                f"{place(family, layer)}.{OURS.get(ending, ending)}": tensor
                for layer, module in evened(modules_of(adapter)).items()
                for ending, tensor in spelled(module).items()
            }
        )

    def read(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], family: Family | None) -> Adapter:
        spelling = KOHYA if KOHYA.recognises(tensors) else DIFFUSERS
        return spelling.read(tensors, header, family)


def place(family: Family, layer: str) -> str:
    """The layer's dotted name that ComfyUI looks for."""
    return original_place(family, layer).name if UNMAPPED.fullmatch(layer) else layer


def flat(family: Family, tool: str) -> bool:
    """Whether that tool wants kohya's names of this family."""
    return family.spellings.get(tool, "kohya" if family.adapted[0] == "unet" else "diffusers") == "kohya"


FORMAT = ComfyUI()
