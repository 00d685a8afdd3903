"""Reading the tensors and the header of a .safetensors file that should hold an adapter, of whatever naming."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lorastyle.errors import BadFile

PICKLES = (b"PK", b"\x80")  # how the files of torch.save begin, new and old
ALPHA = ".alpha"  # a single number, which some tools write as an integer


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors, as float32, and the strings of the header.

    Raises BadFile for what is no whole .safetensors file, is empty, or holds other numbers than finite fractions.
    """
    path = Path(path)
    tensors, strings = _read(path)
    if not tensors:
        raise BadFile(str(path), "there is nothing in it", "export it again")
    return {name: _sound(path, name, tensor) for name, tensor in tensors.items()}, strings


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with path.open("rb") as file:
            start = file.read(9)
        # A .safetensors file begins with eight bytes that say how long its header is, which may be any, and "{".
        if start.startswith(PICKLES) and not start.endswith(b"{"):
            what = "this is a pickle file, which can run any code when it is opened"
            raise BadFile(str(path), what, "use the same adapter as .safetensors, or convert it where you trust it")
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}, dict(file.metadata() or {})
    except FileNotFoundError:
        raise BadFile(str(path), "there is no such file", "check the path") from None
    except (OSError, SafetensorError) as error:
        raise BadFile(str(path), "this is no whole .safetensors file", "download or export it again") from error


def _sound(path: Path, name: str, tensor: Tensor) -> Tensor:
    number = name.endswith(ALPHA) and tensor.numel() == 1 and tensor.dtype not in (torch.bool, torch.complex64)
    if not (tensor.is_floating_point() or number):
        raise BadFile(str(path), f"{name} holds {tensor.dtype}, not fractions", "export it again without quantising")
    precise = tensor.to(torch.float32)
    if not torch.isfinite(precise).all():
        raise BadFile(str(path), f"{name} holds numbers that are not finite", "use an earlier checkpoint of it")
    return precise
