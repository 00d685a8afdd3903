"""Flux against its own pipeline, its own schedulers and diffusers' converters."""

import math
import re
import warnings
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from safetensors.torch import save_file
from torch import Tensor

from lorastyle.bases.base import Base
from lorastyle.bases.families.flux1 import stored
from lorastyle.bases.family import Place, families
from lorastyle.bases.load import load_base
from lorastyle.errors import BadFile, Unsupported
from lorastyle.generation.sampling import Row, initial_noise, sample
from tests.bases.families.helpers import PROMPTS, checkpoint, difference, linears, pixels


@pytest.fixture(params=["flux1", "pocket-flux"])
def base(request: pytest.FixtureRequest) -> Base:
    family = families()[request.param]
    return Base("tiny", family, family.tiny(0))


@pytest.fixture
def dev() -> Base:
    return Base("tiny", families()["flux1"], families()["flux1"].tiny(0))


# Encoding and prediction


def test_prompts_are_encoded_as_the_pipeline_does(base: Base) -> None:
    longest = base.parts["tokenizer_2"].model_max_length
    prompt, pooled, _ = base.pipeline.encode_prompt(PROMPTS, max_sequence_length=longest)
    encoded = base.encode_prompts(PROMPTS)
    assert encoded.keys() == {"prompt", "pooled"}
    assert torch.equal(encoded["prompt"], prompt)
    assert torch.equal(encoded["pooled"], pooled)


def test_no_more_tokens_are_read_than_flux_was_trained_with(base: Base) -> None:
    base.parts["tokenizer_2"].model_max_length = 1000
    assert base.encode_prompts(["a cat"])["prompt"].shape == (1, 512, 32)


def test_words_beyond_t5_are_not_dropped_in_silence(base: Base) -> None:
    base.encode_prompts(["cat " * 23])
    with pytest.warns(UserWarning, match="only the first 23 of 24 tokens are read of: cat"):
        base.encode_prompts(["cat " * 24])


def test_images_are_encoded_and_decoded_as_the_pipeline_does(base: Base) -> None:
    vae = base.pipeline.vae
    with torch.no_grad():
        expected = (vae.encode(pixels()).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        drawn = vae.decode((expected / vae.config.scaling_factor) + vae.config.shift_factor, return_dict=False)[0]
    latents = base.encode_images(pixels())
    assert torch.equal(latents, expected)
    assert latents.shape[1:] == base.latent_shape(32, 64)
    assert torch.equal(base.decode_latents(latents), drawn)


def test_an_autoencoder_may_tell_of_no_shift(base: Base) -> None:
    shifted = base.encode_images(pixels())
    base.parts["vae"].register_to_config(shift_factor=None)
    latents = base.encode_images(pixels())
    moved = base.pipeline.vae.config.scaling_factor * 0.1159
    torch.testing.assert_close(latents - shifted, torch.full_like(latents, moved), rtol=0, atol=1e-6)
    assert torch.equal(base.decode_latents(latents), base.pipeline.vae.decode(latents / 0.3611).sample)


def test_predicts_what_the_pipeline_would(base: Base) -> None:
    latents, timesteps = torch.randn(2, *base.latent_shape(64, 32)), torch.tensor([3.0, 700.5])
    conditioning = base.encode_prompts(PROMPTS[:2])
    if base.embeds_guidance:
        conditioning["guidance"] = torch.tensor([1.5, 4.0])
    expected = base.pipeline.transformer(
        hidden_states=FluxPipeline._pack_latents(latents, *latents.shape),
        timestep=timesteps / 1000,
        guidance=conditioning.get("guidance"),
        pooled_projections=conditioning["pooled"],
        encoder_hidden_states=conditioning["prompt"],
        txt_ids=torch.zeros(conditioning["prompt"].shape[1], 3),
        img_ids=FluxPipeline._prepare_latent_image_ids(2, 2, 4, torch.device("cpu"), torch.float32),
        return_dict=False,
    )[0]
    expected = FluxPipeline._unpack_latents(expected, 32, 64, 8)
    assert torch.equal(base.predict(latents, timesteps, conditioning), expected)


def test_training_tells_dev_a_guidance_of_one(dev: Base) -> None:
    latents, timesteps = torch.randn(2, *dev.latent_shape(64, 64)), torch.tensor([3.0, 700.5])
    conditioning = dev.encode_prompts(PROMPTS[:2])
    plain = dev.predict(latents, timesteps, conditioning)
    assert torch.equal(dev.predict(latents, timesteps, conditioning | {"guidance": torch.ones(2)}), plain)
    assert not torch.equal(dev.predict(latents, timesteps, conditioning | {"guidance": torch.full((2,), 3.5)}), plain)


def test_draws_the_pipelines_picture(base: Base) -> None:
    row = Row("a cat", seed=5)
    latents = initial_noise(base, [row], 64, 32)
    guided = {"guidance_scale": 3.5} if base.embeds_guidance else {"negative_prompt": "", "true_cfg_scale": 3.5}
    pipeline = base.pipeline
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a cat",
        latents=FluxPipeline._pack_latents(latents, *latents.shape),
        width=64,
        height=32,
        num_inference_steps=4,
        max_sequence_length=24,
        output_type="pt",
        **guided,
    ).images[0]
    drawn = sample(base, [row], steps=4, guidance=3.5, width=64, height=32)[0]
    # Rounding to 8 bits, and with real guidance one batch of two instead of two of one.
    assert difference(drawn, expected) <= 1 / 255


