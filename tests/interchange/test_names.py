"""The names and numbers that the other tools look for, spelled out, and the foreign spellings that are read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorastyle.adapters.file import Adapter, load, save
from lorastyle.errors import BadFile, BadInput, Unsupported
from lorastyle.interchange.exchange import export_adapter, import_adapter

FileOf = Callable[[str, str], tuple[Path, Adapter]]


def names_in(path: Path) -> set[str]:
    return {name.partition(".")[0] if name.startswith("lora_") else name for name in load_file(path)}


# what is written


@pytest.mark.parametrize(
    ("family", "to", "names"),
    [
        (
            "sd1",
            "kohya",
            {
                "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0",
                "lora_unet_mid_block_attentions_0_proj_in",
                "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
            },
        ),
        (
            "sdxl",
            "comfyui",
            {
                "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q",
                "lora_te1_text_model_encoder_layers_0_mlp_fc1",
                "lora_te2_text_model_encoder_layers_0_self_attn_out_proj",
            },
        ),
        (
            "flux1",
            "invoke",
            {
                "lora_unet_double_blocks_0_img_attn_qkv",
                "lora_unet_double_blocks_0_txt_mlp_2",
                "lora_unet_single_blocks_0_linear1",
                "lora_unet_single_blocks_0_modulation_lin",
                "lora_te1_text_model_encoder_layers_0_self_attn_v_proj",
            },
        ),
        (
            "flux1",
            "comfyui",
            {
                "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
                "transformer.single_transformer_blocks.0.proj_mlp.alpha",
                "text_encoder.text_model.encoder.layers.0.mlp.fc2.lora_B.weight",
            },
        ),
        (
            "flux2",
            "comfyui",
            {
                "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
                "diffusion_model.double_stream_modulation_txt.lin.lora_B.weight",  # not in its map of diffusers' names
                "diffusion_model.single_stream_modulation.lin.alpha",
            },
        ),
        (
            "flux1",
            "diffusers",
            {
                "transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight",
                "text_encoder.text_model.encoder.layers.0.self_attn.out_proj.lora_B.weight",
            },
        ),
    ],
)
def test_layers_have_the_names_that_the_tools_look_for(
    family: str, to: str, names: set[str], file_of: FileOf, tmp_path: Path
) -> None:
    file, _ = file_of(family, "LoRA")
    assert names <= names_in(export_adapter(file, to, tmp_path / "new.safetensors").path)


def test_alpha_is_always_written_and_has_rslora_in_it(file_of: FileOf, tmp_path: Path) -> None:
    file, adapter = file_of("sd1", "rsLoRA")
    tensors = load_file(export_adapter(file, "kohya", tmp_path / "new.safetensors", dtype="fp16").path)
    downs = {name for name in tensors if name.endswith(".lora_down.weight")}
    assert len(downs) == len(adapter.factors)
    for name in downs:
        alpha = tensors[name.replace("lora_down.weight", "alpha")]
        assert alpha.dtype == torch.float32  # fp16 would round it
        assert any(abs(float(alpha) / 4 - adapter.scale(layer)) < 1e-6 for layer in adapter.factors)
    assert len({float(tensors[name]) for name in tensors if name.endswith(".alpha")}) == 1  # as all tools can read it
    assert {tensors[name].dtype for name in downs} == {torch.float16}


def test_the_file_for_diffusers_means_the_same_to_readers_who_know_no_alpha(file_of: FileOf, tmp_path: Path) -> None:
    file, adapter = file_of("sd1", "LoRA")
    tensors = load_file(export_adapter(file, "diffusers", tmp_path / "new.safetensors").path)
    layer = next(layer for layer in adapter.factors if layer.endswith("attn1.to_q"))
    product = tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"]
    torch.testing.assert_close(product, adapter.change(layer))


@pytest.mark.parametrize("row", ["LoKr", "LoHa"])
def test_lycoris_merges_what_is_written_as_it_is_meant(row: str, file_of: FileOf, tmp_path: Path) -> None:
    """Its forward pass has the scale once, its merging the square, so what is written has the scale 1."""
    theirs = pytest.importorskip("lycoris.modules")
    file, adapter = file_of("sd1", row)
    tensors = load_file(export_adapter(file, "kohya", tmp_path / "new.safetensors").path)
    layers = [layer for layer in adapter.factors if layer.startswith("unet.") and adapter.change(layer).dim() == 2]
    assert any(adapter.scale(layer) != 1.0 for layer in layers)
    for layer in layers:
        name, change = f"lora_{layer.replace('.', '_')}", adapter.change(layer)
        module = theirs.make_module(*theirs.get_module(tensors, name), name, torch.nn.Linear(*reversed(change.shape)))
        merged = module.get_diff_weight(shape=change.shape)[0].detach()
        assert (merged - change).norm() <= 1e-6 * change.norm()  # float32 products in another order


def test_a_lokr_for_invoke_tells_its_base(tmp_path: Path) -> None:
    """InvokeAI looks for the inputs of cross-attention and of the text encoder, in whole factors alone."""
    made = {name: torch.full(size, 0.5) for name, size in {"w1": (8, 8), "w2_a": (40, 2), "w2_b": (2, 96)}.items()}
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn{}.to_k"
    names = [layer.format(number) for number in (1, 2)]
    adapter = Adapter("sd1", "lokr", dict.fromkeys(names, made), dict.fromkeys(names, 6.0))
    save(tmp_path / "own.safetensors", adapter)
    tensors = load_file(export_adapter(tmp_path / "own.safetensors", "invoke", tmp_path / "new.safetensors").path)
    self_attention, cross = (f"lora_{name.replace('.', '_')}" for name in names)
    assert {f"{self_attention}.lokr_w2_a", f"{cross}.lokr_w1", f"{cross}.lokr_w2"} <= tensors.keys()
    assert f"{cross}.lokr_w2_a" not in tensors
    inputs = [tensors[f"{cross}.{factor}"].shape[1] for factor in ("lokr_w1", "lokr_w2")]
    assert inputs[0] * inputs[1] == 768  # as in Stable Diffusion 1


def test_parts_that_were_trained_apart_stand_on_the_diagonal(file_of: FileOf, tmp_path: Path) -> None:
    file, _ = file_of("flux1", "LoRA")
    tensors = load_file(export_adapter(file, "kohya", tmp_path / "new.safetensors").path)
    up = tensors["lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight"]
    assert up.shape == (96, 12)
    blocks = up.unflatten(0, (3, 32)).unflatten(2, (3, 4)).abs().amax((1, 3))
    assert torch.equal(blocks > 0, torch.eye(3, dtype=torch.bool))


# what is read


def kohya(names: dict[str, tuple[int, int]], rank: int = 4, **more: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (inputs, outputs) in names.items():
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, inputs, generator=generator)
        tensors[f"{name}.lora_up.weight"] = torch.randn(outputs, rank, generator=generator)
    return tensors | more


def written(folder: Path, tensors: dict[str, Tensor], **header: str) -> Path:
    save_file(tensors, folder / "theirs.safetensors", header or None)
    return folder / "theirs.safetensors"


Q = "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        (Q, "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q"),
        (
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn1_to_q",
            "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q",
        ),
        (
            "lora_unet_output_blocks_5_1_transformer_blocks_1_ff_net_0_proj",
            "unet.up_blocks.1.attentions.2.transformer_blocks.1.ff.net.0.proj",
        ),
        ("lora_te2_text_model_encoder_layers_31_mlp_fc1", "text_encoder_2.text_model.encoder.layers.31.mlp.fc1"),
    ],
)
def test_names_of_the_real_sdxl_are_understood(tmp_path: Path, name: str, layer: str) -> None:
    adapter = import_adapter(written(tmp_path, kohya({name: (8, 8)})), "sdxl")
    assert list(adapter.factors) == [layer]
    assert adapter.alphas[layer] == 4.0  # without an alpha it is the rank


def test_fused_layers_are_taken_apart(tmp_path: Path) -> None:
    name = "lora_unet_single_blocks_37_linear1"
    tensors = kohya({name: (16, 7 * 16)}, **{f"{name}.alpha": torch.tensor(2.0)})
    adapter = import_adapter(written(tmp_path, tensors, ss_base_model_version="flux1"))
    assert adapter.family == "flux1"
    within = "transformer.single_transformer_blocks.37."
    ends = {"attn.to_q": (0, 16), "attn.to_k": (16, 32), "attn.to_v": (32, 48), "proj_mlp": (48, 112)}
    assert set(adapter.factors) == {within + end for end in ends}
    whole = 0.5 * tensors[f"{name}.lora_up.weight"] @ tensors[f"{name}.lora_down.weight"]
    for end, (first, last) in ends.items():
        torch.testing.assert_close(adapter.change(within + end), whole[first:last])


def test_a_convolution_in_three_parts_becomes_one_in_two(tmp_path: Path) -> None:
    name = "lora_unet_mid_block_resnets_0_conv1"
    shapes = {"lora_down": (3, 8, 1, 1), "lora_mid": (3, 3, 3, 3), "lora_up": (6, 3, 1, 1)}
    generator = torch.Generator().manual_seed(0)
    tensors = {f"{name}.{part}.weight": torch.randn(shape, generator=generator) for part, shape in shapes.items()}
    adapter = import_adapter(written(tmp_path, tensors), "sd1")
    down, mid, up = (tensors[f"{name}.{part}.weight"] for part in shapes)
    expected = torch.einsum("op,pqhw,qi->oihw", up[..., 0, 0], mid, down[..., 0, 0])
    torch.testing.assert_close(adapter.change("unet.mid_block.resnets.0.conv1"), expected)


OLD = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora"
TODAY = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"
BARE = "base_model.model.transformer_blocks.0.attn.to_q"


@pytest.mark.parametrize(
    ("down", "up", "family", "layer"),
    [
        (f"{OLD}.down.weight", f"{OLD}.up.weight", "sd1", TODAY),
        (f"{TODAY}.lora.down.weight", f"{TODAY}.lora.up.weight", "sd1", TODAY),
        (f"{TODAY}.lora_A.default.weight", f"{TODAY}.lora_B.default.weight", "sd1", TODAY),
        (f"{TODAY}.lora_down.weight", f"{TODAY}.lora_up.weight", "sd1", TODAY),
        (
            "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
            "transformer.transformer_blocks.0.attn.to_q.lora_B.weight",
            "flux1",
            "transformer.transformer_blocks.0.attn.to_q",
        ),
    ],
)
def test_what_diffusers_and_peft_wrote_over_the_years_is_read(
    tmp_path: Path, down: str, up: str, family: str, layer: str
) -> None:
    tensors = {down: torch.ones(2, 8), up: torch.ones(8, 2)}
    adapter = import_adapter(written(tmp_path, tensors), family)
    assert list(adapter.factors) == [layer]
    torch.testing.assert_close(adapter.change(layer), torch.full((8, 8), 2.0))


def test_alpha_comes_from_the_tensors_or_from_the_header(tmp_path: Path) -> None:
    tensors = {f"{TODAY}.lora_A.weight": torch.ones(2, 8), f"{TODAY}.lora_B.weight": torch.ones(8, 2)}
    config = json.dumps({"unet.r": 2, "unet.lora_alpha": 6, "unet.use_rslora": False})
    read = import_adapter(written(tmp_path, tensors, lora_adapter_metadata=config), "sd1")
    assert read.alphas[TODAY] == 6.0
    read = import_adapter(written(tmp_path, tensors | {f"{TODAY}.alpha": torch.tensor(8)}), "sd1")
    assert read.alphas[TODAY] == 8.0  # written as an integer by some


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 1.0])
def test_alpha_of_oft_holds_its_rotations_as_in_training(tmp_path: Path, alpha: float) -> None:
    diag_oft = pytest.importorskip("lycoris.modules.diag_oft")
    blocks, layer = torch.randn(16, 4, 4, generator=torch.Generator().manual_seed(0)), torch.nn.Linear(64, 64)
    name = Q.replace("lora_unet_", "oft_unet_")  # as sd-scripts has it
    file = written(tmp_path, {f"{name}.oft_blocks": blocks, f"{name}.alpha": torch.tensor(alpha)})
    (held,) = import_adapter(file, "sdxl").factors.values()
    module = diag_oft.DiagOFTModule("theirs", layer, lora_dim=4, constraint=alpha)
    with torch.no_grad():
        module.oft_blocks.copy_(blocks)
        q = held["blocks"] - held["blocks"].mT
        ours = torch.linalg.solve(torch.eye(4) - q, torch.eye(4) + q, left=False)
        torch.testing.assert_close(ours, module.get_r(), rtol=0, atol=1e-4)  # of entries up to 1, by another inverse


@pytest.mark.parametrize(("count", "size"), [(16, 4), (8, 8), (4, 16)])
def test_blocks_that_lycoris_cannot_read_are_refused_for_kohya_alone(count: int, size: int, tmp_path: Path) -> None:
    diag_oft = pytest.importorskip("lycoris.modules.diag_oft")
    layer, name = "unet.mid_block.attentions.0.proj_in", "lora_unet_mid_block_attentions_0_proj_in"
    blocks = torch.randn(count, size, size, generator=torch.Generator().manual_seed(0)) / 4
    save(tmp_path / "own.safetensors", Adapter("sd1", "oft", {layer: {"blocks": blocks}}, {layer: 1.0}))

    def blocks_in(to: str) -> Tensor:
        path = export_adapter(tmp_path / "own.safetensors", to, tmp_path / f"{to}.safetensors").path
        return load_file(path)[f"{name}.oft_blocks"]

    assert torch.equal(blocks_in("comfyui"), blocks)
    if count < size:
        with pytest.raises(Unsupported, match=f"of {count} blocks, each of {size}; LyCORIS reads none larger"):
            blocks_in("kohya")
    else:
        with torch.no_grad():
            layer_there = torch.nn.Conv2d(64, 64, 1)
            made = diag_oft.DiagOFTModule.make_module_from_state_dict(name, layer_there, blocks_in("kohya"), None, 0.0)
        assert torch.equal(made.oft_blocks, blocks)


# which family


def test_a_family_that_stays_open_has_to_be_given(tmp_path: Path) -> None:
    file = written(tmp_path, kohya({"lora_unet_mid_block_attentions_0_proj_in": (8, 8)}))
    with pytest.raises(BadFile, match=r"layers are those of several families: .*sd1.*Give the family too"):
        import_adapter(file)
    assert import_adapter(file, "sd2").family == "sd2"
    with pytest.raises(BadFile, match="are not those of Flux"):
        import_adapter(file, "flux1")
    with pytest.raises(BadInput, match="there is no family called 'sd9'"):
        import_adapter(file, "sd9")


def test_the_header_of_kohyas_tools_tells_the_family(tmp_path: Path) -> None:
    tensors = kohya({"lora_unet_mid_block_attentions_0_proj_in": (8, 8)})
    assert import_adapter(written(tmp_path, tensors, ss_base_model_version="sd_v1")).family == "sd1"
    told = {"modelspec.architecture": "stable-diffusion-v1/lora"}
    assert import_adapter(written(tmp_path, tensors, **told)).family == "sd1"


@pytest.mark.parametrize(("inputs", "family"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl")])
def test_what_the_unet_reads_tells_the_family(tmp_path: Path, inputs: int, family: str) -> None:
    attention = "unet.mid_block.attentions.0.transformer_blocks.0.attn2"  # there in all three
    tensors = {
        f"{attention}.{layer}.lora_{factor}.weight": torch.ones(shape)
        for layer in ("to_q", "to_v")
        for factor, shape in {"A": (4, inputs if layer == "to_v" else 320), "B": (320, 4)}.items()
    }
    assert import_adapter(written(tmp_path, tensors)).family == family


# what is refused

A, B = f"{Q}.lora_down.weight", f"{Q}.lora_up.weight"
GOOD = {A: torch.ones(4, 8), B: torch.ones(8, 4)}
BAD: dict[str, tuple[dict[str, Tensor], str]] = {
    "nan": (GOOD | {A: torch.full((4, 8), torch.nan)}, "holds numbers that are not finite"),
    "inf": (GOOD | {B: torch.full((8, 4), torch.inf)}, "holds numbers that are not finite"),
    "half a pair": ({A: GOOD[A]}, "are of no kind of adapter known here: lora_down.weight"),
    "ranks": (GOOD | {A: torch.ones(3, 8)}, r"do not belong together: \[3, 8\] and \[8, 4\]"),
    "rank 0": ({A: torch.ones(0, 8), B: torch.ones(8, 0)}, "do not belong together"),
    "integers": (GOOD | {A: torch.ones(4, 8, dtype=torch.int8)}, "holds torch.int8, not fractions"),
    "booleans": (GOOD | {A: torch.ones(4, 8, dtype=torch.bool)}, "holds torch.bool, not fractions"),
    "unknown ending": (GOOD | {f"{Q}.lora_sideways.weight": torch.ones(1)}, "of no kind of adapter known here"),
    "unknown name": (GOOD | {"first.weight": torch.ones(1)}, "the tensor first.weight is of no format known here"),
    "unknown layer": ({name.replace("attn1", "attn7"): held for name, held in GOOD.items()}, "are not those of SDXL"),
    "checkpoint": ({"model.diffusion_model.out.0.weight": torch.ones(2)}, "a model's own weights, not an adapter"),
    "alpha": (GOOD | {f"{Q}.alpha": torch.ones(2)}, "is no single number"),
    "inputs' magnitudes": (GOOD | {f"{Q}.dora_scale": torch.ones(1, 8)}, "one for each input"),
    "mixed kinds": (
        GOOD | {f"{Q[:-1]}k.lokr_w1": torch.ones(2, 2), f"{Q[:-1]}k.lokr_w2": torch.ones(4, 4)},
        "its layers are of several kinds, lokr, lora",
    ),
}


@pytest.mark.parametrize(("tensors", "what"), BAD.values(), ids=BAD)
def test_unsound_foreign_files_are_refused(tmp_path: Path, tensors: dict[str, Tensor], what: str) -> None:
    with pytest.raises(BadFile, match=rf"theirs\.safetensors: .*{what}"):
        import_adapter(written(tmp_path, tensors), "sdxl")


def test_a_foreign_file_is_told_apart_from_ours(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"Run lorastyle import theirs\.safetensors"):
        load(written(tmp_path, GOOD))


def test_what_cannot_be_written_is_refused_before_anything_is(file_of: FileOf, tmp_path: Path) -> None:
    file, _ = file_of("sd1", "DoRA")
    with pytest.raises(Unsupported, match=r"ComfyUI divides a DoRA .* give a rank"):
        export_adapter(file, "comfyui", tmp_path / "new.safetensors")
    with pytest.raises(BadInput, match=r"rank: .*Give the base"):
        export_adapter(file, "comfyui", tmp_path / "new.safetensors", rank=4)
    with pytest.raises(BadInput, match="there is no format called 'onnx'"):
        export_adapter(file, "onnx")
    with pytest.raises(BadInput, match="it is the adapter's own file"):
        export_adapter(file, "kohya", file)
    assert list(tmp_path.glob("new*")) == []


def test_a_safetensors_file_may_begin_as_a_pickle_does(tmp_path: Path) -> None:
    """Its first byte is the lowest of its header's length, whatever that is."""
    for length in range(0, 256, 8):  # headers are padded to multiples of 8
        file = written(tmp_path, GOOD, note="x" * length)
        if file.read_bytes()[:1] == b"\x80":
            break
    else:
        pytest.fail("no header of that length")
    assert import_adapter(file, "sdxl").factors
