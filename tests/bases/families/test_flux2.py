"""Flux.2 against its own pipelines, their schedulers and diffusers' converters."""

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import (
    _convert_kohya_flux2_lora_to_diffusers,
    _convert_non_diffusers_flux2_lora_to_diffusers,
)
from diffusers.loaders.single_file_utils import convert_flux2_transformer_checkpoint_to_diffusers
from diffusers.pipelines.flux2.pipeline_flux2 import Flux2Pipeline, compute_empirical_mu
from safetensors.torch import save_file

from lorastyle.bases.base import Base
from lorastyle.bases.families.flux2 import stored, tiny_parts
from lorastyle.bases.family import families
from lorastyle.bases.load import load_base
from lorastyle.errors import BadFile, Unsupported
from lorastyle.generation.sampling import Row, initial_noise, sample
from tests.bases.families.helpers import PROMPTS, checkpoint, difference, kohya_file, linears, pixels, targeted

KINDS = {"dev": None, "klein base": False, "klein": True}


@pytest.fixture(params=KINDS)
def base(request: pytest.FixtureRequest) -> Base:
    return Base(request.param, families()["flux2"], tiny_parts(0, KINDS[request.param]))


@pytest.fixture
def dev() -> Base:
    return Base("tiny", families()["flux2"], families()["flux2"].tiny(0))


# Encoding and prediction


def test_prompts_are_encoded_as_the_pipeline_does(base: Base) -> None:
    longest = base.parts["tokenizer"].model_max_length
    expected, _ = base.pipeline.encode_prompt(PROMPTS, max_sequence_length=longest)
    encoded = base.encode_prompts(PROMPTS)
    assert encoded.keys() == {"prompt"}
    assert torch.equal(encoded["prompt"], expected)


def test_no_more_tokens_are_read_than_the_pipeline_reads(base: Base) -> None:
    base.parts["tokenizer"].model_max_length = 131072
    assert base.encode_prompts(["a cat"])["prompt"].shape == (1, 512, 96)


@pytest.mark.parametrize(("kind", "readable"), [("dev", 64), ("klein", 45)])
def test_words_that_are_not_read_are_not_dropped_in_silence(kind: str, readable: int) -> None:
    base = Base(kind, families()["flux2"], tiny_parts(0, KINDS[kind]))
    base.encode_prompts(["cat" + " cat" * (readable - 1)])
    with pytest.warns(UserWarning, match=f"only the first {readable} of {readable + 1} tokens are read of: cat"):
        base.encode_prompts(["cat" + " cat" * readable])


def test_the_word_for_a_picture_is_no_picture(dev: Base) -> None:
    told, plain = (dev.encode_prompts([text])["prompt"] for text in ("a [IMG]cat", "a cat"))
    assert torch.equal(told, plain)


def test_images_are_encoded_and_decoded_as_the_pipeline_does(dev: Base) -> None:
    pipeline = dev.pipeline
    with torch.no_grad():
        expected = pipeline._encode_vae_image(pixels(), None)
        mean, variance = pipeline.vae.bn.running_mean.view(1, -1, 1, 1), pipeline.vae.bn.running_var.view(1, -1, 1, 1)
        blocks = expected * torch.sqrt(variance + pipeline.vae.config.batch_norm_eps) + mean
        drawn = pipeline.vae.decode(pipeline._unpatchify_latents(blocks), return_dict=False)[0]
    latents = dev.encode_images(pixels())
    assert torch.equal(latents, expected)
    assert latents.shape[1:] == dev.latent_shape(32, 64)
    assert torch.equal(dev.decode_latents(latents), drawn)


