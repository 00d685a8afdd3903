"""Qwen-Image against its own pipeline, its own scheduler and diffusers' converters."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import QwenImagePipeline
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_qwen_lora_to_diffusers
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit import QwenImageEditPipeline
from safetensors.torch import save_file

from lorastyle.bases.base import Base
from lorastyle.bases.families.qwen_image import ANSWER, ASKED, ASKED_TOKENS, RESOLUTION
from lorastyle.bases.family import Place, families
from lorastyle.bases.load import load_base
from lorastyle.bases.parts import Parts
from lorastyle.errors import BadFile, Unsupported
from lorastyle.generation.sampling import Row, initial_noise, sample
from tests.bases.families.helpers import PROMPTS, difference, kohya_file, linears, pixels, targeted


@pytest.fixture
def base() -> Base:
    return Base("tiny", families()["qwen_image"], families()["qwen_image"].tiny(0))


# Encoding and prediction


def test_prompts_are_encoded_as_the_pipeline_does(base: Base) -> None:
    expected, mask = base.pipeline.encode_prompt(PROMPTS, "cpu", max_sequence_length=48)
    encoded = base.encode_prompts(PROMPTS)
    length = expected.shape[1]
    assert encoded["prompt"].shape == (3, 48, 32)
    assert torch.equal(encoded["prompt"][:, :length], expected)
    assert torch.equal(encoded["prompt_mask"][:, :length], mask.bool())
    assert not encoded["prompt"][:, length:].any()
    assert not encoded["prompt_mask"][:, length:].any()


def test_the_question_has_as_many_tokens_as_in_the_real_vocabulary(base: Base) -> None:
    """Each of its words is one token there; what is dropped is the question and nothing of the prompt."""
    assert (base.tokens(ASKED), base.tokens(ANSWER)) == (ASKED_TOKENS, 5) == (34, 5)
    assert base.encode_prompts(["cat cat"])["prompt_mask"].sum() == 2 + 5


def test_no_more_tokens_are_kept_than_the_pipeline_keeps(base: Base) -> None:
    base.parts["tokenizer"].model_max_length = 131072
    assert base.encode_prompts(["a cat"])["prompt"].shape == (1, 512, 32)


def test_words_that_are_not_read_are_not_dropped_in_silence(base: Base) -> None:
    base.encode_prompts(["cat" + " cat" * 47])
    with pytest.warns(UserWarning, match="only the first 48 of 49 tokens are read of: cat"):
        base.encode_prompts(["cat" + " cat" * 48])


def test_images_are_encoded_and_decoded_as_the_pipelines_do(base: Base) -> None:
    vae = base.parts["vae"]
    reader = SimpleNamespace(vae=vae, latent_channels=vae.config.z_dim)
    with torch.no_grad():
        expected = QwenImageEditPipeline._encode_vae_image(reader, pixels()[:, :, None], None)[:, :, 0]
    latents = base.encode_images(pixels())
    torch.testing.assert_close(latents, expected, rtol=1e-6, atol=1e-6)  # it divides where others multiply
    assert latents.shape[1:] == base.latent_shape(32, 64)
    mean, deviation = (torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    with torch.no_grad():
        drawn = vae.decode(latents[:, :, None] / (1.0 / deviation) + mean, return_dict=False)[0][:, :, 0]
    assert torch.equal(base.decode_latents(latents), drawn)


@pytest.mark.parametrize("prompts", [["a cat", "a rocket"], ["a cat", "a dog"]], ids=["masked", "of one length"])
def test_predicts_what_the_pipeline_would(base: Base, prompts: list[str]) -> None:
    latents, timesteps = torch.randn(2, *base.latent_shape(64, 32)), torch.tensor([3.0, 700.5])
    told, mask = base.pipeline.encode_prompt(prompts, "cpu")
    expected = base.pipeline.transformer(
        hidden_states=QwenImagePipeline._pack_latents(latents, *latents.shape),
        timestep=timesteps / 1000,
        guidance=None,
        encoder_hidden_states_mask=mask,
        encoder_hidden_states=told,
        img_shapes=[[(1, 2, 4)]] * 2,
        return_dict=False,
    )[0]
    expected = QwenImagePipeline._unpack_latents(expected, 32, 64, 8)[:, :, 0]
    assert torch.equal(base.predict(latents, timesteps, base.encode_prompts(prompts)), expected)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_draws_the_pipelines_picture(base: Base, guidance: float) -> None:
    row = Row("a cat", negative="a rocket", seed=5)
    latents = initial_noise(base, [row], 64, 32)
    pipeline = base.pipeline
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a cat",
        negative_prompt="a rocket",
        true_cfg_scale=guidance,
        latents=QwenImagePipeline._pack_latents(latents, *latents.shape),
        width=64,
        height=32,
        num_inference_steps=4,
        max_sequence_length=48,
        output_type="pt",
    ).images[0]
    drawn = sample(base, [row], steps=4, guidance=guidance, width=64, height=32)[0]
    # Rounding to 8 bits, and with guidance one batch of two, padded to one length, instead of two of one.
    assert difference(drawn, expected) <= 1 / 255


# Noise, and what it is


def test_times_are_shifted_as_in_the_pipelines_sampler(base: Base) -> None:
    scheduler = base.parts["scheduler"]
    for latents in (torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 16, 8)):
        mu = calculate_shift(latents.shape[2] * latents.shape[3] // 4, 4, 64, 0.5, 0.9)
        sampler = base.scheduler(7, latents)
        scheduler.set_timesteps(sigmas=[1 - step / 7 for step in range(7)], mu=mu)
        torch.testing.assert_close(sampler.sigmas, scheduler.sigmas, rtol=1e-6, atol=0)
        median = base.noise.timestep(torch.tensor([0.5]), latents) / 1000
        torch.testing.assert_close(median, torch.tensor([1 / (1 + math.exp(-mu))]), rtol=1e-6, atol=0)


def test_a_single_step_goes_all_the_way(base: Base) -> None:
    """Where the pipeline divides nothing by nothing, as its last time, which it stretches to 0.02, is its first too."""
    assert base.scheduler(1, torch.zeros(1, 4, 8, 8)).sigmas.tolist() == [1, 0]


def test_the_resolution_is_the_usual_one_unless_the_base_says_another(base: Base) -> None:
    assert (base.resolution, base.guidance, base.architecture, base.cautions) == (64, 4.0, "qwen-image", [])
    without = {name: value for name, value in base.parts["transformer"].config.items() if name != RESOLUTION}
    transformer = type(base.parts["transformer"]).from_config(without)
    assert Base("usual", base.family, Parts.of(**{**base.parts, "transformer": transformer})).resolution == 1024


# Names in other tools


@pytest.mark.parametrize("targets", ["attention", "attention+mlp", "all"])
def test_diffusers_reads_kohyas_names(base: Base, targets: str) -> None:
    layers = targeted(base, targets)
    assert layers
    converted = _convert_non_diffusers_qwen_lora_to_diffusers(kohya_file(base, layers))
    assert {name.rsplit(".", 2)[0] for name in converted} == set(layers)


def test_its_own_names_are_those_of_diffusers(base: Base) -> None:
    for layer in linears(base):
        assert base.family.original(layer) == Place("model.diffusion_model." + layer.removeprefix("transformer."))


# Loading


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen") / "tiny"
    family = families()["qwen_image"]
    family.pipeline(family.tiny(0)).save_pretrained(path)
    return path


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_single_file_is_the_same_base(base: Base, whole: Path, prefix: str) -> None:
    weights = {prefix + name: weight for name, weight in base.parts["transformer"].state_dict().items()}
    save_file(weights, whole.with_suffix(".safetensors"))
    loaded = load_base(whole.with_suffix(".safetensors"), device="cpu")
    assert loaded.family.name == "qwen_image"
    for role in base.family.roles:
        assert loaded.fingerprint(role) == base.fingerprint(role)


def test_a_single_file_alone_says_what_belongs_beside_it(base: Base, tmp_path: Path) -> None:
    save_file(base.parts["transformer"].state_dict(), tmp_path / "alone.safetensors")
    with pytest.raises(BadFile, match=r"only the transformer, and no configurations\. Put the folder .* at .*alone\.$"):
        load_base(tmp_path / "alone.safetensors")


def test_the_pipelines_for_editing_are_of_no_family(whole: Path, tmp_path: Path) -> None:
    for name in ("transformer", "vae", "text_encoder", "tokenizer", "scheduler"):
        (tmp_path / name).symlink_to(whole / name)
    index = json.loads((whole / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": "QwenImageEditPipeline"}))
    with pytest.raises(Unsupported, match="a QwenImageEditPipeline laid out like this is of no family"):
        load_base(tmp_path)
