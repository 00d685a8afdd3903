"""InvokeAI: kohya's names for UNets and where a family says so, those of diffusers without alpha elsewhere."""

from collections.abc import Mapping

from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Kind
from lorastyle.bases.family import Family
from lorastyle.interchange.format import Format, Sheet
from lorastyle.interchange.formats.comfyui import FORMAT as COMFYUI, flat
from lorastyle.interchange.formats.diffusers import FORMAT as DIFFUSERS
from lorastyle.interchange.formats.kohya import FORMAT as KOHYA

HELD = ("lora", "loha", "lokr")


class Invoke(Format):
    """The format "invoke"; see :class:`lorastyle.interchange.format.Format`."""

    name = "invoke"
    title = "InvokeAI"

    def accepts(self, kind: Kind, family: Family) -> str:
        if kind.name not in HELD:
            return f"InvokeAI has no kind that holds a {kind.title}"
        return "" if flat(family, self.name) else DIFFUSERS.accepts(kind, family)

    def write(self, adapter: Adapter, family: Family) -> Sheet:
        return (KOHYA if flat(family, self.name) else DIFFUSERS).write(adapter, family)

    def read(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], family: Family | None) -> Adapter:
        return COMFYUI.read(tensors, header, family)


FORMAT = Invoke()
