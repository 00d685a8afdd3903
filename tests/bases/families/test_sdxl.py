"""SDXL against its own pipeline, and its names against diffusers' own converters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers as from_kohya,
    _maybe_map_sgm_blocks_to_diffusers as from_blocks,
)
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import save_file
from torch import Tensor

from lorastyle.bases.base import Base
from lorastyle.bases.family import Frame, families
from lorastyle.bases.load import load_base
from lorastyle.errors import BadInput, Unsupported
from lorastyle.generation.generate import generate
from lorastyle.generation.sampling import Row, initial_noise
from lorastyle.interchange.layers import kohya_place, resolved
from lorastyle.recipe import Recipe
from tests.bases.families.unets import checkpoint_of, layers

FAMILY = families()["sdxl"]
PROMPTS = ["a cat", "dog", "A glossy emoji of a rocket"]


@pytest.fixture(scope="module")
def base() -> Base:
    return Base("tiny", FAMILY, FAMILY.tiny(0))


# What it computes


@pytest.mark.parametrize("skip", [0, 1])
def test_prompts_are_encoded_as_the_pipeline_does(skip: int) -> None:
    base = Base("tiny", FAMILY, FAMILY.tiny(0))
    for part in ("text_encoder", "text_encoder_2"):  # three layers, so that one can be left out
        stack = base.parts[part]
        layers = getattr(stack, "text_model", stack).encoder.layers
        layers.append(layers[0])
        stack.config.num_hidden_layers = 3
    prompt, _, pooled, _ = base.pipeline.encode_prompt(PROMPTS, device="cpu", clip_skip=skip)
    encoded = base.set_for(Recipe(clip_skip=skip)).encode_prompts(PROMPTS)
    assert torch.equal(encoded["prompt"], prompt)
    assert torch.equal(encoded["pooled"], pooled)


def test_the_empty_prompt_is_that_of_the_pipeline(base: Base) -> None:
    _, negative, _, pooled = base.pipeline.encode_prompt(PROMPTS[:1], device="cpu")
    encoded = base.encode_prompts([""])
    assert torch.equal(encoded["prompt"], negative)
    assert torch.equal(encoded["pooled"], pooled)
    assert not pooled.any()


def test_where_the_base_says_so_the_empty_prompt_is_read() -> None:
    base = Base("tiny", FAMILY, FAMILY.tiny(0).replaced(force_zeros_for_empty_prompt=False))
    _, negative, _, pooled = base.pipeline.encode_prompt(PROMPTS[:1], device="cpu")
    encoded = base.encode_prompts([""])
    assert torch.equal(encoded["prompt"], negative)
    assert torch.equal(encoded["pooled"], pooled)
    assert pooled.any()
    assert base.fingerprint("text") != Base("other", FAMILY, FAMILY.tiny(0)).fingerprint("text")


def test_sizes_are_told_in_the_order_of_the_pipeline(base: Base) -> None:
    frame = Frame(original=(640, 480), corner=(32, 8), size=(512, 384))
    expected = base.pipeline._get_add_time_ids((480, 640), (8, 32), (384, 512), torch.float32, 48)
    assert torch.equal(base.geometry([frame])["sizes"], expected)


def test_images_are_encoded_as_the_pipeline_does(base: Base) -> None:
    pixels, vae = torch.rand(2, 3, 64, 64) * 2 - 1, base.pipeline.vae
    assert vae.config.scaling_factor == 0.13025
    with torch.no_grad():
        expected = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
        latents = base.encode_images(pixels)
        assert torch.equal(latents, expected)
        assert torch.equal(base.decode_latents(latents), vae.decode(latents / vae.config.scaling_factor).sample)


@pytest.mark.parametrize("guidance", [3.0, 1.0], ids=["guided", "unguided"])
def test_draws_what_the_plain_pipeline_draws(base: Base, guidance: float) -> None:
    rows = [Row(prompt, seed=5, number=number) for number, prompt in enumerate(PROMPTS)]
    ours = generate(base, PROMPTS, seed=5, steps=4, guidance=guidance, batch=len(PROMPTS))
    pipeline = base.pipeline
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    theirs = pipeline(
        PROMPTS, latents=initial_noise(base, rows, 64, 64), num_inference_steps=4, guidance_scale=guidance
    ).images
    for one, other in zip(ours, theirs, strict=True):
        difference = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
        assert difference.max() <= 1  # the last bits may round a pixel the other way


def test_the_last_layer_of_the_first_encoder_is_not_trained(base: Base) -> None:
    """SDXL reads what it hands its last layer."""
    patterns = base.target_patterns(Recipe(targets="all", text_encoder_learning_rate=1e-5))
    assert all("layers\\.(?:1)" in pattern for pattern in patterns["text_encoder"])
    assert not any("(?!" in pattern for pattern in patterns["text_encoder_2"])


def test_more_layers_than_there_are_cannot_be_left_out(base: Base) -> None:
    with pytest.raises(BadInput, match="clip_skip"):
        base.set_for(Recipe(clip_skip=1))


# Names


@pytest.fixture(scope="module")
def real() -> UNet2DConditionModel:
    """A UNet with the blocks of SDXL, but narrow."""
    return UNet2DConditionModel(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=4,
        norm_num_groups=4,
        use_linear_projection=True,
        cross_attention_dim=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=2,
        projection_class_embeddings_input_dim=20,
    )


def test_original_names_are_those_that_diffusers_reads(real: UNet2DConditionModel) -> None:
    """Its converter, given the weights under the names that the family says, finds every one."""
    weights = {layer: real.get_submodule(layer).weight for layer in layers(real)}
    stored = {FAMILY.original(f"unet.{layer}").name + ".weight": weight for layer, weight in weights.items()}
    assert len(stored) == len(weights) > 700
    rest = {name.replace(".weight", ".bias"): torch.zeros(1) for name in stored}
    rest |= {f"model.diffusion_model.out.0.{leaf}": torch.zeros(1) for leaf in ("weight", "bias")}
    config = {**real.config, "class_embed_type": None}
    converted = convert_ldm_unet_checkpoint({**rest, **stored}, config)
    for layer, weight in weights.items():
        assert converted[f"{layer}.weight"] is weight, layer


PLAIN, ATTENTIVE = ("DownBlock2D", "UpBlock2D"), ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")


def small(blocks: int, *levels: tuple[str, str]) -> UNet2DConditionModel:
    """A UNet of so many residual blocks in each level; `levels` from the outermost."""
    return UNet2DConditionModel(
        block_out_channels=(4,) * len(levels),
        layers_per_block=blocks,
        down_block_types=[down for down, _ in levels],
        up_block_types=[up for _, up in reversed(levels)],
        attention_head_dim=2,
        norm_num_groups=2,
        use_linear_projection=True,
        cross_attention_dim=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=2,
        projection_class_embeddings_input_dim=20,
    )


@pytest.mark.parametrize(
    "unet",
    [
        (2, PLAIN, ATTENTIVE),
        (1, PLAIN, ATTENTIVE),
        (1, PLAIN, ATTENTIVE, ATTENTIVE),
        (3, PLAIN, ATTENTIVE, ATTENTIVE),
        (2, ATTENTIVE, PLAIN),
        (1, ATTENTIVE, ATTENTIVE, ATTENTIVE, PLAIN),
        (2, ATTENTIVE, PLAIN, ATTENTIVE),
    ],
    ids=lambda unet: f"{unet[0]} blocks, {' '.join('plain' if level is PLAIN else 'attentive' for level in unet[1:])}",
)
def test_names_of_a_unet_built_otherwise_are_those_that_diffusers_reads(unet: tuple[Any, ...]) -> None:
    made = small(*unet)
    adapted = sorted(f"unet.{layer}" for layer in layers(made))
    family = FAMILY.built(adapted)
    places = {layer: family.original(layer).name for layer in adapted}
    weights = {f"{place}.weight": made.get_submodule(layer[5:]).weight for layer, place in places.items()}
    assert len(weights) == len(adapted)
    rest = {name.replace(".weight", ".bias"): torch.zeros(1) for name in weights}
    rest |= {f"model.diffusion_model.out.0.{leaf}": torch.zeros(1) for leaf in ("weight", "bias")}
    converted = convert_ldm_unet_checkpoint({**rest, **weights}, {**made.config, "class_embed_type": None})
    for layer in adapted:
        assert converted[f"{layer[5:]}.weight"] is weights[f"{places[layer]}.weight"], layer
    flat = {kohya_place(family, layer).name: layer for layer in adapted}
    read = resolved(FAMILY, flat, [kohya_place])
    assert read is not None
    assert {name: fused.layers[0] for name, fused in read.items()} == flat
    assert FAMILY.built(weights).build == family.build  # as single checkpoints tell it


@pytest.mark.parametrize(
    "adapted",
    [
        ["up_blocks.0.attentions.0", "up_blocks.0.attentions.1"],
        ["down_blocks.2.attentions.0", "up_blocks.0.attentions.1"],
        ["mid_block.attentions.0", "down_blocks.1.attentions.0", "up_blocks.0.attentions.0"],
        ["up_blocks.0.upsamplers.0", "mid_block.attentions.0"],
    ],
)
def test_an_adapter_on_few_blocks_is_one_for_the_published_bases(adapted: list[str]) -> None:
    names = [f"unet.{block}.transformer_blocks.0.attn1.to_q" for block in adapted]
    assert FAMILY.built(names) is FAMILY


def kohya_key(layer: str, ending: str) -> str:
    part = layer.partition(".")[0]
    return f"{FAMILY.kohya_prefixes[part]}_{FAMILY.kohya(layer).name.replace('.', '_')}.{ending}"


def adapter_of(names: list[str]) -> dict[str, Tensor]:
    """An adapter in kohya's names whose every `lora_up` is one number that says which layer it is."""
    tensors = {}
    for number, layer in enumerate(names):
        tensors[kohya_key(layer, "lora_down.weight")] = torch.zeros(1, 1)
        tensors[kohya_key(layer, "lora_up.weight")] = torch.full((1, 1), float(number))
        tensors[kohya_key(layer, "alpha")] = torch.tensor(1.0)
    return tensors


TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out.0": "out_proj"}


def plain(name: str) -> str:
    """The name of the layer in diffusers' older names of adapters."""
    name = name.replace(".lora_linear_layer.up.weight", "").replace(".lora.up.weight", "")
    name = name.replace("_lora.up.weight", "").replace(".processor", "")
    name = f"{name}.0" if name.endswith(".to_out") else name
    for theirs, ours in TEXT.items() if name.startswith("text_encoder") else ():
        name = name.replace(f".{theirs}", f".{ours}")
    return name


def test_kohyas_names_are_those_that_diffusers_reads(real: UNet2DConditionModel, base: Base) -> None:
    """Its converter for adapters puts each layer where it came from, in the UNet and both text encoders."""
    names = [f"unet.{layer}" for layer in layers(real)]
    for part in ("text_encoder", "text_encoder_2"):
        names += [f"{part}.{layer}" for layer in layers(base.models[part])]
    converted, _ = from_kohya(from_blocks(adapter_of(names), real.config))
    found = {int(tensor): plain(name) for name, tensor in converted.items() if name.endswith("up.weight")}
    assert len(found) == len(names)
    for number, layer in enumerate(names):
        part, _, path = layer.partition(".")
        level = part == "text_encoder"  # has none in transformers since 5.6, and in files it still has
        assert found[number] == (f"{part}.text_model.{path}" if level else layer)


