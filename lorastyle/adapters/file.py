"""Adapter files: one .safetensors in the naming of diffusers and peft, with the recipe in its header.

unet.down_blocks.1. ... .to_q.lora_A.weight        [rank, inputs]
unet.down_blocks.1. ... .to_q.lora_B.weight        [outputs, rank]
text_encoder.text_model.encoder. ... .lora_A.weight

header: lora_adapter_metadata (see header.py), modelspec.* and what else the caller gives, lorastyle.*
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lorastyle.adapters import header
from lorastyle.adapters.kinds import kind, kinds
from lorastyle.errors import BadFile
from lorastyle.files import write_bytes

PICKLES = (b"PK", b"\x80")  # how the files of torch.save begin, new and old
FOREIGN = ("lora_unet_", "lora_te", "lora_transformer_", "lycoris_")


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

    def change(self, layer: str) -> Tensor:
        """The change of the layer's weight that the adapter amounts to, in the weight's shape."""
        return kind(self.kind).weight(self.factors[layer], self.scale(layer))

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
        f"{header.published(layer)}.{endings[name]}": factor.detach().to("cpu", dtype).contiguous()
        for layer, factors in adapter.factors.items()
        for name, factor in factors.items()
    }
    write_bytes(path, _in_order(safetensors.torch.save(tensors, header.written(adapter))))


def load(path: Path | str) -> Adapter:
    """Read an adapter file, of our own or as diffusers and peft write them.

    Raises BadFile, saying what is wrong, for anything that is not a whole and sound adapter file.
    """
    path = Path(path)
    tensors, strings = _read(path)
    _refuse_what_is_no_adapter(path, tensors)
    found = _by_layer(path, tensors)
    name, factors = _kind_of(path, found)
    read = header.read(path, strings, {layer: kind(name).rank(held) for layer, held in factors.items()})
    for flag, value in kind(name).config.items():
        if read.config.get(flag, value) != value:
            raise BadFile(str(path), f"its header says {flag}, but the tensors for that are missing", "export it again")
    return Adapter(kind=name, factors=factors, alphas=read.alphas, rslora=read.rslora, **read.about)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start.startswith(PICKLES):
            what = "this is a pickle file, which can run any code when it is opened"
            raise BadFile(str(path), what, "use the same adapter as .safetensors, or convert it where you trust it")
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}, dict(file.metadata() or {})
    except FileNotFoundError:
        raise BadFile(str(path), "there is no such file", "check the path") from None
    except (OSError, SafetensorError) as error:
        raise BadFile(
            str(path), f"this is no whole .safetensors file ({error})", "download or export it again"
        ) from error


def _refuse_what_is_no_adapter(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if not tensors:
        raise BadFile(str(path), "there is nothing in it", "export it again")
    if any(name.startswith(FOREIGN) for name in tensors):
        what = "its layers are named as kohya's tools do, which is not read yet"
        raise BadFile(str(path), what, "convert it to the naming of diffusers")
    if not any(".lora_" in name for name in tensors):
        raise BadFile(str(path), "these are a model's own weights, not an adapter", "give it as the base instead")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise BadFile(
                str(path), f"{name} holds {tensor.dtype}, not fractions", "export it again without quantising"
            )
        if not torch.isfinite(tensor).all():
            raise BadFile(str(path), f"{name} holds numbers that are not finite", "use an earlier checkpoint of it")


def _by_layer(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by layer and ending."""
    endings = {ending for made in kinds().values() for ending in made.tensors.values()}
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        ending = next((ending for ending in endings if name.endswith(f".{ending}")), None)
        if ending is None:
            raise BadFile(
                str(path), f"the tensor {name} is of no kind of adapter known here", "export it again without"
            )
        found.setdefault(name.removesuffix(f".{ending}"), {})[ending] = tensor.to(torch.float32)
    return found


def _kind_of(path: Path, found: Mapping[str, Mapping[str, Tensor]]) -> tuple[str, dict[str, dict[str, Tensor]]]:
    """The kind whose factors these are, and the factors by layer and name."""
    present = {ending for held in found.values() for ending in held}
    made = min(kinds().values(), key=lambda made: len(present.symmetric_difference(made.tensors.values())))
    for layer, held in found.items():
        missing = [ending for ending in made.tensors.values() if ending not in held]
        if missing:
            raise BadFile(str(path), f"{layer} has no {missing[0]}", "download or export it again")
    factors = {layer: {name: held[ending] for name, ending in made.tensors.items()} for layer, held in found.items()}
    for layer, held in factors.items():
        if not made.fits(held):
            shapes = " and ".join(str(list(factor.shape)) for factor in held.values())
            raise BadFile(str(path), f"the factors of {layer} do not belong together: {shapes}", "export it again")
    return made.name, factors


def _in_order(data: bytes) -> bytes:
    """A .safetensors file with the strings of its header in the order of their names, which the library leaves open."""
    end = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:end])
    head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]
