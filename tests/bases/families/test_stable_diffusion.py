"""The families with Stable Diffusion's pipeline, against that pipeline."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents
from torch import Tensor, nn

from lorastyle.bases import clip
from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, families
from lorastyle.bases.layout import MARKER, read_layout
from lorastyle.bases.load import detect, load_base
from lorastyle.errors import BadInput, Unsupported
from lorastyle.generation.generate import generate
from lorastyle.generation.sampling import Row, initial_noise
from lorastyle.recipe import Recipe

PROMPTS = ["a cat", "", "A glossy emoji of a rocket"]
LEARNS = {"text_encoder_learning_rate": 1e-5}


@pytest.fixture(params=["sd1", "sd2", "pocket"], scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    return families()[request.param]


@pytest.fixture
def base(family: Family) -> Base:
    return Base("tiny", family, family.tiny(0))


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1


# What it computes


def test_prompts_are_encoded_as_the_pipeline_does(base: Base) -> None:
    expected, negative = base.pipeline.encode_prompt(PROMPTS, "cpu", 1, True, ["dog"] * len(PROMPTS))
    assert torch.equal(base.encode_prompts(PROMPTS)["prompt"], expected)
    assert torch.equal(base.encode_prompts(["dog"] * len(PROMPTS))["prompt"], negative)


def test_clip_skip_leaves_out_layers_as_the_pipeline_does(base: Base) -> None:
    # diffusers 0.42 looks for a level that transformers has left out since 5.6; a name for the encoder itself helps
    vars(base.models["text_encoder"])["text_model"] = base.models["text_encoder"]
    expected, _ = base.pipeline.encode_prompt(PROMPTS, "cpu", 1, False, clip_skip=1)
    del vars(base.models["text_encoder"])["text_model"]
    skipping = base.set_for(Recipe(clip_skip=1))
    assert torch.equal(skipping.encode_prompts(PROMPTS)["prompt"], expected)
    assert skipping.fingerprint("text") != base.fingerprint("text")
    assert skipping.fingerprint("denoiser") == base.fingerprint("denoiser")


def test_more_layers_than_there_are_cannot_be_left_out(base: Base) -> None:
    with pytest.raises(BadInput, match=r"clip_skip: 2 layers cannot be left out of a text encoder with 2"):
        base.set_for(Recipe(clip_skip=2))


def test_words_beyond_the_text_encoder_are_not_dropped_in_silence(base: Base) -> None:
    longest = base.parts["tokenizer"].model_max_length - 2
    base.encode_prompts(["cat " * longest])
    with pytest.warns(UserWarning, match=f"only the first {longest} of {longest + 1} tokens are read"):
        base.encode_prompts(["cat " * (longest + 1)])


def test_a_tokenizer_that_tells_of_no_end_gives_as_many_tokens_as_clip_reads(base: Base) -> None:
    base.parts["tokenizer"].model_max_length = 10**30  # what transformers takes where nothing is said
    told = clip.tokenized(base.parts["tokenizer"], PROMPTS)
    assert told.input_ids.shape == (len(PROMPTS), 77)


def test_images_are_encoded_as_the_pipeline_does(base: Base, pixels: Tensor) -> None:
    vae = base.pipeline.vae
    with torch.no_grad():
        expected = retrieve_latents(vae.encode(pixels), sample_mode="argmax") * vae.config.scaling_factor
    assert torch.equal(base.encode_images(pixels), expected)


def test_latents_are_decoded_as_the_pipeline_does(base: Base, pixels: Tensor) -> None:
    latents, vae = base.encode_images(pixels), base.pipeline.vae
    with torch.no_grad():
        expected = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
    assert torch.equal(base.decode_latents(latents), expected)


def test_predicts_what_the_denoiser_predicts(base: Base) -> None:
    latents, timesteps = torch.randn(2, *base.latent_shape(64, 32)), torch.tensor([3, 700])
    conditioning = base.encode_prompts(PROMPTS[:2])
    unet = base.pipeline.unet
    expected = unet(latents, timesteps, encoder_hidden_states=conditioning["prompt"], return_dict=False)[0]
    assert torch.equal(base.predict(latents, timesteps, conditioning), expected)


@pytest.mark.parametrize("guidance", [3.0, 1.0], ids=["guided", "unguided"])
def test_draws_what_the_plain_pipeline_draws(base: Base, guidance: float) -> None:
    rows = [Row(prompt, seed=5, number=number) for number, prompt in enumerate(PROMPTS)]
    ours = generate(base, PROMPTS, seed=5, steps=4, guidance=guidance, batch=len(PROMPTS))
    pipeline = base.pipeline
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    theirs = pipeline(
        PROMPTS,
        latents=initial_noise(base, rows, 64, 64),
        num_inference_steps=4,
        guidance_scale=guidance,
        negative_prompt=[""] * len(PROMPTS),
    ).images
    for one, other in zip(ours, theirs, strict=True):
        difference = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
        assert difference.max() <= 1  # the last bits may round a pixel the other way


@pytest.mark.parametrize(
    ("told", "resolution"),
    [(8, 64), ((8, 8), 64), ([4, 16], 64), (None, 48), (1, 16)],
    ids=["a side", "two", "not square", "nothing", "less than the smallest picture"],
)
def test_the_resolution_is_told_by_the_latents_of_the_unet(base: Base, told: object, resolution: int) -> None:
    """The autoencoder makes one latent of 8 x 8 pixels; the UNet halves them once."""
    base.parts["unet"].register_to_config(sample_size=told)
    base.parts["vae"].register_to_config(sample_size=48)
    assert base.resolution == resolution


# Noise


def test_the_sampler_does_not_clip_latents_and_predicts_what_is_trained(base: Base) -> None:
    scheduler = base.scheduler(3, torch.zeros(1, *base.latent_shape(64, 64)))
    assert scheduler.config.clip_sample is False
    assert scheduler.config.prediction_type == base.noise.prediction


def test_what_each_predicts() -> None:
    predicted = {name: Base("tiny", families()[name], families()[name].tiny(0)) for name in ("sd1", "sd2", "pocket")}
    assert {name: base.noise.prediction for name, base in predicted.items()} == {
        "sd1": "epsilon",
        "sd2": "v_prediction",
        "pocket": "v_prediction",
    }
    assert predicted["sd2"].architecture == "stable-diffusion-v2-768-v"


def test_zero_terminal_snr_is_that_of_diffusers() -> None:
    family = families()["sd2"]
    base = Base("tiny", family, family.tiny(0))
    ending = base.set_for(Recipe(zero_terminal_snr=True))
    expected = DDIMScheduler.from_config(base.parts["scheduler"].config, rescale_betas_zero_snr=True)
    torch.testing.assert_close(ending.noise.alphas_cumprod, expected.alphas_cumprod, rtol=1e-6, atol=1e-6)
    assert ending.noise.alphas_cumprod[-1] == 0 < base.noise.alphas_cumprod[-1]
    latents = torch.zeros(1, *base.latent_shape(64, 64))
    assert ending.scheduler(4, latents).timesteps[0] == 999
    assert ending.models["unet"] is base.models["unet"]


def test_zero_terminal_snr_needs_v() -> None:
    family = families()["sd1"]
    with pytest.raises(BadInput, match=r"recipe.zero_terminal_snr: this base predicts the noise"):
        Base("tiny", family, family.tiny(0)).set_for(Recipe(zero_terminal_snr=True))


# Layers


def layers(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}


def targeted(base: Base, part: str, **settings: object) -> set[str]:
    patterns = base.target_patterns(Recipe(**settings))[part]
    return {name for name in layers(base.models[part]) if any(re.fullmatch(pattern, name) for pattern in patterns)}


def test_attention_is_all_of_attention_and_nothing_else(base: Base) -> None:
    expected = {name for name in layers(base.models["unet"]) if ".attn" in name}
    assert len(expected) == 6 * 2 * 4  # 6 transformer blocks of 2 attentions with q, k, v and out
    assert targeted(base, "unet", targets="attention") == expected


def test_mlp_is_every_layer_of_the_transformer_blocks(base: Base) -> None:
    expected = {name for name in layers(base.models["unet"]) if ".attentions." in name}
    assert targeted(base, "unet", targets="attention+mlp") == expected


def test_all_leaves_out_only_the_ends_and_the_embedding_of_time(base: Base) -> None:
    rest = {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}
    assert targeted(base, "unet", targets="all") == layers(base.models["unet"]) - rest


def test_layers_that_clip_skip_leaves_out_are_not_trained(base: Base) -> None:
    attention = {name for name in layers(base.models["text_encoder"]) if "self_attn" in name}
    assert targeted(base, "text_encoder", targets="attention", **LEARNS) == attention
    skipping = base.set_for(Recipe(clip_skip=1))
    read = targeted(skipping, "text_encoder", targets="all", **LEARNS)
    assert read == {name for name in layers(base.models["text_encoder"]) if "layers.1." not in name}


# Names in other tools


def real_unet(**settings: object) -> UNet2DConditionModel:
    """A UNet with the blocks of Stable Diffusion 1 and 2, but narrow."""
    return UNet2DConditionModel(block_out_channels=(8, 8, 8, 8), norm_num_groups=4, attention_head_dim=4, **settings)


@pytest.mark.parametrize("name", ["sd1", "sd2"])
def test_original_names_are_those_that_diffusers_reads(name: str) -> None:
    """Its converter, given the weights under the names that the family says, finds every one."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    unet, family = real_unet(use_linear_projection=name == "sd2"), families()[name]
    weights = {layer: unet.get_submodule(layer).weight for layer in layers(unet)}
    places = {layer: family.original(f"unet.{layer}") for layer in weights}
    stored = {place.name + place.ending: weights[layer] for layer, place in places.items()}
    assert len(stored) == len(weights)
    biases = {name.replace(".weight", ".bias"): torch.zeros(1) for name in stored}
    converted = convert_ldm_unet_checkpoint({**biases, **stored, **norms(unet)}, dict(unet.config))
    for layer, weight in weights.items():
        assert converted[f"{layer}.weight"] is weight, layer