def test_predicts_what_the_pipeline_would(base: Base) -> None:
    latents, timesteps = torch.randn(2, *base.latent_shape(64, 32)), torch.tensor([3.0, 700.5])
    conditioning = base.encode_prompts(PROMPTS[:2])
    if base.embeds_guidance:
        conditioning["guidance"] = torch.tensor([1.5, 4.0])
    expected = base.pipeline.transformer(
        hidden_states=Flux2Pipeline._pack_latents(latents),
        timestep=timesteps / 1000,
        guidance=conditioning.get("guidance"),
        encoder_hidden_states=conditioning["prompt"],
        txt_ids=Flux2Pipeline._prepare_text_ids(conditioning["prompt"]),
        img_ids=Flux2Pipeline._prepare_latent_ids(latents),
        return_dict=False,
    )[0]
    expected = Flux2Pipeline._unpack_latents_with_ids(expected, Flux2Pipeline._prepare_latent_ids(latents))
    assert torch.equal(base.predict(latents, timesteps, conditioning), expected)


def test_training_tells_dev_a_guidance_of_one(dev: Base) -> None:
    latents, timesteps = torch.randn(2, *dev.latent_shape(64, 64)), torch.tensor([3.0, 700.5])
    conditioning = dev.encode_prompts(PROMPTS[:2])
    plain = dev.predict(latents, timesteps, conditioning)
    assert torch.equal(dev.predict(latents, timesteps, conditioning | {"guidance": torch.ones(2)}), plain)
    assert not torch.equal(dev.predict(latents, timesteps, conditioning | {"guidance": torch.full((2,), 4.0)}), plain)


def test_draws_the_pipelines_picture(base: Base) -> None:
    row = Row("a cat", seed=5)
    pipeline = base.pipeline
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt="a cat",
        guidance_scale=base.guidance,
        latents=initial_noise(base, [row], 64, 32),
        width=64,
        height=32,
        num_inference_steps=4,
        max_sequence_length=base.parts["tokenizer"].model_max_length,
        output_type="pt",
    ).images[0]
    drawn = sample(base, [row], steps=4, width=64, height=32)[0]
    # Rounding to 8 bits, and with guidance one batch of two instead of two of one.
    assert difference(drawn, expected) <= 1 / 255


# Noise, and what it is


@pytest.mark.parametrize(("side", "steps"), [(4, 4), (64, 28), (64, 50), (68, 28)])
def test_times_of_sampling_are_those_of_the_pipeline(dev: Base, side: int, steps: int) -> None:
    """Side 64 is a megapixel; beyond 4,300 tokens the number of steps does not count."""
    scheduler = dev.parts["scheduler"]
    mu = compute_empirical_mu(side * side, steps)
    scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)], mu=mu)
    sampler = dev.scheduler(steps, torch.zeros(1, 16, side, side))
    assert sampler is not scheduler
    torch.testing.assert_close(sampler.sigmas, scheduler.sigmas, rtol=1e-6, atol=0)


def test_training_shifts_times_by_the_size_alone(dev: Base) -> None:
    """By exp(0.5) at 256 tokens and exp(1.15) at 4,096."""
    for side, logarithm in ((16, 0.5), (64, 1.15)):
        median = dev.noise.timestep(torch.tensor([0.5]), torch.zeros(1, 16, side, side)).item()
        assert median == pytest.approx(1000 / (1 + math.exp(-logarithm)))


def test_each_kind_says_what_it_is() -> None:
    family = families()["flux2"]
    dev, klein_base, klein = (Base(name, family, tiny_parts(0, kind)) for name, kind in KINDS.items())
    assert [base.architecture for base in (dev, klein_base, klein)] == ["flux-2-dev", "flux-2-klein", "flux-2-klein"]
    assert [base.guidance for base in (dev, klein_base, klein)] == [4.0, 4.0, 1.0]
    assert [base.embeds_guidance for base in (dev, klein_base, klein)] == [True, False, False]
    assert [len(base.cautions) for base in (dev, klein_base, klein)] == [0, 0, 1]
    assert "Train on Flux.2 klein base" in klein.cautions[0]


# Names in other tools


