"""Layers that are one layer elsewhere: put together and taken apart, and what cannot be."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorastyle.adapters.file import Adapter, save
from lorastyle.bases.base import Base
from lorastyle.errors import Unsupported
from lorastyle.interchange.exchange import export_adapter, import_adapter

FileOf = Callable[[str, str], tuple[Path, Adapter]]
QKV = "lora_unet_double_blocks_0_img_attn_qkv"
PARTS = [f"transformer.transformer_blocks.0.attn.to_{part}" for part in "qkv"]
EXACT = {"rtol": 1e-5, "atol": 1e-6}  # a sum in another order


def imported(folder: Path, tensors: dict[str, Tensor]) -> Adapter:
    save_file(tensors, folder / "theirs.safetensors")
    return import_adapter(folder / "theirs.safetensors", "flux1")


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_parts_with_one_down_stay_of_one_rank(tmp_path: Path) -> None:
    tensors = {f"{QKV}.lora_down.weight": random(4, 32), f"{QKV}.lora_up.weight": random(96, 4)}
    adapter = imported(tmp_path, tensors)
    assert [adapter.rank(layer) for layer in PARTS] == [4, 4, 4]
    save(tmp_path / "ours.safetensors", adapter)
    back = load_file(export_adapter(tmp_path / "ours.safetensors", "kohya", tmp_path / "back.safetensors").path)
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_parts_of_several_ranks_and_scales_keep_their_changes(file_of: FileOf, tmp_path: Path) -> None:
    file, adapter = file_of("flux1", "LoRA")
    chosen = {layer: rank for rank, layer in enumerate(PARTS, 1) if layer != PARTS[1]}  # k was not trained
    factors = {layer: {"down": random(rank, 32), "up": random(32, rank)} for layer, rank in chosen.items()}
    adapter = replace(adapter, factors=factors, alphas={PARTS[0]: 3.0, PARTS[2]: 0.7})
    save(file, adapter)
    tensors = load_file(export_adapter(file, "kohya", tmp_path / "new.safetensors").path)
    scale = float(tensors[f"{QKV}.alpha"]) / len(tensors[f"{QKV}.lora_down.weight"])
    whole = scale * tensors[f"{QKV}.lora_up.weight"] @ tensors[f"{QKV}.lora_down.weight"]
    expected = [adapter.change(PARTS[0]), torch.zeros(32, 32), adapter.change(PARTS[2])]
    torch.testing.assert_close(whole, torch.cat(expected), **EXACT)
    read = import_adapter(tmp_path / "new.safetensors")
    assert {layer: read.rank(layer) for layer in read.factors} == {PARTS[0]: 1, PARTS[2]: 3}


def test_a_kronecker_product_is_taken_apart_by_the_rows_of_its_first_factor(tmp_path: Path) -> None:
    tensors = {f"{QKV}.lokr_w1": random(6, 4), f"{QKV}.lokr_w2": random(16, 8)}
    adapter = imported(tmp_path, tensors)
    whole = torch.kron(tensors[f"{QKV}.lokr_w1"], tensors[f"{QKV}.lokr_w2"])
    torch.testing.assert_close(torch.cat([adapter.change(layer) for layer in PARTS]), whole)
    with pytest.raises(Unsupported, match="cannot be written as one lokr"):
        save(tmp_path / "ours.safetensors", adapter)
        export_adapter(tmp_path / "ours.safetensors", "kohya", tmp_path / "back.safetensors")


def test_a_dora_of_some_of_the_parts_is_refused(file_of: FileOf, tmp_path: Path) -> None:
    file, adapter = file_of("flux1", "DoRA")
    save(file, replace(adapter, factors={layer: adapter.factors[layer] for layer in PARTS[:2]}))
    with pytest.raises(Unsupported, match="only some of the parts of this fused layer were trained"):
        export_adapter(file, "kohya", tmp_path / "new.safetensors")


def test_names_of_single_files_are_read(tmp_path: Path) -> None:
    name = "diffusion_model.double_blocks.0.img_attn.qkv"
    tensors = {f"{name}.lora_A.weight": random(4, 32), f"{name}.lora_B.weight": random(96, 4)}
    adapter = imported(tmp_path, tensors)
    whole = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
    torch.testing.assert_close(torch.cat([adapter.change(layer) for layer in PARTS]), whole, **EXACT)


def test_the_configuration_beside_a_file_of_peft_is_heeded(tmp_path: Path) -> None:
    name = "base_model.model.transformer_blocks.0.attn.to_q"
    tensors = {f"{name}.lora_A.weight": random(4, 32), f"{name}.lora_B.weight": random(32, 4)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 16, "use_rslora": True}))
    adapter = import_adapter(tmp_path / "adapter_model.safetensors", "flux1")
    assert adapter.scale(PARTS[0]) == pytest.approx(16 / 4**0.5)


# conversion and types


def test_a_conversion_tells_what_it_loses(file_of: FileOf, base_of: Callable[[str], Base], tmp_path: Path) -> None:
    file, _ = file_of("sd1", "DoRA")
    losses = []
    for rank in (1, 8):
        exported = export_adapter(file, "comfyui", tmp_path / "new.safetensors", base=base_of("sd1"), rank=rank)
        losses.append(exported.summary()["conversion_error"])
        assert exported.proof.worst < 1e-6
    assert 1 > losses[0] > losses[1] > 1e-3


@pytest.mark.parametrize(("dtype", "least", "most"), [("fp32", 0, 1e-6), ("fp16", 1e-5, 1e-3), ("bf16", 1e-4, 1e-2)])
def test_the_error_of_the_type_is_measured(
    dtype: str, least: float, most: float, file_of: FileOf, tmp_path: Path
) -> None:
    file, _ = file_of("sd1", "LoRA")
    assert least <= export_adapter(file, "kohya", tmp_path / "new.safetensors", dtype=dtype).proof.worst <= most


def test_a_type_that_cannot_hold_the_values_is_refused(file_of: FileOf, tmp_path: Path) -> None:
    file, adapter = file_of("sd1", "LoRA")
    first = next(iter(adapter.factors))
    small = {name: factor * 1e-8 for name, factor in adapter.factors[first].items()}
    save(file, replace(adapter, factors={**adapter.factors, first: small}))
    with pytest.raises(Unsupported, match="in fp16 the change of .* would be off by .*Choose another dtype"):
        export_adapter(file, "kohya", tmp_path / "new.safetensors", dtype="fp16")
    assert not (tmp_path / "new.safetensors").exists()
