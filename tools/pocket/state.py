"""Resumable training state: nested dictionaries of tensors in one safetensors file, written whole."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = torch.as_tensor(value).detach().clone().contiguous()
    return flat


def save(path: Path, **trees: Mapping[Any, Any]) -> None:
    """Write the trees to `path`; a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    save_file(flatten(trees), beside)
    os.replace(beside, path)


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote; keys come back as strings."""
    trees: dict[str, Any] = {}
    for name, tensor in load_file(path).items():
        *folders, leaf = name.split("/")
        tree = trees
        for folder in folders:
            tree = tree.setdefault(folder, {})
        tree[leaf] = tensor
    return trees


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {str(index): state for index, state in optimizer.state_dict()["state"].items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    whole = optimizer.state_dict()
    whole["state"] = {int(index): dict(moments) for index, moments in state.items()}
    optimizer.load_state_dict(whole)
