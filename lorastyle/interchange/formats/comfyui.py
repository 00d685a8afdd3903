"""The form that ComfyUI prefers: kohya's names for UNets, those of diffusers for transformers, alpha always.

ComfyUI does not read diffusers' names of a UNet, and takes fused kohya names of a transformer only as wide as in the
published bases; it maps diffusers' names itself. A DoRA is refused: ComfyUI divides by the norms of the base's weight
where LyCORIS and peft divide by those of the changed weight, so the same file means another change there.
"""

from collections.abc import Mapping

from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Kind
from lorastyle.bases.family import Family
from lorastyle.interchange.assembly import modules_of
from lorastyle.interchange.format import Format, Sheet
from lorastyle.interchange.formats.diffusers import FORMAT as DIFFUSERS
from lorastyle.interchange.formats.kohya import FORMAT as KOHYA
from lorastyle.interchange.spelling import OURS, evened, spelled

HELD = ("lora", "loha", "lokr", "oft")


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
            return KOHYA.write(adapter, family)
        return Sheet(
            {
                f"{layer}.{OURS.get(ending, ending)}": tensor
                for layer, module in evened(modules_of(adapter)).items()
                for ending, tensor in spelled(module).items()
            }
        )

    def read(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], family: Family | None) -> Adapter:
        spelling = KOHYA if KOHYA.recognises(tensors) else DIFFUSERS
        return spelling.read(tensors, header, family)


def flat(family: Family, tool: str) -> bool:
    """Whether that tool wants kohya's names of this family."""
    return family.spellings.get(tool, "kohya" if family.adapted[0] == "unet" else "diffusers") == "kohya"


FORMAT = ComfyUI()
