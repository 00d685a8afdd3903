"""What is said of an adapter file, and that a format from outside is used like those that are here."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lorastyle.adapters.file import Adapter, save
from lorastyle.adapters.kinds import Kind
from lorastyle.bases.family import Family
from lorastyle.interchange.exchange import export_adapter, import_adapter
from lorastyle.interchange.format import Format, Sheet, formats
from lorastyle.interchange.formats.kohya import FORMAT as KOHYA
from lorastyle.interchange.inspection import inspect_adapter

FileOf = Callable[[str, str], tuple[Path, Adapter]]


@pytest.mark.parametrize(("row", "kind"), [("LoRA", "lora"), ("DoRA", "dora"), ("LoKr", "lokr"), ("OFT", "oft")])
def test_norms_are_told_by_block(file_of: FileOf, row: str, kind: str) -> None:
    file, adapter = file_of("sd1", row)
    told = inspect_adapter(file)
    assert told["kind"] == kind
    assert told["family"] == "sd1"
    assert told["trigger"] == "zorvex"
    assert told["strange"] == []
    assert "unet.mid_block.attentions.0" in told["norms"]
    if row in ("LoRA", "LoKr"):
        inside = [layer for layer in adapter.factors if layer.startswith("unet.mid_block.attentions.0.")]
        square = sum(float(adapter.change(layer).square().sum()) for layer in inside)
        assert told["norms"]["unet.mid_block.attentions.0"] == pytest.approx(square**0.5, rel=1e-2)


def test_a_foreign_file_is_inspected_too(file_of: FileOf, tmp_path: Path) -> None:
    file, adapter = file_of("flux1", "LoRA")
    told = inspect_adapter(export_adapter(file, "kohya", tmp_path / "theirs.safetensors").path)
    assert told["family"] == "flux1"
    assert sum(told["layers"].values()) == len(adapter.factors)


def test_what_is_strange_is_said(file_of: FileOf) -> None:
    file, adapter = file_of("sd1", "LoRA")
    still, loud, *_ = adapter.factors
    changed = {
        **adapter.factors,
        still: {**adapter.factors[still], "up": torch.zeros_like(adapter.factors[still]["up"])},
        loud: {**adapter.factors[loud], "up": adapter.factors[loud]["up"] * 1e6},
    }
    save(file, replace(adapter, factors=changed, alphas={**adapter.alphas, still: -1.0}))
    said = " ".join(inspect_adapter(file)["strange"])
    for word in (f"such as {still}", f"{loud} changes", f"alpha is -1 in {still}", "fp16 cannot hold"):
        assert word in said


class Shouted(Format):
    """kohya's format in capitals."""

    name = "shouted"
    title = "a tool that shouts"

    def accepts(self, kind: Kind, family: Family) -> str:
        return "it shouts no OFT" if kind.name == "oft" else ""

    def write(self, adapter: Adapter, family: Family) -> Sheet:
        sheet = KOHYA.write(adapter, family)
        return Sheet({f"SHOUTED.{name.upper()}": tensor for name, tensor in sheet.tensors.items()})

    def recognises(self, names: Collection[str]) -> bool:
        return all(name.startswith("SHOUTED.") for name in names)

    def read(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], family: Family | None) -> Adapter:
        said = {name.removeprefix("SHOUTED.").lower(): tensor for name, tensor in tensors.items()}
        return KOHYA.read(said, header, family)


def test_a_format_from_outside_is_used_like_ours(file_of: FileOf, tmp_path: Path) -> None:
    file, adapter = file_of("sd1", "LoRA")
    formats()["shouted"] = Shouted()
    try:
        exported = export_adapter(file, "shouted", tmp_path / "new.safetensors")
        assert exported.proof.worst < 1e-6
        assert all(name.isupper() or name.startswith("SHOUTED.") for name in load_file(exported.path))
        assert len(import_adapter(exported.path).factors) == len(adapter.factors)
    finally:
        del formats()["shouted"]
