"""Bases with adapters merged into them, written as what they were read from: a diffusers folder or one checkpoint.

merged = lorastyle.merge(lorastyle.load_base("model.safetensors"), {"ink.safetensors": 0.8}, "model-ink.safetensors")
"""

import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from lorastyle import files
from lorastyle.adapters import algebra
from lorastyle.adapters.algebra import Mixed, total_change
from lorastyle.adapters.file import Adapter
from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, Place
from lorastyle.bases.layout import PICKLES, Layout, read_layout
from lorastyle.errors import BadFile, BadInput, Unsupported
from lorastyle.interchange.exchange import import_adapter

Strengths = Mapping[Path | str | Adapter, float]
Uses = list[tuple[Adapter, str, float]]
MERGEABLE = (torch.float32, torch.float16, torch.bfloat16)


def merge(base: Base, adapters: Strengths, out: Path | str) -> Path:
    """Write the base with these adapters in its weights, each as strong as is said; the base itself stays as it is.

    Weights keep their names and number formats; all but the adapted ones keep their bits.

    Args:
        adapters: files, of other tools too, or adapters, with the strength of each.
        out: a new folder, or a new .safetensors file where the base is one.

    Raises:
        BadInput: an adapter does not fit the base, or `out` exists.
        BadFile: the base's files lack a layer that is adapted.
        Unsupported: the base was not read from files, or is quantised, or has no single file for such a layer.
    """
    out = Path(out)
    if base.source is None:
        raise Unsupported(base.name, "this base was not read from files", "load it from a folder or a file")
    if out.exists():
        raise BadInput(str(out), "there is something of that name already", "choose another name")
    read = _read(adapters, base)
    if base.source.is_dir():
        _merge_folder(read_layout(base.source), read, out)
    elif out.suffix != ".safetensors":
        raise BadInput(str(out), "this base is a single .safetensors file", "let the name of the new one end so too")
    else:
        places = _places_in_checkpoint(base.family.built(read_layout(base.source).tensors), read)
        with files.new_file(out) as new:
            _copy_changed(base.source, new, places)
    return out


def mix(adapters: Strengths, rank: int | None = None, base: Base | None = None) -> Mixed:
    """One adapter that acts as these do together, with its relative error in each layer.

    Args:
        rank: of the new adapter; without it the mix is exact, and as large as all of them together.
        base: what they are for; needed where one is of another kind than lora.

    Raises:
        BadInput: they cannot be mixed so.
        BadFile: an adapter's file cannot be used.
    """
    models = None if base is None else base.models
    return algebra.mix(_read(adapters, base), rank, models)


def _read(adapters: Strengths, base: Base | None) -> list[tuple[Adapter, float]]:
    read = []
    for given, strength in adapters.items():
        family = None if base is None else base.family.name
        adapter = given if isinstance(given, Adapter) else import_adapter(given, family)
        if base is not None and adapter.family and adapter.family != base.family.name:
            what = f"it was made for a base of the family {adapter.family}, and {base.name} is of {base.family.name}"
            raise BadInput("an adapter" if isinstance(given, Adapter) else str(given), what, "use the base it is for")
        algebra.require_strength("an adapter" if isinstance(given, Adapter) else str(given), strength)
        read.append((adapter, strength))
    return read


# a diffusers folder


def _merge_folder(layout: Layout, adapters: Sequence[tuple[Adapter, float]], out: Path) -> None:
    parts: dict[str, dict[str, Uses]] = {}
    for adapter, strength in adapters:
        for layer in adapter.factors:
            part, _, path = layer.partition(".")
            plain = path.removeprefix("text_model.")
            parts.setdefault(part, {}).setdefault(plain, []).append((adapter, layer, strength))
    for part in parts:
        if part not in layout.configs:
            raise BadInput(str(layout.path), f"it has no {part}, which is adapted", "use the base the adapter is for")
    with files.new_folder(out) as beside:
        shutil.copyfile(layout.path / "model_index.json", beside / "model_index.json")
        for part in layout.configs:
            if part != "model_index" and (layout.path / part).is_dir():
                _merge_part(layout, part, parts.get(part, {}), beside / part)


