"""Z-Image against its own pipeline, its own scheduler and diffusers' converters."""

from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_z_image_lora_to_diffusers
from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers
from diffusers.pipelines.z_image.pipeline_z_image_img2img import retrieve_latents
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from PIL import Image
from safetensors.torch import save_file

from lorastyle import Dataset, Recipe, train
from lorastyle.adapters.inject import inject
from lorastyle.adapters.routing import Routing
from lorastyle.bases.base import Base
from lorastyle.bases.families.zimage import stored, tiny_parts
from lorastyle.bases.family import Place, families
from lorastyle.bases.load import load_base
from lorastyle.errors import BadFile, BadInput, Unsupported
from lorastyle.generation.sampling import Row, initial_noise, sample
from tests.bases.families.helpers import PROMPTS, checkpoint, difference, kohya_file, linears, pixels, targeted


@pytest.fixture
def base() -> Base:
    return Base("tiny", families()["zimage"], families()["zimage"].tiny(0))


@pytest.fixture
def turbo() -> Base:
    return Base("turbo", families()["zimage"], tiny_parts(0, FlowMatchEulerDiscreteScheduler(shift=3.0)))


# Encoding and prediction


def test_prompts_are_encoded_as_the_pipeline_does(base: Base) -> None:
    expected, _ = base.pipeline.encode_prompt(list(PROMPTS), "cpu", False, max_sequence_length=48)
    encoded = base.encode_prompts(PROMPTS)
    assert encoded["prompt"].shape == (3, 48, 32)
    for prompt, mask, told in zip(encoded["prompt"], encoded["prompt_mask"], expected, strict=True):
        assert torch.equal(prompt[mask], told)
        assert not prompt[~mask].any()


def test_no_more_tokens_are_kept_than_the_pipeline_keeps(base: Base) -> None:
    base.parts["tokenizer"].model_max_length = 131072
    assert base.encode_prompts(["a cat"])["prompt"].shape == (1, 512, 32)


def test_words_that_are_not_read_are_not_dropped_in_silence(base: Base) -> None:
    base.encode_prompts(["cat" + " cat" * 44])  # 48 less the 3 tokens that begin a question
    with pytest.warns(UserWarning, match="only the first 45 of 46 tokens are read of: cat"):
        base.encode_prompts(["cat" + " cat" * 45])


def test_images_are_encoded_and_decoded_as_the_pipelines_do(base: Base) -> None:
    vae = base.pipeline.vae
    with torch.no_grad():
        expected = retrieve_latents(vae.encode(pixels()), sample_mode="argmax")
        expected = (expected - vae.config.shift_factor) * vae.config.scaling_factor
        drawn = vae.decode((expected / vae.config.scaling_factor) + vae.config.shift_factor, return_dict=False)[0]
    latents = base.encode_images(pixels())
    assert torch.equal(latents, expected)
    assert latents.shape[1:] == base.latent_shape(32, 64)
    assert torch.equal(base.decode_latents(latents), drawn)


def test_predicts_what_the_pipeline_would(base: Base) -> None:
    latents, timesteps = torch.randn(2, *base.latent_shape(64, 32)), torch.tensor([3.0, 700.5])
    captions, _ = base.pipeline.encode_prompt(PROMPTS[1:], "cpu", False)
    frames = list(latents.unsqueeze(2).unbind(dim=0))
    predicted = base.pipeline.transformer(frames, (1000 - timesteps) / 1000, captions, return_dict=False)[0]
    expected = -torch.stack(predicted).squeeze(2)
    base.parts["tokenizer"].model_max_length = 512  # the pipeline's, for the last bits of the text encoder
    assert torch.equal(base.predict(latents, timesteps, base.encode_prompts(PROMPTS[1:])), expected)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_draws_the_pipelines_picture(base: Base, guidance: float) -> None:
    row = Row("a cat", negative="a rocket", seed=5)
    pipeline = base.pipeline
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a cat",
        negative_prompt="a rocket",
        guidance_scale=guidance - 1,  # it counts what is added
        latents=initial_noise(base, [row], 64, 32),
        width=64,
        height=32,
        num_inference_steps=4,
        max_sequence_length=48,
        output_type="pt",
    ).images[0]
    drawn = sample(base, [row], steps=4, guidance=guidance, width=64, height=32)[0]
    assert difference(drawn, expected) <= 1 / 255  # rounding to 8 bits


# Noise, and what it is


def test_times_are_those_of_the_pipelines_sampler(base: Base) -> None:
    latents, scheduler = torch.zeros(1, 4, 8, 8), base.parts["scheduler"]
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / 7, 7).tolist(), mu=0.6)
    torch.testing.assert_close(base.scheduler(7, latents).sigmas, scheduler.sigmas, rtol=1e-6, atol=0)


