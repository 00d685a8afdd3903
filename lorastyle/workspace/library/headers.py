"""What the header of an adapter file tells, read without loading a tensor.

A .safetensors file begins with eight bytes that say how long its header is, and a header in JSON: strings under
``__metadata__``, and for each tensor its `dtype`, `shape` and place. What our own strings mean is told in
:mod:`lorastyle.adapters.header`.
"""

import json
import math
import os
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lorastyle import files
from lorastyle.errors import BadFile

MOST_HEADER_BYTES = 100 * 2**20  # as safetensors itself has it
Shape = Sequence[int]

# How the names of a kind's factors end or what they contain, as peft and kohya have it, and the shape that tells the
# rank. The first that is found counts: a DoRA has the tensors of a LoRA, too.
_KINDS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], Callable[[Shape], int]], ...] = (
    ("dora", ("lora_magnitude_vector", "dora_scale"), ("lora_A.", "lora_down."), lambda shape: shape[0]),
    ("lokr", ("lokr_w",), ("lokr_w2_b", "lokr_w1_b"), lambda shape: shape[0]),
    ("loha", ("hada_w",), ("hada_w1_b",), lambda shape: shape[0]),
    ("oft", ("oft_blocks",), ("oft_blocks",), lambda shape: shape[-1]),
    ("oft", ("oft_R", "oft_diag"), ("oft_R",), lambda shape: (1 + math.isqrt(1 + 8 * shape[-1])) // 2),
    ("lora", ("lora_A.", "lora_down."), ("lora_A.", "lora_down."), lambda shape: shape[0]),
)


@dataclass(frozen=True)
class Facts:
    """What an adapter is: `trigger`, `base` and `family` are "" where the file does not say."""

    trigger: str
    base: str
    family: str
    kind: str
    rank: int

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Facts":
        return cls(**json.loads(text))


def read_facts(path: Path) -> Facts:
    """What an adapter file says of itself; raises BadFile for what is no adapter in a whole .safetensors file."""
    header = read_header(path)
    strings = _strings(path, header)
    shapes = {name: told["shape"] for name, told in header.items()}
    kind, rank = _kind(path, shapes)
    recipe = _recipe(strings)
    return Facts(
        trigger=strings.get("lorastyle.trigger", strings.get("modelspec.trigger_phrase", "")),
        base=strings.get("lorastyle.base", strings.get("ss_sd_model_name", "")),
        family=strings.get("lorastyle.family", ""),
        kind=kind,
        rank=recipe["rank"] if type(recipe.get("rank")) is int else rank,
    )


def read_header(path: Path) -> dict[str, Any]:
    """The header of a .safetensors file, strings and all; raises BadFile where it is none, or is cut short."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, MOST_HEADER_BYTES):
                raise ValueError("it is cut short, or something else")
            header = json.loads(file.read(length))
        ends = [told["data_offsets"][1] for name, told in header.items() if name != "__metadata__"]
        if max(ends, default=0) != size - 8 - length:
            raise ValueError("it is cut short")
    except FileNotFoundError:
        raise BadFile(path.name, "there is no such file", "check the path") from None
    except (
        OSError,
        ValueError,
        struct.error,
        RecursionError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        what = f"this is no whole .safetensors file ({error})"
        raise BadFile(path.name, what, "download or export it again") from error
    return dict(header)


def copy_with_strings(source: Path, target: Path, strings: Mapping[str, str]) -> None:
    """Write the adapter `source` to `target`, with strings in its header that it does not have."""
    header = read_header(source)
    told = dict(strings) | _strings(source, header)
    text = json.dumps({"__metadata__": told} | header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of eight bytes
    with source.open("rb") as old, files.new_file(target) as new:
        (length,) = struct.unpack("<Q", old.read(8))
        old.seek(length, os.SEEK_CUR)
        new.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(old, new, 2**20)


def strings_of(path: Path) -> dict[str, str]:
    """The strings in the header of an adapter file."""
    return _strings(path, read_header(path))


def _strings(path: Path, header: dict[str, Any]) -> dict[str, str]:
    """Take the strings out of a header."""
    strings = header.pop("__metadata__", {})
    if not isinstance(strings, dict) or not all(isinstance(text, str) for text in strings.values()):
        raise BadFile(path.name, "its header says things that are no text", "export it again")
    return strings


def _recipe(strings: Mapping[str, str]) -> dict[str, Any]:
    try:
        recipe = json.loads(strings.get("lorastyle.recipe") or "{}")
    except ValueError:
        return {}  # whoever loads the adapter is told; a card is shown all the same
    return recipe if isinstance(recipe, dict) else {}


def _kind(path: Path, shapes: Mapping[str, Shape]) -> tuple[str, int]:
    for kind, marks, ranked, rank in _KINDS:
        if any(mark in name for name in shapes for mark in marks):
            ranks = [rank(shape) for name, shape in shapes.items() if any(part in name for part in ranked) and shape]
            return kind, Counter(ranks).most_common(1)[0][0] if ranks else 1
    raise BadFile(path.name, "this is no adapter", "choose the file of a LoRA, DoRA, LoKr, LoHa or OFT")
