"""Adapter files: one .safetensors in the naming of diffusers and peft, with the recipe in its header.

unet.down_blocks.1. ... .to_q.lora_A.weight        [rank, inputs]
unet.down_blocks.1. ... .to_q.lora_B.weight        [outputs, rank]
text_encoder.text_model.encoder. ... .lora_A.weight

header: lora_adapter_metadata (see header.py), modelspec.* and what else the caller gives, lorastyle.*
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lorastyle.adapters import header
from lorastyle.adapters.kinds import Kind, kind, kind_of, kinds
from lorastyle.adapters.tensors import read_tensors
from lorastyle.errors import BadFile
from lorastyle.files import write_bytes

FOREIGN = ("lora_unet_", "lora_te", "lora_transformer_", "lycoris_", "diffusion_model.")


@dataclass(frozen=True, eq=False)
class Adapter:
    """A trained adapter.

    family: of the bases it fits; empty if unknown. kind: see :mod:`lorastyle.adapters.kinds`.
    factors: by layer ("unet.mid_block. ... .to_q") and name ("down", "up"), float32.
    alphas: by layer. rslora: scale alpha / sqrt(rank) instead of alpha / rank.
    trigger: the word that calls it up. recipe: the settings that made it. metadata: further strings of the header.
    """

    family: str = ""
    kind: str = "lora"
    factors: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict, repr=False)
    alphas: Mapping[str, float] = field(default_factory=dict, repr=False)
    rslora: bool = False
    trigger: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)

    def rank(self, layer: str) -> int:
        """The rank in that layer."""
        return kind(self.kind).rank(self.factors[layer])

    def scale(self, layer: str) -> float:
        """What the product of the factors is multiplied by in that layer."""
        rank = self.rank(layer)
        return self.alphas[layer] / (math.sqrt(rank) if self.rslora else rank)

    def change(self, layer: str, base: Tensor | None = None) -> Tensor:
        """The change of the layer's weight `base` that the adapter amounts to, in the weight's shape.

        Without `base` the shape is what the factors tell; kinds whose change depends on it raise BadInput.
        """
        return kind(self.kind).weight(self.factors[layer], self.scale(layer), base)

    def summary(self) -> dict[str, Any]:
        """What a person wants to know of it."""
        ranks = Counter(self.rank(layer) for layer in self.factors)
        return {
            "kind": self.kind,
            "family": self.family or "unknown",
            "trigger": self.trigger,
            "layers": dict(Counter(layer.partition(".")[0] for layer in self.factors)),
            "ranks": {str(rank): count for rank, count in sorted(ranks.items())},
            "alphas": sorted(set(self.alphas.values())),
            "rslora": self.rslora,
            "parameters": sum(tensor.numel() for factors in self.factors.values() for tensor in factors.values()),
            "recipe": dict(self.recipe),
            "metadata": dict(self.metadata),
        }


def save(path: Path | str, adapter: Adapter, dtype: torch.dtype = torch.float32) -> None:
    """Write the adapter, whole; the same adapter gives the same bytes."""
    endings = kind(adapter.kind).tensors
    tensors = {
        header.tensor_name(layer, endings[name]): factor.detach().to("cpu", dtype, copy=True).contiguous()
        for layer, factors in adapter.factors.items()
        for name, factor in factors.items()
    }
    write_bytes(path, whole(tensors, header.written(adapter)))


def load(path: Path | str) -> Adapter:
    """Read an adapter file, of our own or as diffusers and peft write them.

    Raises BadFile, saying what is wrong, for anything that is not a whole and sound adapter file.
    """
    path = Path(path)
    tensors, strings = read_tensors(path)
    _refuse_what_is_no_adapter(path, tensors)
    found = _by_layer(path, tensors)
    name, factors = _kind_of(path, found)
    read = header.read(str(path), strings, {layer: kind(name).rank(held) for layer, held in factors.items()})
    for flag, value in kind(name).config.items():
        if read.config.get(flag, value) != value:
            raise BadFile(str(path), f"its header says {flag}, but the tensors for that are missing", "export it again")
    return Adapter(kind=name, factors=factors, alphas=read.alphas, rslora=read.rslora, **read.about)


def is_foreign(names: Iterable[str]) -> bool:
    """Whether tensors of these names are named as other tools do, who also put alpha beside the factors."""
    return any(name.startswith(FOREIGN) or name.endswith(".alpha") for name in names)


def _refuse_what_is_no_adapter(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if is_foreign(tensors):
        what = "its layers are named as in the files of other tools"
        raise BadFile(str(path), what, f"run lorastyle import {path.name}, and use the file that it writes")
    endings = [f".{ending}" for made in kinds().values() for ending in made.tensors.values()]
    if not any(name.endswith(ending) for name in tensors for ending in endings):
        raise BadFile(str(path), "these are a model's own weights, not an adapter", "give it as the base instead")


def _by_layer(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by layer and ending."""
    endings = {ending for made in kinds().values() for ending in made.tensors.values()}
    found: dict[str, dict[str, Tensor]] = {}
    for written, tensor in tensors.items():
        name = written.removesuffix(".weight") if written.endswith(f"{header.MAGNITUDE}.weight") else written
        ending = next((ending for ending in endings if name.endswith(f".{ending}")), None)
        if ending is None:
            raise BadFile(
                str(path), f"the tensor {name} is of no kind of adapter known here", "export it again without"
            )
        found.setdefault(name.removesuffix(f".{ending}"), {})[ending] = tensor
    return found


def _kind_of(path: Path, found: Mapping[str, Mapping[str, Tensor]]) -> tuple[str, dict[str, dict[str, Tensor]]]:
    """The kind whose factors these are, and the factors by layer and name."""
    made = _nearest({ending for held in found.values() for ending in held})
    factors = {}
    for layer, held in found.items():
        if kind_of(held) is not made:
            form = min(made.forms, key=lambda form: len(_endings(made, form).symmetric_difference(held)))
            missing = sorted(_endings(made, form).difference(held))
            what = f"{layer} has no {missing[0]}" if missing else f"{layer} is of another kind than {made.name}"
            raise BadFile(str(path), what, "download or export it again")
        factors[layer] = {name: held[ending] for name, ending in made.tensors.items() if ending in held}
        if not made.fits(factors[layer]):
            shapes = " and ".join(str(list(factor.shape)) for factor in factors[layer].values())
            raise BadFile(str(path), f"the factors of {layer} do not belong together: {shapes}", "export it again")
    return made.name, factors


def _nearest(endings: Collection[str]) -> Kind:
    """The kind one of whose forms is the nearest to these endings."""
    return min(kinds().values(), key=lambda made: min(len(_endings(made, form) ^ set(endings)) for form in made.forms))


def _endings(made: Kind, form: Collection[str]) -> frozenset[str]:
    return frozenset(made.tensors[name] for name in form)


def whole(tensors: Mapping[str, Tensor], strings: Mapping[str, str]) -> bytes:
    """A .safetensors file with the strings of its header in the order of their names, which the library leaves open."""
    data = safetensors.torch.save(dict(tensors), dict(strings))
    end = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:end])
    head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]
