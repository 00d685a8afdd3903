"""How a picture was drawn, as texts that its PNG file keeps.

"lorastyle" is JSON with all that is needed to draw the picture again. "parameters" is the same as A1111 and the sites
that follow it show it: the prompt, the negative prompt, and one line of names and values. Adapters are named by their
files' own names and known by the beginning of their files' SHA-256, as model sites know them; no path is told.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorastyle import __version__
from lorastyle.adapters.file import Adapter
from lorastyle.bases.base import Base
from lorastyle.files import PARAMETER_TEXTS
from lorastyle.generation.sampling import Row

HASH_DIGITS = 10


def used(given: Path | str | Adapter) -> dict[str, str]:
    """What is told of an adapter: its name and, where it comes from a file, the beginning of that file's hash."""
    if isinstance(given, Adapter):
        return {"name": given.metadata.get("modelspec.title", "") or given.trigger or "unnamed"}
    with Path(given).open("rb") as file:
        return {"name": called(Path(given)), "hash": hashlib.file_digest(file, "sha256").hexdigest()[:HASH_DIGITS]}


def called(adapter: Path) -> str:
    """The name of an adapter's file; in a checkpoint all are called the same, and the step tells them apart."""
    return adapter.parent.name if adapter.name == "adapter.safetensors" else adapter.stem


def texts(
    base: Base, row: Row, adapters: Mapping[str, Mapping[str, str]], settings: Mapping[str, Any]
) -> dict[str, str]:
    """The texts that a picture's file keeps.

    Args:
        adapters: what is told of each, by the names that the row has for them.
        settings: what holds for all pictures of a batch, by name.
    """
    held = [{**adapters[name], "strength": strength} for name, strength in row.adapters.items()]
    told = {
        "prompt": row.prompt,
        "negative": row.negative,
        "seed": row.seed,
        "number": row.number,
        **settings,
        "base": base.name,
        "family": base.family.name,
        "adapters": held,
        "lorastyle": __version__,
    }
    ours, theirs = PARAMETER_TEXTS
    return {ours: json.dumps(told, ensure_ascii=False), theirs: _as_elsewhere(told)}


def _as_elsewhere(told: Mapping[str, Any]) -> str:
    adapters = "".join(f" <lora:{one['name']}:{one['strength']:g}>" for one in told["adapters"])
    hashes = ", ".join(f"{one['name']}: {one['hash']}" for one in told["adapters"] if "hash" in one)
    line = {
        "Steps": told["steps"],
        "CFG scale": f"{told['guidance']:g}",
        "Seed": told["seed"],
        "Size": f"{told['width']}x{told['height']}",
        "Model": told["base"],
        **({"Clip skip": told["clip_skip"] + 1} if told["clip_skip"] else {}),
        **({"Lora hashes": f'"{hashes}"'} if hashes else {}),
        "Version": f"lorastyle {told['lorastyle']}",
    }
    negative = [f"Negative prompt: {told['negative']}"] if told["negative"] else []
    values = ", ".join(f"{name}: {value}" for name, value in line.items())
    return "\n".join([told["prompt"] + adapters, *negative, values])
