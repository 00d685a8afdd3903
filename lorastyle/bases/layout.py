"""What lies at a place where a base should be, read without loading its weights."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lorastyle.errors import BadFile
from lorastyle.files import read_json

MARKER = "_lorastyle_family"  # an entry of a part's config; diffusers keeps unknown entries that begin with "_"
PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")
_WEIGHTS = re.compile(r"(?:diffusion_pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.safetensors")

# What only files with scaled fp8, fp4 or nf4 weights have; read as plain numbers those would be wrong.
_PACKED = re.compile(r"(?:^|\.)(?:scaled_fp8|scale_weight|weight_scale|comfy_quant|absmax|quant_map)$")


@dataclass(frozen=True)
class Layout:
    """A diffusers folder (`configs`: the configuration of each part by name) or a single checkpoint file
    (`tensors`: the shape of each tensor by name). `halved`: the parts that are to be loaded in bf16 instead of fp32."""

    path: Path
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    halved: frozenset[str] = frozenset()

    @property
    def marker(self) -> str | None:
        """The family that a part's configuration names, for bases that look like another family's."""
        return next((config[MARKER] for config in self.configs.values() if MARKER in config), None)

    def variant(self, part: str) -> str | None:
        """Which files hold the weights of `part`: None the plain ones, else such as "fp16".

        Raises BadFile where there are none that can be read.
        """
        folder = self.path / part
        matches = [match for file in folder.glob("*.safetensors") if (match := _WEIGHTS.fullmatch(file.name))]
        if matches:
            variants = {match["variant"] for match in matches}
            return None if None in variants else min(variants)
        if any(file.suffix in PICKLES for file in folder.glob("*")):
            raise refused_pickle(folder)
        raise BadFile(str(folder), "there are no weights (.safetensors) in it", "download the base again, whole")

    def weights(self, part: str) -> list[Path]:
        """The files that hold the weights of `part`, of one variant; none where it has no weights."""
        found = {file: _WEIGHTS.fullmatch(file.name) for file in sorted((self.path / part).glob("*.safetensors"))}
        if not any(found.values()):
            return []
        variant = self.variant(part)
        return [file for file, match in found.items() if match and match["variant"] == variant]


def read_layout(path: Path) -> Layout:
    """Read the layout of the folder or file at `path`.

    Raises BadFile where it is neither a diffusers pipeline nor a .safetensors file.
    """
    if path.is_dir():
        return _read_folder(path)
    if path.suffix in PICKLES:
        raise refused_pickle(path)
    if path.suffix != ".safetensors":
        raise BadFile(str(path), "this is no model file", "give a diffusers folder or a .safetensors checkpoint")
    tensors = _read_tensors(path)
    if packed := next((name for name in tensors if _PACKED.search(name)), None):
        what = f"its weights are packed into numbers of 8 bits or fewer, with scales beside them ({packed})"
        raise BadFile(str(path), what, "use the same model in fp16 or bf16")
    return Layout(path, tensors=tensors)


def refused_pickle(path: Path) -> BadFile:
    return BadFile(
        str(path),
        "its weights are in a pickle file, which can run any code when it is opened",
        "use the same model as .safetensors, or convert it where you trust it",
    )


def _read_folder(path: Path) -> Layout:
    if not (path / "model_index.json").is_file():
        adapter = any((path / name).is_file() for name in ("adapter_config.json", "pytorch_lora_weights.safetensors"))
        what = "this is an adapter, not a base" if adapter else "there is no model_index.json in it"
        raise BadFile(str(path), what, "give the folder of a diffusers pipeline or a .safetensors checkpoint")
    index = read_json(path / "model_index.json")
    if not isinstance(index, dict):
        raise BadFile(str(path / "model_index.json"), "this is no index of a pipeline", "download the base again")
    return Layout(path, {"model_index": index} | {name: _read_config(path / name) for name in _parts(index)})


def _parts(index: Mapping[str, Any]) -> list[str]:
    # A part that is left out stands in the index as [null, null].
    return [name for name, value in index.items() if isinstance(value, list) and len(value) == 2 and value[1]]


def _read_config(folder: Path) -> dict[str, Any]:
    for name in ("config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            config = read_json(folder / name)
            return config if isinstance(config, dict) else {}
    return {}


def _read_tensors(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadFile(str(path), "there is no such file", "check the path") from None
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise BadFile(str(path), f"this is no whole .safetensors file ({error})", "download it again") from error
