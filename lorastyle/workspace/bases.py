"""Which bases may be used in a studio, by name, without loading any.

Allowed are those that ship with lorastyle, ids of the hub (`owner/name`), and what lies in the folders that the
settings name. Nothing else on the disk can be reached by a base's name.
"""

import ast
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorastyle.errors import BadInput

USUAL = (1024, 64)  # resolution and divisor of most bases, for those that are not on this disk
_EMBEDDED = Path(__file__).parents[1] / "bases"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_PIPELINE = "model_index.json"


def embedded_bases() -> dict[str, Path]:
    """The bases that ship with lorastyle: their names and folders."""
    return {path.parent.name.replace("_", "-"): path.parent for path in sorted(_EMBEDDED.glob(f"*/{_PIPELINE}"))}


def bases_in(folders: Sequence[str]) -> dict[str, Path]:
    """Diffusers folders and single checkpoints in these folders, not deeper, by the names that they are shown under."""
    found = [path for folder in folders if Path(folder).is_dir() for path in sorted(Path(folder).iterdir())]
    return {name_of(str(path)): path for path in found if _is_base(path)}


def shared_bases(folders: Sequence[str]) -> list[str]:
    """The names of those that everybody in a studio may use: those that ship with lorastyle come first."""
    return list(dict.fromkeys([*embedded_bases(), *bases_in(folders)]))


def family_titles() -> dict[str, str]:
    """The families of bases, by name. Read from their source, since loading them would load torch."""
    classes = (made for file in sorted((_EMBEDDED / "families").glob("*.py"))
               for made in ast.parse(file.read_bytes()).body if isinstance(made, ast.ClassDef))  # fmt: skip
    told = [dict(filter(None, map(_constant, made.body))) for made in classes]
    return {one["name"]: one["title"] for one in told if {"name", "title"} <= one.keys()}


def _constant(line: ast.stmt) -> tuple[str, str] | None:
    """Name and value of a line such as `title = "SDXL"`."""
    match line:
        case ast.Assign([ast.Name(name)], ast.Constant(str(value))):
            return name, value
    return None


def name_of(source: str) -> str:
    """What a base calls itself, and adapters call it, by what :func:`lorastyle.load_base` knows it by."""
    path = Path(source)
    if not path.is_absolute():
        return source
    return path.stem if path.is_file() else path.name


def checked_base(name: str, folders: Sequence[str]) -> str:
    """What :func:`lorastyle.load_base` knows this base by; raises BadInput where it is not allowed or not there."""
    if name in embedded_bases():
        return name
    known = bases_in(folders)
    if name in known:
        return str(known[name].resolve())
    path = Path(name)
    if path.is_absolute() and any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in folders):
        if not path.exists():
            raise BadInput("base", f"{path.name} is not there", "choose another base")
        return str(path.resolve())
    if _HUB_ID.fullmatch(name) and ".." not in name and not path.exists():
        return name
    do = "choose one from the list, write the id of one on the hub (owner/name), or add its folder in the settings"
    raise BadInput("base", f"there is none called {path.name!r} that may be used here", do)


def geometry(source: str) -> tuple[int, int]:
    """(resolution, divisor) of a base that may be used: the pixels it draws at, and what both sides are multiples of.

    Read from the configurations of a diffusers folder: a UNet halves latents at each level, transformers take two by
    two of them together. For bases that are no folder on this disk it is what most have.
    """
    path = embedded_bases().get(source) or Path(source)
    autoencoder, unet, transformer = (_config(path / part) for part in ("vae", "unet", "transformer"))
    if "block_out_channels" not in autoencoder:
        return USUAL
    scale = 2 ** (len(autoencoder["block_out_channels"]) - 1)
    divisor = scale * 2 ** (len(unet["block_out_channels"]) - 1) if unet else 2 * scale
    latents = (unet or transformer).get("sample_size")
    side = latents * scale if isinstance(latents, int) else autoencoder.get("sample_size")
    return (side if isinstance(side, int) else USUAL[0]), divisor


def _is_base(path: Path) -> bool:
    return (path / _PIPELINE).is_file() or (path.is_file() and path.suffix == ".safetensors")


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return told if isinstance(told, dict) else {}
