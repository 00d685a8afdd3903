"""What encoders made of pictures and captions, kept by content in the user's cache folder.

An entry is one safetensors file. Its header carries a checksum of its key and tensors, verified when it is read, so
that a damaged entry is made again instead of trained on.
"""

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lorastyle import files
from lorastyle.errors import BadFile

Entry = dict[str, Tensor]


def cache_folder() -> Path:
    """The folder for caches: LORASTYLE_CACHE where it is set, else lorastyle's place among the user's caches."""
    chosen = os.environ.get("LORASTYLE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lorastyle"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "lorastyle" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorastyle"


def content_key(**parts: object) -> str:
    """The key of a content: 40 hex digits over everything it depends on (picture hash, crop, encoder weights, a
    version). Parts are what JSON can say, in any order; TypeError and ValueError for others."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


class Cache:
    """Tensors by content key, in a folder shared by all runs; None is :func:`cache_folder`."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def fetch(self, keys: Sequence[str], encode: Callable[[list[int]], list[Entry]], chunk: int = 1) -> list[Entry]:
        """The entry of each key, on the CPU; those missing are made by `encode` and kept.

        `encode` gets the places in `keys` of at most `chunk` missing entries and returns one entry for each. With a
        chunk of 1 an entry's bits do not depend on which others were missing, which kernels do not promise for
        larger batches. A damaged entry is warned of and made again; where the folder cannot be written, a warning
        says so and nothing is kept.
        """
        found = {key: entry for key in dict.fromkeys(keys) if (entry := self._read(key)) is not None}
        missing = [place for key, place in _first_places(keys).items() if key not in found]
        if missing:
            files.sweep(self.folder)
        for start in range(0, len(missing), chunk):
            places = missing[start : start + chunk]
            for place, entry in zip(places, encode(places), strict=True):
                found[keys[place]] = {name: tensor.detach().cpu().contiguous() for name, tensor in entry.items()}
                self._write(keys[place], found[keys[place]])
        return [found[key] for key in keys]

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _read(self, key: str) -> Entry | None:
        path = self._path(key)
        if not path.exists():
            return None
        try:
            return _verified(path, key)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            warnings.warn(f"The cache entry {path} is damaged ({error}) and is made again.", stacklevel=3)
            return None

    def _write(self, key: str, entry: Entry) -> None:
        data = safetensors.torch.save(entry, {"checksum": _checksum(key, entry)})
        try:
            files.write_bytes(self._path(key), data)
        except BadFile as error:
            warnings.warn(f"Nothing is kept in {self.folder}, as it {error.what}", stacklevel=3)


def _first_places(keys: Sequence[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, place)
    return places


def _verified(path: Path, key: str) -> Entry:
    with safetensors.safe_open(path, framework="pt") as file:
        names = file.keys()
        entry = {name: file.get_tensor(name) for name in names}
        header = file.metadata() or {}
    if header.get("checksum") != _checksum(key, entry):
        raise ValueError("it does not match its checksum")
    return entry


def _checksum(key: str, entry: Mapping[str, Tensor]) -> str:
    total = hashlib.blake2b(key.encode(), digest_size=20)
    for name in sorted(entry):
        tensor = entry[name]
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
