"""Bases written with adapters merged into them, as folders and as single files."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import lorastyle
from lorastyle import Adapter, BadFile, BadInput, Unsupported
from lorastyle.adapters.file import save
from lorastyle.adapters.inject import inject
from lorastyle.adapters.kinds import kind as kind_called, kinds
from lorastyle.bases.base import Base
from lorastyle.bases.family import families
from tests.bases.families.helpers import checkpoint
from tests.bases.families.unets import checkpoint_of


def tiny(family: str) -> Base:
    return Base("tiny", families()[family], families()[family].tiny(0))


def adapter_for(base: Base, kind: str, targets: str = "all", **about: object) -> Adapter:
    """A random adapter on all targets of a base, text encoders too."""
    recipe = lorastyle.Recipe(targets=targets, text_encoder_learning_rate=1e-4)
    patterns, generator, factors = base.target_patterns(recipe), torch.Generator().manual_seed(1), {}
    injection, made = inject({part: base.models[part] for part in patterns}, patterns), kind_called(kind)
    for name, routed in injection.layers.items():
        shapes = made.shapes(routed.layer.shape, 4, made.settings)
        factors[name] = {what: 0.2 * torch.randn(size, generator=generator) for what, size in shapes.items()}
    injection.eject()
    return Adapter(base.family.name, kind, factors, dict.fromkeys(factors, 4.0), **about)


def same_as_merged(merged: Base, base: Base, adapters: dict[Adapter, float], rounding: float) -> None:
    """Every weight of `merged` is that of `base` with the changes, and bit for bit where there are none."""
    adapted = {}
    for adapter, strength in adapters.items():
        for layer in adapter.factors:
            part, _, path = layer.partition(".")
            weight = base.parts[part].get_submodule(path).weight
            adapted[f"{layer}.weight"] = adapted.get(f"{layer}.weight", weight) + strength * adapter.change(
                layer, weight
            )
    for part in base.adapted:
        found = merged.parts[part].state_dict()
        for name, weight in base.parts[part].state_dict().items():
            if f"{part}.{name}" in adapted:
                wanted = adapted.pop(f"{part}.{name}")
                assert (found[name] - wanted).abs().max() <= rounding * wanted.abs().max()
            else:
                assert torch.equal(found[name], weight)
    assert not adapted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "tiny"
    tiny("sd1").pipeline.save_pretrained(path)
    return path


@pytest.mark.parametrize("kind", kinds())
def test_a_folder_is_written_with_the_changes(folder: Path, tmp_path: Path, kind: str) -> None:
    base = lorastyle.load_base(folder, "cpu")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    adapter = adapter_for(base, kind)
    save(tmp_path / "a.safetensors", adapter)
    out = lorastyle.merge(base, {tmp_path / "a.safetensors": 0.7}, tmp_path / "merged")
    merged = lorastyle.load_base(out, "cpu")
    # float32 sums in another order
    same_as_merged(merged, base, {adapter: 0.7}, 1e-6)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert {path.relative_to(out) for path in out.rglob("*")} == {
        path.relative_to(folder) for path in folder.rglob("*")
    }
    (drawn,) = lorastyle.generate(merged, ["a cat"], steps=2)
    assert drawn.size == (64, 64)


def test_number_formats_and_headers_are_kept(folder: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    tiny("sd1").pipeline.to(dtype=torch.float16).save_pretrained(half, variant="fp16")
    base = lorastyle.load_base(half, "cpu")
    adapter = adapter_for(base, "lora", "attention")
    out = lorastyle.merge(base, {adapter: 1.0}, tmp_path / "merged")
    name = "unet/diffusion_pytorch_model.fp16.safetensors"
    old, new = load_file(half / name), load_file(out / name)
    assert {name: tensor.dtype for name, tensor in old.items()} == {name: tensor.dtype for name, tensor in new.items()}
    with safe_open(half / name, "pt") as before, safe_open(out / name, "pt") as after:
        assert before.metadata() == after.metadata()
    same_as_merged(lorastyle.load_base(out, "cpu"), base, {adapter: 1.0}, 2**-11)  # one rounding to float16


def single(family: str, folder: Path) -> tuple[Base, Path]:
    """A tiny base as a single file, with its configurations beside it."""
    base = tiny(family)
    base.pipeline.save_pretrained(folder / "tiny")
    if family in ("sd1", "sd2", "sdxl"):
        tensors = checkpoint_of(base)
        for weights in (folder / "tiny").rglob("*.safetensors"):
            weights.unlink()
    else:
        from lorastyle.bases.families import flux1

        tensors = checkpoint(base, flux1.stored)
    save_file(tensors, folder / "tiny.safetensors", {"modelspec.title": "Tiny"})
    return base, folder / "tiny.safetensors"


@pytest.mark.parametrize("kind", ["lora", "dora", "oft"])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_is_written_with_the_changes(tmp_path: Path, family: str, kind: str) -> None:
    base, path = single(family, tmp_path)
    loaded, adapter = lorastyle.load_base(path, "cpu"), adapter_for(base, kind)
    other = adapter_for(base, "lora", "attention")
    out = lorastyle.merge(loaded, {adapter: 0.7, other: -0.5}, tmp_path / "merged.safetensors")
    (tmp_path / "tiny").rename(tmp_path / "merged")
    same_as_merged(lorastyle.load_base(out, "cpu"), base, {adapter: 0.7, other: -0.5}, 1e-6)
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"modelspec.title": "Tiny"}


def test_fused_layers_of_flux_are_changed_each_in_its_rows(tmp_path: Path) -> None:
    base, path = single("flux1", tmp_path)
    adapter = adapter_for(base, "lora", "attention+mlp")
    kept = {layer: held for layer, held in adapter.factors.items() if layer.startswith("transformer.")}
    adapter = Adapter("flux1", "lora", kept, adapter.alphas)
    before = load_file(path)
    loaded = lorastyle.load_base(path, "cpu")
    after = load_file(lorastyle.merge(loaded, {adapter: 0.5}, tmp_path / "merged.safetensors"))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    for layer in kept:
        place = base.family.original(layer)
        name = next(one for one in before if (place.name + place.ending).endswith(one))
        changed.discard(name)
        rows: list[Tensor] = [(after[name] - before[name])]
        shares = [width / sum(place.widths) for width in place.widths]
        parts = rows[0].split([round(share * len(rows[0])) for share in shares])
        torch.testing.assert_close(parts[place.index], 0.5 * adapter.change(layer), rtol=1e-4, atol=1e-6)
    assert not changed


def test_what_cannot_be_merged_is_refused(folder: Path, tmp_path: Path) -> None:
    base = lorastyle.load_base(folder, "cpu")
    adapter = adapter_for(base, "lora", "attention")
    with pytest.raises(Unsupported, match="was not read from files"):
        lorastyle.merge(tiny("sd1"), {adapter: 1.0}, tmp_path / "merged")
    with pytest.raises(BadInput, match="something of that name already"):
        lorastyle.merge(base, {adapter: 1.0}, folder)
    with pytest.raises(BadInput, match="family sdxl"):
        lorastyle.merge(base, {Adapter("sdxl", "lora", adapter.factors, adapter.alphas): 1.0}, tmp_path / "merged")
    strange = {"unet.nowhere": next(iter(adapter.factors.values()))}
    with pytest.raises(BadFile, match="no weight of nowhere in it"):
        lorastyle.merge(base, {Adapter("sd1", "lora", strange, {"unet.nowhere": 4.0}): 1.0}, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    pocket = lorastyle.load_base("pocket", "cpu")
    assert pocket.source is not None


def test_a_single_file_needs_the_layers_that_are_adapted(tmp_path: Path) -> None:
    base, path = single("sd1", tmp_path)
    adapter, loaded = adapter_for(base, "lora", "attention"), lorastyle.load_base(path, "cpu")
    with pytest.raises(BadInput, match="Let the name of the new one end so too"):
        lorastyle.merge(loaded, {adapter: 1.0}, tmp_path / "merged")
    tensors = load_file(path)
    name = next(one for one in tensors if one.endswith("attn1.to_q.weight"))
    save_file({one: tensor.to(torch.float8_e4m3fn) for one, tensor in tensors.items()}, path)
    with pytest.raises(Unsupported, match="is stored as torch.float8_e4m3fn"):
        lorastyle.merge(loaded, {adapter: 1.0}, tmp_path / "merged.safetensors")
    save_file({one: tensor for one, tensor in tensors.items() if one != name}, path)
    with pytest.raises(BadFile, match=r"there is no .*attn1.to_q.weight in it"):
        lorastyle.merge(loaded, {adapter: 1.0}, tmp_path / "merged.safetensors")


def test_files_of_other_tools_are_merged(folder: Path, tmp_path: Path) -> None:
    base = lorastyle.load_base(folder, "cpu")
    adapter = adapter_for(base, "dora", "attention")
    save(tmp_path / "a.safetensors", adapter)
    foreign = lorastyle.export_adapter(tmp_path / "a.safetensors", "kohya", tmp_path / "kohya.safetensors", base=base)
    out = lorastyle.merge(base, {foreign.path: 0.7}, tmp_path / "merged")
    same_as_merged(lorastyle.load_base(out, "cpu"), base, {adapter: 0.7}, 1e-6)


def test_files_are_mixed(tmp_path: Path) -> None:
    base = tiny("sd1")
    one, two = adapter_for(base, "lora", "attention", trigger="ink"), adapter_for(base, "oft", "attention")
    save(tmp_path / "one.safetensors", one)
    exact = lorastyle.mix({tmp_path / "one.safetensors": 0.5, one: 0.5})
    assert exact.worst == 0
    assert exact.adapter.trigger == "ink"
    near = lorastyle.mix({one: 0.5, two: 1.0}, rank=8, base=base)
    assert 0 < near.worst < 1
    with pytest.raises(BadInput, match="Give a rank"):
        lorastyle.mix({one: 0.5, two: 1.0})
