"""Files in diffusers with peft, as installed: `load_lora_weights` of the family's own pipeline, then `fuse_lora`.

The pipeline is made of our tiny base's own parts, which are diffusers' and transformers' classes. Nothing is stood in
for.
"""

import importlib.metadata
from pathlib import Path

from torch import Tensor

from lorastyle.adapters.header import published
from lorastyle.adapters.kinds import is_layer
from lorastyle.bases.base import Base
from tools.reports.loaders.logs import warnings_of
from tools.reports.loaders.weights import Loaded, Place, kept, loaded


def prepare() -> str:
    """Tell the versions."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("diffusers", "peft"))


def load(base: Base, file: Path) -> Loaded:
    """Load the file into a pipeline of fresh parts, and fuse it into all its weights."""
    fresh = Base(base.name, base.family, base.family.tiny(0))
    before = kept(_weights(fresh))
    pipeline = fresh.pipeline
    with warnings_of("diffusers", "peft", "transformers") as said:
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
        pipeline.fuse_lora(components=[part for part in base.family.adapted if part in pipeline._lora_loadable_modules])
    return loaded(before, _weights(fresh), _places(fresh), said)


def _weights(base: Base) -> dict[str, Tensor]:
    """The parameters of the adapted models by name, peft's own and its wrappers left out."""
    return {
        f"{part}.{name.replace('.base_layer', '')}": weight
        for part in base.family.adapted
        for name, weight in base.models[part].named_parameters()
        if ".lora_" not in name
    }


def _places(base: Base) -> dict[str, Place]:
    names = [
        f"{part}.{name}".removesuffix(".base_layer")
        for part in base.family.adapted
        for name, module in base.models[part].named_modules()
        if is_layer(module) and ".lora_" not in name
    ]
    return {published(name): Place(f"{name}.weight") for name in names}
