"""Checkpoints: everything that a run needs to go on as if it had never stopped.

A checkpoint is a folder `step-000100` that appears whole or not at all. There is no generator state in it, because
all draws are pure functions of the step.

    adapter.safetensors   the adapter as it would be published now (with averaged factors, if the recipe averages)
    state.safetensors     factors, their averages and the optimizer's moments, stacked over members
    state.json            the step and what the run was made of
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from lorastyle import files
from lorastyle.adapters.file import Adapter, save as save_adapter
from lorastyle.errors import BadFile

NAME = re.compile(r"step-(\d{6,})")
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    step: int
    folder: Path

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter.safetensors"


def checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints in `folder`, oldest first."""
    found = [(NAME.fullmatch(path.name), path) for path in folder.glob("step-*")]
    return sorted((Checkpoint(int(match[1]), path) for match, path in found if match), key=lambda one: one.step)


def write_checkpoint(
    folder: Path, step: int, adapter: Adapter, tensors: Mapping[str, Tensor], made_of: Mapping[str, Any], keep: int
) -> Checkpoint:
    """Write the checkpoint of `step`, then delete the oldest beyond `keep`."""
    path = folder / f"step-{step:06d}"
    with files.new_folder(path) as beside:
        save_adapter(beside / "adapter.safetensors", adapter)
        files.write_bytes(beside / "state.safetensors", save(dict(tensors)))
        files.write_json(beside / "state.json", {"version": VERSION, "step": step, "made_of": dict(made_of)})
    for old in checkpoints(folder)[:-keep]:
        files.remove_folder(old.folder)
    return Checkpoint(step, path)


def read_checkpoint(checkpoint: Checkpoint, made_of: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint.

    Raises:
        BadFile: it is damaged, or belongs to a run of another base, dataset or recipe.
    """
    saved = files.read_json(checkpoint.folder / "state.json")
    for what, value in made_of.items():
        if saved.get("made_of", {}).get(what) != value:
            do = f"resume with the {what} it was started with, or start a new run in another folder"
            raise BadFile(str(checkpoint.folder), f"this run was started with another {what}", do)
    path = checkpoint.folder / "state.safetensors"
    try:
        return load(path.read_bytes())
    except Exception as error:
        raise BadFile(
            str(path), f"cannot be read ({error})", "delete this checkpoint; an older one will be used"
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors named `moment/<factor number>/<name>`."""
    return {
        f"moment/{number}/{name}": torch.as_tensor(value).detach().cpu()
        for number, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`; learning rates are not part of it, they follow from the step."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, number, *rest = name.split("/")
        if kind == "moment":
            state.setdefault(int(number), {})[rest[0]] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
