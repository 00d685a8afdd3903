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
    from lorastyle.bases.facts import BaseFacts, describe_base, shipped_facts
    from lorastyle.bases.load import load_base
    from lorastyle.bases.table import bases_table
    from lorastyle.bases.words import word_pieces
    from lorastyle.captioning.caption import caption_images
    from lorastyle.captioning.folder import caption_folder
    from lorastyle.data.dataset import Dataset
    from lorastyle.files import read_parameters, write_image
    from lorastyle.generation.compare import Cell, Grid, compare_grid
    from lorastyle.generation.generate import generate
    from lorastyle.interchange.exchange import Exported, export_adapter, import_adapter
    from lorastyle.interchange.inspection import inspect_adapter
    from lorastyle.interchange.merging import merge, mix
    from lorastyle.jobs.job import Job
    from lorastyle.jobs.redaction import Redaction
    from lorastyle.jobs.store import Jobs
    from lorastyle.jobs.worker.supervisor import run_worker
    from lorastyle.recipe import Recipe
    from lorastyle.training.estimate import Estimate, estimate
    from lorastyle.training.folder import Run
    from lorastyle.training.trainer import Progress, train
    from lorastyle.training.wishes import Wishes
    from lorastyle.workspace.area import Area
    from lorastyle.workspace.drafts.draft import Draft
    from lorastyle.workspace.drafts.rows import Row
    from lorastyle.workspace.library.card import Card
    from lorastyle.workspace.library.library import Library
    from lorastyle.workspace.settings import StudioSettings
    from lorastyle.workspace.users import Users
    from lorastyle.workspace.workspace import Workspace

__all__ = [
    "Adapter",
    "Area",
    "BadFile",
    "BadInput",
    "Base",
    "BaseFacts",
    "Card",
    "Cell",
    "Dataset",
    "Diverged",
    "Draft",
    "Estimate",
    "Exported",
    "Grid",
    "Interrupted",
    "Job",
    "Jobs",
    "Library",
    "LorastyleError",
    "Progress",
    "Recipe",
    "Redaction",
    "Row",
    "Run",
    "StudioSettings",
    "Unsupported",
    "Users",
    "Wishes",
    "Workspace",
    "bases_table",
    "caption_folder",
    "caption_images",
    "compare_grid",
    "describe_base",
    "estimate",
    "export_adapter",
    "generate",
    "import_adapter",
    "inspect_adapter",
    "load_adapter",
    "load_base",
    "merge",
    "mix",
    "read_parameters",
    "run_worker",
    "save_adapter",
    "shipped_facts",
    "train",
    "word_pieces",
    "write_image",
]
__version__ = "0.1.0"

_HOMES = {
    "Adapter": "lorastyle.adapters.file:Adapter",
    "Area": "lorastyle.workspace.area:Area",
    "Base": "lorastyle.bases.base:Base",
    "BaseFacts": "lorastyle.bases.facts:BaseFacts",
    "Card": "lorastyle.workspace.library.card:Card",
    "Cell": "lorastyle.generation.compare:Cell",
    "Dataset": "lorastyle.data.dataset:Dataset",
    "Draft": "lorastyle.workspace.drafts.draft:Draft",
    "Estimate": "lorastyle.training.estimate:Estimate",
    "Exported": "lorastyle.interchange.exchange:Exported",
    "Grid": "lorastyle.generation.compare:Grid",
    "Job": "lorastyle.jobs.job:Job",
    "Jobs": "lorastyle.jobs.store:Jobs",
    "Library": "lorastyle.workspace.library.library:Library",
    "Progress": "lorastyle.training.trainer:Progress",
    "Recipe": "lorastyle.recipe:Recipe",
    "Redaction": "lorastyle.jobs.redaction:Redaction",
    "Row": "lorastyle.workspace.drafts.rows:Row",
    "Run": "lorastyle.training.folder:Run",
    "StudioSettings": "lorastyle.workspace.settings:StudioSettings",
    "Users": "lorastyle.workspace.users:Users",
    "Wishes": "lorastyle.training.wishes:Wishes",
    "Workspace": "lorastyle.workspace.workspace:Workspace",
    "bases_table": "lorastyle.bases.table:bases_table",
    "caption_folder": "lorastyle.captioning.folder:caption_folder",
    "caption_images": "lorastyle.captioning.caption:caption_images",
    "compare_grid": "lorastyle.generation.compare:compare_grid",
    "describe_base": "lorastyle.bases.facts:describe_base",
    "estimate": "lorastyle.training.estimate:estimate",
    "export_adapter": "lorastyle.interchange.exchange:export_adapter",
    "generate": "lorastyle.generation.generate:generate",
    "import_adapter": "lorastyle.interchange.exchange:import_adapter",
    "inspect_adapter": "lorastyle.interchange.inspection:inspect_adapter",
    "load_adapter": "lorastyle.adapters.file:load",
    "load_base": "lorastyle.bases.load:load_base",
    "merge": "lorastyle.interchange.merging:merge",
    "mix": "lorastyle.interchange.merging:mix",
    "read_parameters": "lorastyle.files:read_parameters",
    "run_worker": "lorastyle.jobs.worker.supervisor:run_worker",
    "save_adapter": "lorastyle.adapters.file:save",
    "shipped_facts": "lorastyle.bases.facts:shipped_facts",
    "train": "lorastyle.training.trainer:train",
    "word_pieces": "lorastyle.bases.words:word_pieces",
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