def test_training_shifts_times_less_than_sampling(base: Base) -> None:
    latents = torch.zeros(1, 4, 8, 8)
    assert base.noise.timestep(torch.tensor([0.5]), latents).item() == pytest.approx(1000 * 2 / 3)
    assert base.scheduler(2, latents).timesteps[1] == pytest.approx(1000 * 6 / 7)


def test_turbo_is_cautioned_about_and_needs_no_guidance(base: Base, turbo: Base) -> None:
    assert (base.cautions, base.guidance, base.architecture) == ([], 5.0, "z-image")
    assert (turbo.guidance, turbo.architecture) == (1.0, "z-image-turbo")
    assert len(turbo.cautions) == 1
    assert "Train on Z-Image itself" in turbo.cautions[0]


def test_whoever_trains_on_turbo_is_told_once(turbo: Base, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "data" / "red.png")
    recipe = Recipe(steps=1, resolution=64, preview_steps=1, preview_prompts=["red"])
    with pytest.warns(UserWarning, match="Train on Z-Image itself") as told:
        train(turbo, Dataset.open(tmp_path / "data"), recipe, out=tmp_path / "run")
    assert [str(one.message) for one in told] == turbo.cautions


def test_a_rate_for_the_text_encoder_is_refused(base: Base) -> None:
    with pytest.raises(BadInput, match="text_encoder_learning_rate: it is 1e-05, but Z-Image .* has no text encoder"):
        base.set_for(Recipe(text_encoder_learning_rate=1e-5))


# Layers and their names


@pytest.mark.parametrize("targets", ["attention", "attention+mlp", "all"])
def test_every_target_follows_a_routing(base: Base, targets: str) -> None:
    """All tokens of a batch go through the embeddings of pictures and captions in one, which no routing can follow."""
    injection = inject(base.models, base.family.targets[targets])
    conditioning = base.encode_prompts(PROMPTS[1:])
    latents, timesteps = torch.randn(2, *base.latent_shape(64, 64)), torch.tensor([3.0, 700.5])
    with injection.router.use(Routing.base(2)):
        base.predict(latents, timesteps, conditioning)
    injection.eject()
    assert not any("embedder" in layer for layer in targeted(base, targets))


@pytest.mark.parametrize("targets", ["attention", "attention+mlp", "all"])
def test_diffusers_reads_kohyas_names(base: Base, targets: str) -> None:
    layers = targeted(base, targets)
    converted = _convert_non_diffusers_z_image_lora_to_diffusers(kohya_file(base, layers))
    assert {name.rsplit(".", 2)[0] for name in converted} == set(layers)
    for layer in layers:
        place = base.family.kohya(layer)
        assert converted[f"{layer}.lora_B.weight"].unique().tolist() == [place.index]
        assert base.family.original(layer) == Place("model.diffusion_model." + place.name, place.index, place.widths)


def test_a_checkpoint_is_read_as_diffusers_reads_it(base: Base) -> None:
    converted = convert_z_image_transformer_checkpoint_to_diffusers(checkpoint(base, stored))
    own = base.parts["transformer"].state_dict()
    assert converted.keys() == own.keys()
    assert all(torch.equal(weight, own[name]) for name, weight in converted.items())


def test_every_layer_has_a_name_in_the_checkpoint(base: Base) -> None:
    names = set(checkpoint(base, stored, "model.diffusion_model."))
    assert {f"{base.family.original(layer).name}.weight" for layer in linears(base)} <= names


# Single files


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zimage") / "tiny"
    family = families()["zimage"]
    family.pipeline(family.tiny(0)).save_pretrained(path)
    return path


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_single_file_is_the_same_base(base: Base, whole: Path, prefix: str) -> None:
    save_file(checkpoint(base, stored, prefix), whole.with_suffix(".safetensors"))
    loaded = load_base(whole.with_suffix(".safetensors"), device="cpu")
    assert loaded.family.name == "zimage"
    for role in base.family.roles:
        assert loaded.fingerprint(role) == base.fingerprint(role)


def test_a_single_file_alone_says_what_belongs_beside_it(base: Base, tmp_path: Path) -> None:
    save_file(checkpoint(base, stored), tmp_path / "alone.safetensors")
    with pytest.raises(BadFile, match=r"it has no configurations\. Put the folder .* at .*alone\.$"):
        load_base(tmp_path / "alone.safetensors")


def test_lumina_which_is_built_alike_is_refused(base: Base, tmp_path: Path) -> None:
    weights = {
        name.replace("adaLN_modulation.0", "adaLN_modulation.1"): weight
        for name, weight in checkpoint(base, stored).items()
    }
    save_file(weights, tmp_path / "lumina.safetensors")
    with pytest.raises(Unsupported, match="of no family of bases that lorastyle knows"):
        load_base(tmp_path / "lumina.safetensors")