def _merge_part(layout: Layout, part: str, uses: Mapping[str, Uses], beside: Path) -> None:
    """Copy one part's folder, but for pickles and other variants of the weights, with the changes in its weights."""
    beside.mkdir(parents=True)
    weights = layout.weights(part)
    missing = set(uses)
    for path in sorted((layout.path / part).iterdir()):
        if path in weights and uses:
            places = {
                f"{before}{plain}.weight": {Place(plain): use}
                for plain, use in uses.items()
                for before in ("", "text_model.")
            }
            with (beside / path.name).open("wb") as new:
                found = _copy_changed(path, new, places, part=True)
            missing -= {name.removeprefix("text_model.").removesuffix(".weight") for name in found}
        elif path.is_file() and (path in weights or path.suffix not in (".safetensors", *PICKLES)):
            shutil.copyfile(path, beside / path.name)
    if missing:
        what = f"there is no weight of {min(missing)} in it, which is adapted"
        raise BadFile(str(layout.path / part), what, "use the base that the adapter is for, whole")


# one checkpoint


def _places_in_checkpoint(family: Family, adapters: Sequence[tuple[Adapter, float]]) -> dict[str, dict[Place, Uses]]:
    """For each tensor of a single checkpoint the layers in it that are adapted, and by whom."""
    places: dict[str, dict[Place, Uses]] = {}
    for adapter, strength in adapters:
        for layer in adapter.factors:
            place = family.original(layer)
            if place is None:
                what = "this layer stands nowhere in single files of such a base"
                raise Unsupported(layer, what, "merge into a diffusers folder of the base")
            held = places.setdefault(place.name + place.ending, {})
            held.setdefault(place, []).append((adapter, layer, strength))
    return places


def _copy_changed(
    path: Path, new: BinaryIO, places: Mapping[str, Mapping[Place, Uses]], part: bool = False
) -> list[str]:
    """Copy a file and write the tensors that change over their places: never more than one is in memory.

    Args:
        part: whether other files may hold what is not here.

    Returns:
        The names of the tensors that changed.
    """
    with path.open("rb") as old:
        shutil.copyfileobj(old, new)
    begins, changed = _begins(path), []
    with safe_open(path, framework="pt") as file:
        for name, layers in places.items():
            held = next((one for one in (name, _without_prefix(name)) if one in begins), None)
            if held is None and not part:
                what = f"there is no {name} in it, which is adapted"
                do = "use a checkpoint with all that the adapter changes, or merge into a diffusers folder of the base"
                raise BadFile(str(path), what, do)
            if held is not None:
                tensor = _with_changes(str(path), held, file.get_tensor(held), layers)
                new.seek(begins[held])
                new.write(tensor.contiguous().view(torch.uint8).numpy().data)
                changed.append(held)
    return changed


def _begins(path: Path) -> dict[str, int]:
    """Where in a .safetensors file the bytes of each tensor begin: offsets in its header count from that one's end."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {name: 8 + length + told["data_offsets"][0] for name, told in header.items() if name != "__metadata__"}


def _without_prefix(name: str) -> str:
    """The name in files that hold the denoiser alone."""
    return name.removeprefix("model.diffusion_model.")


def _with_changes(path: str, name: str, tensor: Tensor, layers: Mapping[Place, Uses]) -> Tensor:
    """The tensor with the changes of all layers in it, each in its own rows."""
    if tensor.dtype not in MERGEABLE:
        what = f"{name} is stored as {tensor.dtype}, which changes cannot be added to"
        raise Unsupported(path, what, "merge into a base that is not quantised")
    changed = tensor.to(torch.float32, copy=True)
    for place, uses in layers.items():
        ends = [len(tensor) * width // sum(place.widths) for width in itertools.accumulate(place.widths, initial=0)]
        rows = slice(ends[place.index], ends[place.index + 1])
        changed[rows] += total_change(uses, tensor[rows].to(torch.float32))
    return changed.to(tensor.dtype)
