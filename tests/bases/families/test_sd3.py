"""Stable Diffusion 3 against its own pipeline, its own scheduler and diffusers' converter."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from safetensors.torch import save_file
from torch import Tensor, nn

from lorastyle.bases.base import Base
from lorastyle.bases.families.sd3 import place_of
from lorastyle.bases.family import Place, families
from lorastyle.bases.load import load_base
from lorastyle.bases.parts import Parts
from lorastyle.errors import BadFile, Unsupported
from lorastyle.generation.sampling import Row, initial_noise, sample
from lorastyle.recipe import Recipe
from tests.bases.families.helpers import PROMPTS, difference, pixels

T5 = ("text_encoder_3", "tokenizer_3")


@pytest.fixture
def base() -> Base:
    return Base("tiny", families()["sd3"], families()["sd3"].tiny(0))


@pytest.fixture
def without_t5(base: Base) -> Base:
    return Base("tiny", base.family, Parts.of(**{name: part for name, part in base.parts.items() if name not in T5}))


# Encoding and prediction


@pytest.mark.parametrize("skip", [0, 1])
def test_prompts_are_encoded_as_the_pipeline_does(base: Base, skip: int) -> None:
    longest = base.parts["tokenizer_3"].model_max_length
    prompt, negative, pooled, _ = base.pipeline.encode_prompt(
        PROMPTS, None, None, negative_prompt=["dog"] * 3, max_sequence_length=longest, clip_skip=skip or None
    )
    encoded = base.set_for(Recipe(clip_skip=skip)).encode_prompts(PROMPTS)
    assert encoded.keys() == {"prompt", "pooled"}
    assert torch.equal(encoded["prompt"], prompt)
    assert torch.equal(encoded["pooled"], pooled)
    assert torch.equal(base.encode_prompts(["dog"] * 3)["prompt"], negative)


def test_without_t5_prompts_are_encoded_as_the_pipeline_does(without_t5: Base) -> None:
    prompt, _, pooled, _ = without_t5.pipeline.encode_prompt(PROMPTS, None, None, negative_prompt=[""] * 3)
    encoded = without_t5.encode_prompts(PROMPTS)
    assert torch.equal(encoded["prompt"], prompt)
    assert torch.equal(encoded["pooled"], pooled)


def test_words_that_no_encoder_reads_are_not_dropped_in_silence(base: Base, without_t5: Base) -> None:
    base.encode_prompts(["cat " * 23])
    with pytest.warns(UserWarning, match="only the first 23 of 24 tokens are read of: cat"):
        base.encode_prompts(["cat " * 24])
    without_t5.encode_prompts(["cat " * 22])
    with pytest.warns(UserWarning, match="only the first 22 of 23 tokens are read of: cat"):
        without_t5.encode_prompts(["cat " * 23])


def test_images_are_encoded_and_decoded_as_the_pipeline_does(base: Base) -> None:
    vae = base.pipeline.vae
    with torch.no_grad():
        expected = (vae.encode(pixels()).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        drawn = vae.decode((expected / vae.config.scaling_factor) + vae.config.shift_factor, return_dict=False)[0]
    latents = base.encode_images(pixels())
    assert torch.equal(latents, expected)
    assert latents.shape[1:] == base.latent_shape(32, 64)
    assert torch.equal(base.decode_latents(latents), drawn)


def test_predicts_what_the_pipeline_would(base: Base) -> None:
    latents, timesteps = torch.randn(2, *base.latent_shape(64, 32)), torch.tensor([3.0, 700.5])
    conditioning = base.encode_prompts(PROMPTS[:2])
    expected = base.pipeline.transformer(
        hidden_states=latents,
        timestep=timesteps,
        encoder_hidden_states=conditioning["prompt"],
        pooled_projections=conditioning["pooled"],
        return_dict=False,
    )[0]
    assert torch.equal(base.predict(latents, timesteps, conditioning), expected)


def test_draws_the_pipelines_picture(base: Base) -> None:
    row = Row("a cat", negative="dog", seed=5)
    pipeline = base.pipeline
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a cat",
        negative_prompt="dog",
        latents=initial_noise(base, [row], 64, 32),
        width=64,
        height=32,
        num_inference_steps=4,
        guidance_scale=4.5,
        max_sequence_length=24,
        output_type="pt",
    ).images[0]
    drawn = sample(base, [row], steps=4, guidance=4.5, width=64, height=32)[0]
    assert difference(drawn, expected) <= 1 / 255  # rounding to 8 bits


# Noise


def test_the_sampler_has_the_schedulers_own_times(base: Base) -> None:
    scheduler = base.parts["scheduler"]
    sampler = base.scheduler(7, torch.zeros(1, 4, 8, 8))
    assert sampler is not scheduler
    scheduler.set_timesteps(7)
    assert torch.equal(sampler.sigmas, scheduler.sigmas)
    assert torch.equal(sampler.timesteps, scheduler.timesteps)


def test_times_are_shifted_by_the_schedulers_shift(base: Base) -> None:
    assert base.noise.timestep(torch.tensor([0.5]), torch.zeros(1, 4, 8, 8)).item() == pytest.approx(750)  # 3 / (3 + 1)


# What is particular to each base


def test_the_bases_of_the_family_are_told_apart(base: Base) -> None:
    assert (base.architecture, base.guidance) == ("stable-diffusion-3-5-medium", 4.5)
    large, older = (Base("other", base.family, base.family.tiny(0)) for _ in range(2))
    large.parts["transformer"].register_to_config(num_layers=38)
    older.parts["transformer"].register_to_config(qk_norm=None)
    assert (large.architecture, large.guidance) == ("stable-diffusion-3-5-large", 4.5)
    assert (older.architecture, older.guidance) == ("stable-diffusion-3-medium", 7.0)


def test_a_folder_without_t5_is_a_base_too(without_t5: Base, tmp_path: Path) -> None:
    without_t5.pipeline.save_pretrained(tmp_path / "tiny")
    index = json.loads((tmp_path / "tiny/model_index.json").read_text())
    assert index["text_encoder_3"] == [None, None]
    base = load_base(tmp_path / "tiny", device="cpu")
    assert base.family.name == "sd3"
    assert base.fingerprint("text") == without_t5.fingerprint("text")
    assert torch.equal(base.encode_prompts(["a cat"])["prompt"], without_t5.encode_prompts(["a cat"])["prompt"])


def test_what_learns_nothing_gets_no_adapter(base: Base) -> None:
    patterns = base.target_patterns(Recipe(targets="all"))["transformer"]
    layers = [name for name, module in base.parts["transformer"].named_modules() if isinstance(module, nn.Linear)]
    targeted = {name for name in layers if any(re.fullmatch(pattern, name) for pattern in patterns)}
    model = base.parts["transformer"].requires_grad_(True)
    base.predict(torch.randn(1, 4, 8, 8), torch.tensor([500.0]), base.encode_prompts(["a cat"])).sum().backward()
    learning = {name for name in layers if model.get_submodule(name).weight.grad.any()}
    assert targeted <= learning
    assert {name for name in layers if re.match(r"transformer_blocks\..*(attn|ff)", name)} & learning <= targeted


# Names


def checkpoint(base: Base) -> dict[str, Tensor]:
    """The transformer in the names of the original code."""
    last = base.parts["transformer"].config.num_layers - 1
    swapped = {"norm_out.linear": "final_layer.adaLN_modulation.1"}
    swapped[f"transformer_blocks.{last}.norm1_context.linear"] = f"joint_blocks.{last}.context_block.adaLN_modulation.1"
    pieces: dict[str, dict[int, Tensor]] = {}
    for name, weight in base.parts["transformer"].state_dict().items():
        module, _, leaf = name.rpartition(".")
        if module in swapped:
            place, weight = Place(swapped[module]), torch.cat(weight.chunk(2)[::-1])
        elif module == "pos_embed" and leaf == "pos_embed":
            pieces[leaf] = {0: weight}
            continue
        else:
            place = place_of(module) or Place(spelled(module))
        pieces.setdefault(f"{place.name}.{leaf}", {})[place.index] = weight
    return {name: torch.cat([rows[index] for index in sorted(rows)]) for name, rows in pieces.items()}


def spelled(module: str) -> str:
    """The modules that no adapter is for."""
    found = re.fullmatch(r"transformer_blocks\.(\d+)\.(norm1_context\.linear|attn2?\.norm_(?:added_)?[qk])", module)
    assert found, module
    rest = found[2].replace("norm1_context.linear", "context_block.adaLN_modulation.1")
    rest = re.sub(r"(attn2?)\.norm_added_([qk])", r"context_block.\1.ln_\2", rest)
    rest = re.sub(r"^(attn2?)\.norm_([qk])", r"x_block.\1.ln_\2", rest)
    return f"joint_blocks.{found[1]}.{rest}"


def test_original_names_are_those_that_diffusers_converts(base: Base) -> None:
    ours = base.parts["transformer"].state_dict()
    converted = convert_sd3_transformer_checkpoint_to_diffusers(checkpoint(base))
    assert converted.keys() == ours.keys()
    assert all(torch.equal(converted[name], weight) for name, weight in ours.items())


def test_kohya_names_are_the_original_ones(base: Base) -> None:
    for name, module in base.parts["transformer"].named_modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        layer = f"transformer.{name}"
        if name.endswith(("norm_out.linear", "norm1_context.linear")):  # halves the other way round, at least in one
            assert base.family.original(layer) is None
            with pytest.raises(Unsupported, match="kohya's tools have no such layer"):
                base.family.kohya(layer)
        else:
            place = base.family.original(layer)
            assert place.name == "model.diffusion_model." + base.family.kohya(layer).name
    place = "text_model.encoder.layers.0.mlp.fc1"
    assert base.family.kohya(f"text_encoder_2.{place}") == Place(place)
    assert base.family.original(f"text_encoder_2.{place}") == Place(f"text_encoders.clip_g.transformer.{place}")


# Single files


@pytest.fixture(params=[False, True], ids=["transformer alone", "with encoders"])
def single(base: Base, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file as on model sites, and the rest of the base in the folder beside it."""
    base.pipeline.save_pretrained(tmp_path / "tiny")
    weights = checkpoint(base)
    (tmp_path / "tiny/transformer/diffusion_pytorch_model.safetensors").unlink()
    if request.param:
        weights = {f"model.diffusion_model.{name}": weight for name, weight in weights.items()}
        for part, begins in (("text_encoder", "clip_l"), ("text_encoder_2", "clip_g"), ("text_encoder_3", "t5xxl")):
            (tmp_path / "tiny" / part / "model.safetensors").unlink()
            for name, weight in base.parts[part].state_dict().items():
                weights[f"text_encoders.{begins}.transformer.{name}"] = weight.clone()
    save_file({name: weight.contiguous() for name, weight in weights.items()}, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_a_single_file_is_the_same_base(base: Base, single: Path) -> None:
    loaded = load_base(single, device="cpu")
    assert (loaded.name, loaded.family.name) == ("tiny", "sd3")
    for role in loaded.family.roles:
        assert loaded.fingerprint(role) == base.fingerprint(role)


def test_a_single_file_alone_says_what_belongs_beside_it(single: Path) -> None:
    alone = single.rename(single.with_name("alone.safetensors"))
    with pytest.raises(BadFile, match=r"seldom all encoders\. Put the folder .* at .*alone\.$"):
        load_base(alone)


def test_a_part_that_is_nowhere_is_refused(single: Path) -> None:
    shutil.rmtree(single.with_suffix("") / "vae")
    with pytest.raises(BadFile, match="vae: there is no such folder"):
        load_base(single, device="cpu").decode_latents(torch.zeros(1, 4, 8, 8))
