"""Teach an image model a style, a character or an object with LoRA adapters, and draw with them.

    import lorastyle

    base = lorastyle.load_base("pocket")
    data = lorastyle.Dataset.from_folder("sample_data/ink")
    run = lorastyle.train(base, data, lorastyle.Recipe(purpose="style"), out="runs/ink")
    images = lorastyle.generate(base, ["a cat face, ink style"], adapters={run.adapter: 1.0}, seed=0)

Names are loaded when they are first used, so that importing the package stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lorastyle.errors import BadFile, BadInput, Diverged, Interrupted, LorastyleError, Unsupported

if TYPE_CHECKING:
    from lorastyle.adapters.file import Adapter, load as load_adapter, save as save_adapter
    from lorastyle.bases.base import Base
    from lorastyle.bases.load import load_base
    from lorastyle.bases.table import bases_table
    from lorastyle.data.dataset import Dataset
    from lorastyle.files import write_image
    from lorastyle.generation.generate import generate
    from lorastyle.interchange.exchange import Exported, export_adapter, import_adapter
    from lorastyle.interchange.inspection import inspect_adapter
    from lorastyle.interchange.merging import merge, mix
    from lorastyle.recipe import Recipe
    from lorastyle.training.folder import Run
    from lorastyle.training.trainer import Progress, train

__all__ = [
    "Adapter",
    "BadFile",
    "BadInput",
    "Base",
    "Dataset",
    "Diverged",
    "Exported",
    "Interrupted",
    "LorastyleError",
    "Progress",
    "Recipe",
    "Run",
    "Unsupported",
    "bases_table",
    "export_adapter",
    "generate",
    "import_adapter",
    "inspect_adapter",
    "load_adapter",
    "load_base",
    "merge",
    "mix",
    "save_adapter",
    "train",
    "write_image",
]
__version__ = "0.1.0"

_HOMES = {
    "Adapter": "lorastyle.adapters.file:Adapter",
    "Base": "lorastyle.bases.base:Base",
    "Dataset": "lorastyle.data.dataset:Dataset",
    "Exported": "lorastyle.interchange.exchange:Exported",
    "Progress": "lorastyle.training.trainer:Progress",
    "Recipe": "lorastyle.recipe:Recipe",
    "Run": "lorastyle.training.folder:Run",
    "bases_table": "lorastyle.bases.table:bases_table",
    "export_adapter": "lorastyle.interchange.exchange:export_adapter",
    "generate": "lorastyle.generation.generate:generate",
    "import_adapter": "lorastyle.interchange.exchange:import_adapter",
    "inspect_adapter": "lorastyle.interchange.inspection:inspect_adapter",
    "load_adapter": "lorastyle.adapters.file:load",
    "load_base": "lorastyle.bases.load:load_base",
    "merge": "lorastyle.interchange.merging:merge",
    "mix": "lorastyle.interchange.merging:mix",
    "save_adapter": "lorastyle.adapters.file:save",
    "train": "lorastyle.training.trainer:train",
    "write_image": "lorastyle.files:write_image",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
