"""Writing an adapter for other tools, with proof, and reading theirs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lorastyle import files
from lorastyle.adapters import header as headers
from lorastyle.adapters.algebra import require_rank, require_strength
from lorastyle.adapters.file import Adapter, is_foreign, load, whole
from lorastyle.adapters.kinds import kind as kind_called
from lorastyle.adapters.tensors import read_tensors
from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, families
from lorastyle.errors import BadFile, BadInput, Unsupported
from lorastyle.interchange import metadata as about
from lorastyle.interchange.format import Format, Sheet, Show, format_called, formats
from lorastyle.interchange.lowrank import as_lora
from lorastyle.interchange.proof import Proof, compare, weights_of

# How far a layer's change may be off after rounding to the type, before the file is not written.
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BOUNDS = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 3e-2}


@dataclass(frozen=True)
class Exported:
    """What was written. converted: how far the LoRA that it was converted to is from the adapter, if it was."""

    path: Path
    beside: tuple[Path, ...]
    proof: Proof
    converted: Proof | None

    def summary(self) -> dict[str, Any]:
        """For people and scripts."""
        said: dict[str, Any] = {
            "file": self.path,
            "layers": self.proof.layers,
            "worst_relative_error": self.proof.worst,
            "worst_layer": self.proof.layer,
        }
        if self.converted:
            said["conversion_error"] = self.converted.worst
        return said | ({"beside": [str(path) for path in self.beside]} if self.beside else {})


def export_adapter(
    file: Path | str,
    to: str,
    out: Path | str | None = None,
    *,
    dtype: str = "fp32",
    base: Base | None = None,
    family: str | None = None,
    rank: int | None = None,
    metadata: str = "minimal",
    strength: float = 1.0,
) -> Exported:
    """Write the adapter in `file` in the format `to`, and what belongs beside it.

    Before anything is written, the file is read back in memory, and every layer's change of weight is compared with
    the adapter's own.

    Args:
        out: the new file; by default NAME-FORMAT.safetensors beside the old one. dtype: fp32, fp16 or bf16.
        base: the base that it is for; some conversions need its weights.
        family: of the base, where neither `base` is given nor the adapter's file tells.
        rank: convert to a LoRA of this rank first. metadata: how much is told, "none", "minimal" or "full".
        strength: the usual one, for tools that show it.

    Raises:
        BadFile: `file` is no adapter. BadInput: an argument is wrong or missing.
        Unsupported: the format cannot hold the adapter.
    """
    path, form = Path(file), format_called(to)
    for name, value, known in (("dtype", dtype, DTYPES), ("metadata", metadata, about.LEVELS)):
        if value not in known:
            raise BadInput(name, f"it is {value!r}", f"choose from {', '.join(known)}")
    if rank is not None:
        require_rank("rank", rank)
    require_strength("strength", strength)
    target = Path(out) if out else path.with_name(f"{path.stem}-{to}.safetensors")
    if target.resolve() == path.resolve():
        raise BadInput("out", "it is the adapter's own file", "choose another name")
    own = read_adapter(path, family or (base.family.name if base else None))
    of = _family(path, own, family).built(own.factors)
    weights = weights_of(base, own)
    adapter, converted = own, None
    if rank is not None:
        adapter = as_lora(own, rank, weights)
        converted = compare(own, adapter, weights)
    _refuse_what_does_not_fit(path, form, adapter, of)
    sheet = _cast(form.write(adapter, of), DTYPES[dtype])
    strings = about.header(adapter, of, sheet, metadata, path, target.stem)
    proof = prove(adapter, form, sheet, strings, of, weights)
    if not proof.worst <= BOUNDS[dtype]:
        what = f"in {dtype} the change of {proof.layer} would be off by {proof.worst:.1e}"
        raise Unsupported(str(path), what, "choose another dtype")
    strings = strings | {about.PROOF: json.dumps({"layers": proof.layers, "worst_relative_error": proof.worst})}
    files.write_bytes(target, whole(sheet.tensors, dict(sorted(strings.items()))))
    show = Show(of, own.trigger, strength, about.preview(path))
    beside = {target.with_name(name): data for name, data in form.beside(target.stem, show).items()}
    for place, data in beside.items():
        files.write_bytes(place, data)
    return Exported(target, tuple(beside), proof, converted)


def prove(
    adapter: Adapter,
    form: Format,
    sheet: Sheet,
    strings: Mapping[str, str],
    family: Family,
    weights: Mapping[str, Tensor],
) -> Proof:
    """Read the file back that these tensors and strings make, and compare it with the adapter."""
    held = safetensors.torch.load(whole(sheet.tensors, strings))
    read = form.read({name: tensor.to(torch.float32) for name, tensor in held.items()}, strings, family)
    return compare(adapter, read, weights)


def read_adapter(file: Path | str, family: str | None = None) -> Adapter:
    """The adapter in a file: with all that ours say of themselves, in the files of other tools what they say.

    Raises BadFile as `load` and `import_adapter` do.
    """
    path = Path(file)
    tensors, strings = read_tensors(path)
    ours = headers.FAMILY in strings and not is_foreign(tensors)  # what we write for other tools has our header too
    return load(path) if ours else import_adapter(path, family)


def import_adapter(file: Path | str, family: str | None = None) -> Adapter:
    """Read an adapter in a foreign format, or in ours.

    Args:
        family: of the base that it is for; without it the one that the names of its layers and its header tell.

    Raises:
        BadFile: it cannot be read; or several families fit, and `family` has to say which.
    """
    path = Path(file)
    tensors, strings = read_tensors(path)
    known = _named(family) if family else None
    strings = _with_config(path, strings, tensors)
    form = next((one for one in formats().values() if one.recognises(tensors)), None)
    if form is None:
        raise BadFile(str(path), *_unknown(tensors))
    try:
        adapter = form.read(tensors, strings, known)
    except BadInput as error:
        raise BadFile(str(path), error.what if not error.where else f"{error.where}: {error.what}", error.do) from None
    return replace(adapter, metadata=about.without_places(adapter.metadata))


def _unknown(tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    odd = [name for one in formats().values() for name in tensors if one.recognises([name])]
    if not odd:
        return "these are a model's own weights, not an adapter", "give it as the base instead"
    strange = next(name for name in tensors if name not in odd) if len(set(odd)) < len(tensors) else odd[0]
    return f"the tensor {strange} is of no format known here", "export it again without"


def _with_config(path: Path, strings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The strings with peft's configuration, which peft itself writes into a file beside the tensors."""
    beside = path.with_name("adapter_config.json")
    if headers.PEFT in strings or path.stem != "adapter_model" or not beside.is_file():
        return dict(strings)
    config = files.read_json(beside)
    starts = {name.removeprefix("base_model.model.").partition(".")[0] for name in tensors}
    told = {f"{start}.{name}": value for start in starts for name, value in config.items()}
    return dict(strings) | {headers.PEFT: json.dumps(told)}


def _named(family: str) -> Family:
    if family not in families():
        raise BadInput("family", f"there is no family called {family!r}", f"choose from {', '.join(families())}")
    return families()[family]


def _family(path: Path, adapter: Adapter, given: str | None) -> Family:
    if given:
        return _named(given)
    if adapter.family not in families():
        raise BadInput(str(path), "it does not say which family of bases it is for", "give the family too")
    return families()[adapter.family]


def _refuse_what_does_not_fit(path: Path, form: Format, adapter: Adapter, family: Family) -> None:
    if reason := form.accepts(kind_called(adapter.kind), family):
        convertible = not form.accepts(kind_called("lora"), family)
        do = "choose another format, or give a rank to have it converted to a LoRA" if convertible else "choose another"
        raise Unsupported(str(path), reason, do)


def _cast(sheet: Sheet, dtype: torch.dtype) -> Sheet:
    """In that type, but for the single numbers, such as alpha, that scale a whole layer."""
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.dim() else torch.float32, copy=True).contiguous()
        for name, tensor in sheet.tensors.items()
    }
    return Sheet(tensors, sheet.header)
