"""Every kind survives every format: the report's own check, on a family of UNets and one with fused layers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lorastyle.adapters.file import save
from lorastyle.bases.base import Base
from lorastyle.errors import BadFile, BadInput, Unsupported
from lorastyle.interchange.exchange import export_adapter, import_adapter
from lorastyle.interchange.format import Format, formats
from lorastyle.interchange.inspection import inspect_adapter
from tools.reports import exchange


@pytest.fixture(params=sorted(formats()))
def form(request: pytest.FixtureRequest) -> Format:
    return formats()[request.param]


@pytest.mark.parametrize("row", exchange.KINDS)
@pytest.mark.parametrize("family", ["sd1", "flux1"])
def test_every_change_is_the_same_there_and_back(
    family: str, row: str, form: Format, base_of: Callable[[str], Base], tmp_path: Path
) -> None:
    for direction, result in exchange.check(base_of(family), row, form, tmp_path).items():
        assert result.passed, (direction, result)
        assert result.how != "converted" or result.said.endswith("to have it converted to a LoRA.")


def test_what_can_be_held_is_not_converted(base_of: Callable[[str], Base], tmp_path: Path) -> None:
    held = {
        (row, name): exchange.check(base_of("sd1"), row, formats()[name], tmp_path)["export"].how
        for row, name in [("LoRA", "comfyui"), ("DoRA", "diffusers"), ("LoKr", "a1111"), ("OFT", "kohya")]
    }
    assert set(held.values()) == {"whole"}


@pytest.mark.parametrize("place", [0, -1], ids=["first layer", "last layer"])
def test_what_a_type_cannot_hold_is_not_written(file_of: Callable, place: int, tmp_path: Path) -> None:
    file, adapter = file_of("sd1")
    layer = sorted(adapter.factors)[place]
    adapter.factors[layer]["up"].view(-1)[0] = 1e6  # beyond fp16
    save(file, adapter)
    out = tmp_path / "out.safetensors"
    with pytest.raises(Unsupported, match="in fp16 the change of .* would be off by inf.*dtype"):
        export_adapter(file, "kohya", out, dtype="fp16")
    assert not out.exists()


@pytest.mark.parametrize(("given", "what"), [({"rank": 0}, "rank"), ({"strength": float("nan")}, "strength")])
def test_a_rank_or_strength_that_makes_no_adapter_is_refused(file_of: Callable, given: dict, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        export_adapter(file_of("sd1")[0], "kohya", **given)


def test_a_lora_of_its_own_rank_is_the_same(file_of: Callable) -> None:
    file, adapter = file_of("sd1")
    ranks = [adapter.rank(layer) for layer in adapter.factors]
    converted = export_adapter(file, "kohya", rank=max(ranks)).converted
    assert converted is not None
    assert converted.worst < 1e-5  # the factors are cut in float64 and kept in float32


def test_a_file_for_comfyui_is_inspected_and_says_nothing_of_another_file(file_of: Callable, tmp_path: Path) -> None:
    file, adapter = file_of("flux1")
    out = export_adapter(file, "comfyui", tmp_path / "comfy.safetensors").path
    assert inspect_adapter(out)["family"] == "flux1"
    read = import_adapter(out)
    assert len(read.factors) == len(adapter.factors)
    assert not {"sshs_model_hash", "lorastyle.proof", "ss_network_dim"} & set(read.metadata)


def test_a_bare_flux_file_is_not_taken_for_our_small_one(file_of: Callable, tmp_path: Path) -> None:
    out = export_adapter(file_of("flux1")[0], "kohya", tmp_path / "kohya.safetensors").path
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(out), bare)  # without any header
    assert import_adapter(bare).family == "flux1"


def test_a_file_without_our_header_is_exported_for_the_family_that_its_names_tell(
    file_of: Callable, base_of: Callable[[str], Base], tmp_path: Path
) -> None:
    bare = tmp_path / "pytorch_lora_weights.safetensors"
    save_file(load_file(file_of("flux1")[0]), bare)
    assert import_adapter(export_adapter(bare, "comfyui").path).family == "flux1"
    save_file(load_file(file_of("sd1")[0]), bare)
    with pytest.raises(BadFile, match=r"layers are those of several families: .*sd1.*Give the family too"):
        export_adapter(bare, "kohya")
    for known in ({"family": "sd1"}, {"base": base_of("sd1")}):
        kohya = export_adapter(bare, "kohya", tmp_path / "kohya.safetensors", **known).path
        assert import_adapter(kohya).family == "sd1"
    assert export_adapter(kohya, "diffusers").proof.worst < 1e-6