# Noise


def test_times_are_shifted_as_in_the_pipelines_sampler(dev: Base) -> None:
    scheduler = dev.parts["scheduler"]
    for latents in (torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 16, 8)):
        tokens = latents.shape[2] * latents.shape[3] // 4
        mu = calculate_shift(tokens, 4, 64, 0.5, 1.15)
        sampler = dev.scheduler(7, latents)
        assert sampler is not scheduler
        scheduler.set_timesteps(sigmas=[1 - step / 7 for step in range(7)], mu=mu)
        torch.testing.assert_close(sampler.sigmas, scheduler.sigmas, rtol=1e-6, atol=0)
        median = dev.noise.timestep(torch.tensor([0.5]), latents) / 1000
        torch.testing.assert_close(median, torch.tensor([1 / (1 + math.exp(-mu))]), rtol=1e-6, atol=0)


def test_a_base_without_a_shift_by_size_has_its_own(dev: Base) -> None:
    dev.parts["scheduler"].register_to_config(use_dynamic_shifting=False)
    assert dev.noise.timestep(torch.tensor([0.5]), torch.zeros(1, 4, 8, 8)).item() == pytest.approx(750)  # 3 / (3 + 1)


# What is particular to each base


def test_schnell_is_cautioned_about_and_needs_no_guidance(dev: Base) -> None:
    assert (dev.cautions, dev.guidance, dev.architecture) == ([], 3.5, "flux-1-dev")
    schnell = Base("schnell", dev.family, dev.family.tiny(0))
    schnell.parts["transformer"].register_to_config(guidance_embeds=False)
    assert (schnell.guidance, schnell.architecture) == (1.0, "flux-1-schnell")
    assert len(schnell.cautions) == 1
    assert "worth little" in schnell.cautions[0]


# Names


def narrow(weight: Tensor) -> Tensor:
    """The same rows with few columns: diffusers' converter knows only a width of 3,072, which would be large."""
    return torch.randn(weight.shape[0], *[1] * (weight.ndim - 1))


def test_original_names_are_those_that_diffusers_converts() -> None:
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        model = FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True)
    ours = {name: narrow(weight) for name, weight in model.state_dict().items()}
    base = Base("wide", families()["flux1"], families()["flux1"].tiny(0))
    base.parts["transformer"].state_dict = lambda: ours  # type: ignore[method-assign]
    converted = convert_flux_transformer_checkpoint_to_diffusers(checkpoint(base, stored))
    assert converted.keys() == ours.keys()
    assert all(torch.equal(converted[name], weight) for name, weight in ours.items())


def test_kohya_names_are_those_that_diffusers_converts(dev: Base) -> None:
    """Every adaptable layer under its kohya name comes back as itself; fused ones as several."""
    layers = [name for name in linears(dev) if re.search(r"transformer_blocks", name)]
    groups: dict[str, dict[int, str]] = {}
    widths: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        place = dev.family.kohya(layer)
        groups.setdefault(place.name, {})[place.index], widths[place.name] = layer, place.widths
    factors = {}
    for name, members in groups.items():
        assert sorted(members) == list(range(len(widths[name])))
        kohya = f"lora_unet_{name.replace('.', '_')}"
        rows = torch.cat([torch.full((3072 * width, 1), float(index)) for index, width in enumerate(widths[name])])
        factors |= {f"{kohya}.lora_down.weight": torch.ones(1, 1), f"{kohya}.lora_up.weight": rows}
    converted = _convert_kohya_flux_lora_to_diffusers(factors)
    assert {name.rsplit(".", 2)[0] for name in converted} == set(layers)
    for members in groups.values():
        for index, layer in members.items():
            assert converted[f"{layer}.lora_B.weight"].unique().tolist() == [index]