def norms(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """The two norms at the end, which the converter does not do without."""
    return {f"model.diffusion_model.out.0.{leaf}": torch.zeros(1) for leaf in ("weight", "bias")}


def test_of_kohyas_names_the_unets_are_those_of_diffusers() -> None:
    for name in ("sd1", "sd2"):
        family = families()[name]
        layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
        assert family.kohya(f"unet.{layer}").name == layer
        text = "text_model.encoder.layers.0.self_attn.q_proj"
        assert family.kohya("text_encoder.encoder.layers.0.self_attn.q_proj").name == text
        assert family.kohya(f"text_encoder.{text}").name == text
        assert family.kohya_prefixes == {"unet": "lora_unet", "text_encoder": "lora_te"}


# Detection


def without_marker(family: Family, folder: Path, **changes: object) -> Path:
    family.pipeline(family.tiny(0)).save_pretrained(folder)
    config = json.loads((folder / "unet" / "config.json").read_text())
    config.pop(MARKER, None)
    (folder / "unet" / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_pocket_without_its_marker_looks_like_stable_diffusion(tmp_path: Path) -> None:
    assert detect(read_layout(without_marker(families()["pocket"], tmp_path / "mine"))).name == "sd1"


@pytest.mark.parametrize(
    "change",
    [
        {"in_channels": 9},
        {"addition_embed_type": "text_time"},
        {"num_class_embeds": 10},
        {"class_embed_type": "timestep"},
        {"encoder_hid_dim_type": "ip_image_proj"},
        {"dual_cross_attention": True},
        {"down_block_types": ["SimpleCrossAttnDownBlock2D", "DownBlock2D"]},
    ],
    ids=[
        "inpainting",
        "told sizes",
        "told classes",
        "told of augmentation",
        "told pictures",
        "two texts",
        "other blocks",
    ],
)
def test_other_unets_are_not_taken_for_stable_diffusion(
    family: Family, tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(Unsupported, match=r"mine: a StableDiffusionPipeline laid out like this is of no family"):
        load_base(without_marker(family, tmp_path / "mine", **change))


def test_a_fingerprint_changes_with_the_scale_of_the_latents(base: Base) -> None:
    other = Base("other", base.family, base.family.tiny(0))
    other.parts["vae"].register_to_config(scaling_factor=0.5)
    assert other.fingerprint("autoencoder") != base.fingerprint("autoencoder")