@pytest.mark.parametrize("targets", ["attention", "attention+mlp"])
def test_diffusers_reads_kohyas_names(dev: Base, targets: str) -> None:
    layers = targeted(dev, targets)
    converted = _convert_kohya_flux2_lora_to_diffusers(kohya_file(dev, layers))
    assert {name.rsplit(".", 2)[0] for name in converted} == set(layers)
    for layer in layers:
        assert converted[f"{layer}.lora_B.weight"].unique().tolist() == [dev.family.kohya(layer).index]


def test_diffusers_reads_the_original_names(dev: Base) -> None:
    layers = targeted(dev, "all")
    factors = {}
    for layer in layers:
        name = "diffusion_model." + dev.family.original(layer).name.removeprefix("model.diffusion_model.")
        factors |= {f"{name}.lora_A.weight": torch.ones(1, 1), f"{name}.lora_B.weight": torch.ones(96, 1)}
    converted = _convert_non_diffusers_flux2_lora_to_diffusers(factors)
    assert {name.rsplit(".", 2)[0] for name in converted} == set(layers)


def test_layers_outside_the_blocks_have_names_too_but_one(dev: Base) -> None:
    names = set(checkpoint(dev, stored, "model.diffusion_model."))
    for layer in linears(dev):
        if layer == "transformer.norm_out.linear":  # the halves of its weight stand the other way round there
            assert dev.family.original(layer) is None
            with pytest.raises(Unsupported, match="kohya's tools have no such layer"):
                dev.family.kohya(layer)
        else:
            assert dev.family.original(layer).name == "model.diffusion_model." + dev.family.kohya(layer).name
            assert f"{dev.family.original(layer).name}.weight" in names


def test_a_checkpoint_is_read_as_diffusers_reads_it(dev: Base) -> None:
    converted = convert_flux2_transformer_checkpoint_to_diffusers(checkpoint(dev, stored))
    own = dev.parts["transformer"].state_dict()
    assert converted.keys() == own.keys()
    assert all(torch.equal(weight, own[name]) for name, weight in converted.items())


# Loading


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Path]:
    """A base of each kind and where it is saved."""
    path = tmp_path_factory.mktemp("flux2") / "tiny"
    base = Base(request.param, families()["flux2"], tiny_parts(0, KINDS[request.param]))
    base.pipeline.save_pretrained(path)
    return base, path


def test_a_folder_is_the_same_base(whole: tuple[Base, Path]) -> None:
    base, path = whole
    loaded = load_base(path, device="cpu")
    assert (loaded.family.name, loaded.guidance, loaded.cautions) == ("flux2", base.guidance, base.cautions)
    for role in base.family.roles:
        assert loaded.fingerprint(role) == base.fingerprint(role)
    assert torch.equal(loaded.encode_prompts(PROMPTS)["prompt"], base.encode_prompts(PROMPTS)["prompt"])


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_single_file_is_the_same_base(whole: tuple[Base, Path], prefix: str) -> None:
    base, path = whole
    save_file(checkpoint(base, stored, prefix), path.with_suffix(".safetensors"))
    loaded = load_base(path.with_suffix(".safetensors"), device="cpu")
    assert (loaded.family.name, loaded.architecture) == ("flux2", base.architecture)
    for role in base.family.roles:
        assert loaded.fingerprint(role) == base.fingerprint(role)


def test_a_processor_is_loaded_as_the_tokenizer_in_it(dev: Base, tmp_path: Path) -> None:
    """As published: its index names PixtralProcessor, which cannot be loaded without torchvision."""
    dev.pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"tokenizer": ["transformers", "PixtralProcessor"]}))
    assert load_base(tmp_path, device="cpu").fingerprint("text") == dev.fingerprint("text")


def test_a_single_file_alone_says_what_belongs_beside_it(dev: Base, tmp_path: Path) -> None:
    save_file(checkpoint(dev, stored), tmp_path / "alone.safetensors")
    with pytest.raises(BadFile, match=r"only the transformer, and no configurations\. Put the folder .* at .*alone\.$"):
        load_base(tmp_path / "alone.safetensors")
