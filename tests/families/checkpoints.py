"""Tiny bases of each family as single checkpoints, named as the original code names them."""

import importlib

from torch import Tensor

from lorastyle.bases.base import Base
from tests.bases.families.helpers import checkpoint
from tests.bases.families.unets import checkpoint_of


def single_file(base: Base) -> dict[str, Tensor]:
    """The weights of a checkpoint as one downloads it: of most families the denoiser's alone."""
    if base.adapted[0] == "unet":
        return checkpoint_of(base)
    tests = importlib.import_module(f"tests.bases.families.test_{base.family.name}")
    spelled = vars(tests).get("checkpoint", checkpoint)
    if spelled is not checkpoint:
        weights = spelled(base)
    else:
        module = importlib.import_module(type(base.family).__module__)
        weights = (
            checkpoint(base, module.stored) if hasattr(module, "stored") else base.parts["transformer"].state_dict()
        )
    return {name: weight.contiguous() for name, weight in weights.items()}
