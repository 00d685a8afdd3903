"""AUTOMATIC1111 and Forge: kohya's names, and beside the file what their pages of adapters show.

NAME.json           the text that calls the adapter up, its usual strength, which bases it is for
NAME.preview.png    a picture of what it does
"""

import json
from collections.abc import Mapping

from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Kind
from lorastyle.bases.family import Family
from lorastyle.interchange.format import Format, Sheet, Show
from lorastyle.interchange.formats.kohya import FORMAT as KOHYA

HELD = ("lora", "loha", "lokr")  # Forge has no OFT


class A1111(Format):
    """The format "a1111"; see :class:`lorastyle.interchange.format.Format`."""

    name = "a1111"
    title = "AUTOMATIC1111 and Forge"

    def accepts(self, kind: Kind, family: Family) -> str:
        if self.name not in family.known_as:
            return f"neither AUTOMATIC1111 nor Forge runs {family.title}"
        if kind.name == "dora":
            return "AUTOMATIC1111 and Forge divide a DoRA by other norms, which gives another change"
        return "" if kind.name in HELD else f"they have no kind that holds a {kind.title}"

    def write(self, adapter: Adapter, family: Family) -> Sheet:
        return KOHYA.write(adapter, family)

    def read(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], family: Family | None) -> Adapter:
        return KOHYA.read(tensors, header, family)

    def beside(self, name: str, show: Show) -> Mapping[str, bytes]:
        card = {
            "description": "",
            "sd version": show.family.known_as[self.name],
            "activation text": show.trigger,
            "preferred weight": show.strength,
            "notes": "",
        }
        files = {f"{name}.json": json.dumps(card, indent=4, ensure_ascii=False).encode()}
        return files | ({f"{name}.preview.png": show.preview.read_bytes()} if show.preview else {})


FORMAT = A1111()
