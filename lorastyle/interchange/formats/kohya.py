"""The files of kohya's sd-scripts and of LyCORIS: flat names, fused layers as in the original code, alpha always.

lora_unet_down_blocks_1_attentions_0_ ... _to_q.lora_down.weight    [rank, inputs]
lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight [outputs, rank]
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Kind
from lorastyle.bases.family import Family
from lorastyle.errors import Unsupported
from lorastyle.interchange.assembly import assembled, grouped, modules_of
from lorastyle.interchange.format import Format, Sheet
from lorastyle.interchange.fused import fuse
from lorastyle.interchange.layers import flat_place, kohya_place, original_flat_place
from lorastyle.interchange.spelling import Module, evened, meant, spelled

HELD = ("lora", "dora", "loha", "lokr", "oft")
PREFIX = "lora_unet_"
DO = "choose another format, or give a rank to have it converted to a LoRA"
# Other words for it: of LyCORIS by itself, of OneTrainer, of sd-scripts for OFT.
ALIASES = ("lycoris_", "lora_transformer_", "oft_unet_")


class Kohya(Format):
    """The format "kohya"; see :class:`lorastyle.interchange.format.Format`."""

    name = "kohya"
    title = "kohya's sd-scripts and LyCORIS"

    def accepts(self, kind: Kind, family: Family) -> str:
        return "" if kind.name in HELD else f"LyCORIS has no kind that holds a {kind.title}"

    def write(self, adapter: Adapter, family: Family) -> Sheet:
        sheet = self.sheet(adapter, family)
        for name, tensor in sheet.tensors.items():
            if name.endswith(".oft_blocks") and tensor.shape[0] < tensor.shape[-1]:
                what = (
                    f"of {len(tensor)} blocks, each of {tensor.shape[-1]}; LyCORIS reads none larger than their number"
                )
                raise Unsupported(name, what, DO)
        return sheet

    def sheet(self, adapter: Adapter, family: Family) -> Sheet:
        """The adapter in this spelling, whether or not kohya's tools can read it."""
        parts: dict[str, dict[int, Module]] = {}
        widths: dict[str, tuple[int, ...]] = {}
        for layer, module in modules_of(adapter).items():
            place = kohya_place(family, layer)
            parts.setdefault(place.name, {})[place.index] = module
            widths[place.name] = place.widths
        modules = {
            name: held[0] if widths[name] == (1,) else fuse(name, dict(sorted(held.items())), widths[name])
            for name, held in parts.items()
        }
        tensors = {name: spelled(module) for name, module in evened(modules).items()}
        return Sheet({f"{name}.{ending}": tensor for name, held in tensors.items() for ending, tensor in held.items()})

    def recognises(self, names: Collection[str]) -> bool:
        return all(name.startswith((PREFIX, "lora_te", *ALIASES)) for name in names)

    def read(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], family: Family | None) -> Adapter:
        modules = {_plain(name): meant(name, held) for name, held in grouped(tensors).items()}
        return assembled(modules, header, family, (kohya_place, flat_place, original_flat_place))


def _plain(name: str) -> str:
    for alias in ALIASES:
        if name.startswith(alias):
            return PREFIX + name.removeprefix(alias)
    return name


FORMAT = Kohya()
