"""What a foreign file format is, and which there are."""

import functools
import importlib
import pkgutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.kinds import Kind
from lorastyle.bases.family import Family
from lorastyle.errors import BadInput
from lorastyle.interchange import formats as folder


@dataclass(frozen=True)
class Sheet:
    """What a format makes of an adapter: the tensors, float32 where not fixed to another type, and strings of its own
    for the header."""

    tensors: Mapping[str, Tensor]
    header: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Show:
    """What a tool can show of an adapter beside its file. preview: a picture of what it does, if there is one."""

    family: Family
    trigger: str
    strength: float
    preview: Path | None


class Format(Protocol):
    """One foreign format. Formats have no state and inherit from this class; what has a body is what most do."""

    name: str
    """As in `lorastyle export --to`."""

    title: str
    """The tools that read it, for people."""

    def accepts(self, kind: Kind, family: Family) -> str:
        """Why adapters of that kind and family cannot be written, as a clause with a subject; empty where they can."""

    def write(self, adapter: Adapter, family: Family) -> Sheet:
        """The adapter in this format; raises Unsupported where a layer or its factors have no place in it."""

    def recognises(self, names: Collection[str]) -> bool:
        """Whether a file with tensors of these names may be in this format."""
        return False

    def read(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], family: Family | None) -> Adapter:
        """The adapter in a file; without `family` the one that its names and header tell.

        Raises:
            BadInput: `where` is empty, for the caller to fill; a tensor has no place, or several families fit.
        """

    def beside(self, name: str, show: Show) -> Mapping[str, bytes]:
        """The files that belong beside the adapter file `name` (without its ending), by their names."""
        return {}


@functools.cache
def formats() -> dict[str, Format]:
    """The formats by name: the `FORMAT` of each file in `formats/`. One more can be put in from outside."""
    names = [f"{folder.__name__}.{found.name}" for found in pkgutil.iter_modules(folder.__path__)]
    modules = [importlib.import_module(name) for name in names]
    return {module.FORMAT.name: module.FORMAT for module in modules}


def format_called(name: str) -> Format:
    """The format of that name; raises BadInput where there is none."""
    if name not in formats():
        raise BadInput("to", f"there is no format called {name!r}", f"choose from {', '.join(formats())}")
    return formats()[name]
