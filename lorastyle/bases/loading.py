"""Loading the parts of a base from its files: safetensors only, in fp32 or bf16, nothing missing in silence."""

import contextlib
import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from lorastyle.bases.family import Place
from lorastyle.bases.layout import Layout, read_layout
from lorastyle.errors import BadFile

AGAIN = "download the base again, whole"


def folder_loaders(layout: Layout, parts: Sequence[str]) -> dict[str, Callable[[], Any]]:
    """For each part how to load it from a diffusers folder. Raises BadFile where a part's weights cannot be read."""
    return {part: partial(load_from_folder, layout, part) for part in parts}


def checkpoint_loaders(layout: Layout, parts: Sequence[str], pipeline: str) -> dict[str, Callable[[], Any]]:
    """For each part how to load it from a single checkpoint of the diffusers class named `pipeline`."""
    return {part: partial(load_from_checkpoint, layout, part, parts, pipeline) for part in parts}


def companion(layout: Layout, why: str) -> Layout:
    """The diffusers folder beside a single checkpoint, which has its name without the suffix.

    Raises BadFile where there is none; `why` says what it is needed for.
    """
    beside = layout.path.with_suffix("")
    if not (beside / "model_index.json").is_file():
        raise BadFile(str(layout.path), why, f"put the folder of a diffusers pipeline of this kind at {beside}")
    return replace(read_layout(beside), halved=layout.halved)


def load_by_names(
    layout: Layout, configs: Layout, part: str, pieces: Callable[[str], Sequence[Place]], prefix: str
) -> nn.Module:
    """One diffusers model from a single checkpoint in other names; its configuration is in the folder of `configs`.

    Args:
        pieces: for the name of each weight the tensors in the file, or rows of them, that make it up, one under
            another.
        prefix: stands in front of these names in the file, or does not.

    Raises BadFile where weights are missing or do not fit.
    """
    from accelerate import init_empty_weights

    prefix = prefix if any(name.startswith(prefix) for name in layout.tensors) else ""
    with quiet(), _said_plainly(layout.path, AGAIN):
        with init_empty_weights(include_buffers=False):
            model = _kind(configs, part).from_config(dict(configs.configs[part]))
        wanted = {
            name: [(prefix + place.name, place) for place in pieces(name)] for name in model.state_dict(keep_vars=True)
        }
        missing = sorted({stored for found in wanted.values() for stored, _ in found} - set(layout.tensors))
        if missing:
            raise _incomplete(layout.path, missing)
        with safe_open(layout.path, framework="pt") as file:
            weights = {
                name: torch.cat(
                    [_rows(file.get_slice(stored), place).to(_dtype(layout, part)) for stored, place in found]
                )
                for name, found in wanted.items()
            }
        model.load_state_dict(weights, assign=True)
    return _aligned(model)


def _rows(stored: Any, place: Place) -> torch.Tensor:
    """What belongs to `place` of a tensor in a file."""
    share = stored.get_shape()[0] // sum(place.widths)
    first = share * sum(place.widths[: place.index])
    return stored[first : first + share * place.widths[place.index]]


def _dtype(layout: Layout, part: str) -> torch.dtype:
    return torch.bfloat16 if part in layout.halved else torch.float32


def _kind(layout: Layout, part: str) -> Any:
    """The class of that part."""
    library, name = layout.configs["model_index"].get(part, (None, None))
    if library not in ("diffusers", "transformers"):
        raise BadFile(str(layout.path), f"its {part} is of no class of diffusers or transformers", "use another base")
    kind = getattr(importlib.import_module(library), str(name), None)
    if kind is None:
        raise BadFile(str(layout.path), f"{library} has no class {name} for its {part}", f"update {library}")
    return kind


def load_from_folder(layout: Layout, part: str) -> Any:
    """One part, as its own class loads it; raises BadFile where a file is missing, damaged or a pickle."""
    kind = _kind(layout, part)
    place = layout.path / part
    if not place.is_dir():
        raise BadFile(str(place), "there is no such folder", AGAIN)
    with quiet(), _said_plainly(place, AGAIN):
        if not issubclass(kind, nn.Module):
            return kind.from_pretrained(place, local_files_only=True)
        variant = layout.variant(part)
        model, told = kind.from_pretrained(
            place,
            variant=variant,
            dtype=_dtype(layout, part),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    if told["missing_keys"]:
        raise _incomplete(place, sorted(told["missing_keys"]))
    return _aligned(model)


def load_from_checkpoint(layout: Layout, part: str, parts: Sequence[str], pipeline: str) -> Any:
    """One part of a single-file checkpoint, converted by diffusers.

    The file has neither configuration nor vocabulary. They come from the folder beside it that has its name without
    the suffix, or else from the hub (and its cache on the disk).
    """
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    path, beside = layout.path, layout.path.with_suffix("")
    config = str(beside) if (beside / "model_index.json").is_file() else None
    left_out = dict.fromkeys({*parts, "safety_checker", "feature_extractor"} - {part})
    wanted = f"make sure it is whole, and put the base's configurations (the folder without weights) at {beside}"
    with quiet(), _said_plainly(path, AGAIN if config else wanted):
        kind = getattr(importlib.import_module("diffusers"), pipeline)
        try:
            loaded = kind.from_single_file(str(path), config=config, dtype=_dtype(layout, part), **left_out)
        except SingleFileComponentError as error:
            raise BadFile(str(path), f"there is no {part} in it", "use a checkpoint of the whole base") from error
    model = getattr(loaded, part)
    if not isinstance(model, nn.Module):
        return model
    if tie := getattr(model, "tie_weights", None):
        tie()  # a weight that a model of transformers has under two names is stored under one
    missing = sorted(name for name, tensor in model.state_dict().items() if tensor.is_meta)
    if missing:
        raise _incomplete(path, [f"{part}.{name}" for name in missing])
    return _aligned(model)


def _aligned(model: nn.Module) -> nn.Module:
    """The model with every weight in memory of its own, at an address that is a multiple of 64.

    Loaded weights lie in the mapped file, at whatever address its header leaves them. The last bits of what the CPU's
    kernels compute depend on that, so the same weights would give other results from another file.
    """
    for weight in itertools.chain(model.parameters(), model.buffers()):
        if weight.data_ptr() % 64:
            weight.data = weight.data.clone()
    return model


def _incomplete(place: Path, missing: Sequence[str]) -> BadFile:
    what = f"{len(missing)} weights are missing in it, the first is {missing[0]}"
    return BadFile(str(place), what, AGAIN)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars that diffusers and transformers draw while they load."""
    libraries = [importlib.import_module(f"{name}.utils.logging") for name in ("diffusers", "transformers")]
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


@contextlib.contextmanager
def _said_plainly(place: Path, do: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise BadFile(str(place), f"this cannot be loaded ({reason[:300]})", do) from error