def test_layers_outside_the_blocks_have_names_too_but_one(dev: Base) -> None:
    for layer in linears(dev):
        if layer == "transformer.norm_out.linear":  # the halves of its weight stand the other way round there
            assert dev.family.original(layer) is None
            with pytest.raises(Unsupported, match="kohya's tools have no such layer"):
                dev.family.kohya(layer)
        else:
            assert dev.family.original(layer).name == "model.diffusion_model." + dev.family.kohya(layer).name
    place = "text_model.encoder.layers.0.self_attn.q_proj"
    for layer in ("text_encoder.encoder.layers.0.self_attn.q_proj", f"text_encoder.{place}"):
        assert dev.family.kohya(layer) == Place(place)
        assert dev.family.original(layer) == Place(f"text_encoders.clip_l.transformer.{place}")


# Single files


@pytest.fixture(params=["", "model.diffusion_model."])
def single(dev: Base, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file with the transformer alone, and the rest of the base in the folder beside it."""
    dev.pipeline.save_pretrained(tmp_path / "tiny")
    (tmp_path / "tiny/transformer/diffusion_pytorch_model.safetensors").unlink()
    save_file(checkpoint(dev, stored, request.param), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_a_single_file_is_the_same_base(dev: Base, single: Path) -> None:
    base = load_base(single, device="cpu")
    assert (base.name, base.family.name) == ("tiny", "flux1")
    for role in base.family.roles:
        assert base.fingerprint(role) == dev.fingerprint(role)


def test_a_whole_checkpoint_has_the_words_of_t5_once(dev: Base, single: Path) -> None:
    weights = checkpoint(dev, stored, "model.diffusion_model.")
    words = dev.parts["text_encoder_2"].state_dict()
    held = {name: tensor for name, tensor in words.items() if name != "encoder.embed_tokens.weight"}
    assert "shared.weight" in held
    weights |= {f"text_encoders.t5xxl.transformer.{name}": tensor for name, tensor in held.items()}
    save_file(weights, single)
    base = load_base(single, device="cpu")
    assert base.fingerprint("text") == dev.fingerprint("text")
    prompts = ["a cat"]
    assert torch.equal(base.encode_prompts(prompts)["prompt"], dev.encode_prompts(prompts)["prompt"])


def test_a_single_file_alone_says_what_belongs_beside_it(single: Path) -> None:
    alone = single.rename(single.with_name("alone.safetensors"))
    with pytest.raises(BadFile, match=r"mostly only the transformer\. Put the folder .* at .*alone\.$"):
        load_base(alone)


def test_a_single_file_with_missing_weights_is_refused(dev: Base, single: Path) -> None:
    weights = checkpoint(dev, stored)
    del weights["double_blocks.1.img_mlp.0.bias"]
    save_file(weights, single)
    with pytest.raises(BadFile, match=r"1 weights are missing in it, the first is double_blocks.1.img_mlp.0.bias"):
        load_base(single, device="cpu").predict(torch.zeros(1, 4, 8, 8), torch.zeros(1), {})


@pytest.mark.parametrize(
    "change", [{"img_in.weight": (32, 32)}, {"double_blocks.0.img_mod.lin.weight": None}], ids=["fill", "another"]
)
def test_others_built_like_flux_are_refused(dev: Base, single: Path, change: dict[str, tuple[int, ...] | None]) -> None:
    weights = checkpoint(dev, stored)
    for name, shape in change.items():
        del weights[name]
        if shape:
            weights[name] = torch.zeros(shape)
    save_file(weights, single)
    with pytest.raises(Unsupported, match="of no family of bases that lorastyle knows"):
        load_base(single)


def test_packed_weights_are_not_read_as_plain_numbers(dev: Base, single: Path) -> None:
    scale = {"double_blocks.0.img_mlp.0.scale_weight": torch.ones(())}
    save_file(checkpoint(dev, stored) | scale, single)
    with pytest.raises(BadFile, match=r"packed into numbers of 8 bits or fewer.*Use the same model in fp16 or bf16"):
        load_base(single)


def test_nothing_is_warned_of(base: Base) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base.predict(torch.randn(1, *base.latent_shape(64, 64)), torch.tensor([5.0]), base.encode_prompts(["a cat"]))