# Single checkpoints


@pytest.fixture
def checkpoint(base: Base, tmp_path: Path) -> Path:
    """A checkpoint in the original names, with the base's configurations in the folder of its name beside it."""
    base.pipeline.save_pretrained(tmp_path / "tiny")
    for weights in (tmp_path / "tiny").rglob("*.safetensors"):
        weights.unlink()
    save_file(checkpoint_of(base), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_a_checkpoint_is_the_same_base(checkpoint: Path, base: Base) -> None:
    loaded = load_base(checkpoint)
    assert (loaded.name, loaded.family.name) == ("tiny", "sdxl")
    for role in ("denoiser", "autoencoder", "text"):
        assert loaded.fingerprint(role) == base.fingerprint(role)
    assert loaded.noise.prediction == "epsilon"


@pytest.mark.parametrize("marks", [["v_pred"], ["v_pred", "ztsnr"]], ids=["v", "v to nothing but noise"])
def test_a_checkpoint_can_say_that_it_predicts_v(checkpoint: Path, base: Base, marks: list[str]) -> None:
    save_file({**checkpoint_of(base), **{mark: torch.empty(0) for mark in marks}}, checkpoint)
    loaded = load_base(checkpoint)
    assert loaded.noise.prediction == "v_prediction"
    assert (loaded.noise.alphas_cumprod[-1] == 0) == ("ztsnr" in marks)
    assert loaded.pipeline.scheduler.config.prediction_type == "v_prediction"
    assert loaded.fingerprint("denoiser") == base.fingerprint("denoiser")


def test_a_refiner_is_refused(checkpoint: Path, base: Base) -> None:
    weights = {name: weight for name, weight in checkpoint_of(base).items() if ".embedders.0." not in name}
    save_file(weights, checkpoint)
    with pytest.raises(Unsupported, match="of no family"):
        load_base(checkpoint)


@pytest.mark.parametrize("change", [{"layers_per_block": [1, 2, 2]}, {"num_class_embeds": 10}])
def test_other_unets_are_not_taken_for_sdxl(base: Base, tmp_path: Path, change: dict[str, object]) -> None:
    base.pipeline.save_pretrained(tmp_path / "mine")
    path = tmp_path / "mine" / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(Unsupported, match=r"mine: a StableDiffusionXLPipeline laid out like this is of no family"):
        load_base(tmp_path / "mine")


def test_the_pipeline_loads_from_its_folder(base: Base, tmp_path: Path) -> None:
    base.pipeline.save_pretrained(tmp_path / "tiny")
    assert isinstance(StableDiffusionXLPipeline.from_pretrained(tmp_path / "tiny"), StableDiffusionXLPipeline)
