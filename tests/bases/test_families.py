"""What every family must do, tested on each that the scan finds."""

import re

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents
from torch import Tensor, nn

from lorastyle.bases.base import Base
from lorastyle.bases.family import families
from lorastyle.errors import BadInput
from lorastyle.recipe import Recipe

PROMPTS = ["a cat", "", "A glossy emoji of a rocket"]


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_the_scan_finds_the_families() -> None:
    assert {"sd", "pocket"} <= set(families())
    assert all(family.name == name for name, family in families().items())


# Encoding and prediction


def test_prompts_are_encoded_as_the_pipeline_does(base: Base) -> None:
    expected, negative = base.pipeline.encode_prompt(PROMPTS, "cpu", 1, True, ["dog"] * len(PROMPTS))
    assert torch.equal(base.encode_prompts(PROMPTS)["prompt"], expected)
    assert torch.equal(base.encode_prompts(["dog"] * len(PROMPTS))["prompt"], negative)


def test_words_beyond_the_text_encoder_are_not_dropped_in_silence(base: Base) -> None:
    longest = base.parts["tokenizer"].model_max_length - 2
    base.encode_prompts(["cat " * longest])
    with pytest.warns(UserWarning, match=f"only the first {longest} of {longest + 1} tokens are read"):
        base.encode_prompts(["cat " * (longest + 1)])


def test_tokens_are_counted_without_those_at_the_ends(base: Base) -> None:
    assert [base.tokens(text) for text in ("", "cat", "cat cat", "zq")] == [0, 1, 2, 2]


def test_images_are_encoded_as_the_pipeline_does(base: Base, pixels: Tensor) -> None:
    vae = base.pipeline.vae
    with torch.no_grad():
        expected = retrieve_latents(vae.encode(pixels), sample_mode="argmax") * vae.config.scaling_factor
    latents = base.encode_images(pixels)
    assert torch.equal(latents, expected)
    assert latents.shape[1:] == base.latent_shape(64, 64)


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


def test_gradients_flow_to_the_inputs_but_not_into_the_base(base: Base) -> None:
    conditioning = {name: told.requires_grad_() for name, told in base.encode_prompts(PROMPTS[:1]).items()}
    base.predict(torch.randn(1, *base.latent_shape(64, 64)), torch.tensor([500]), conditioning).sum().backward()
    assert all(told.grad is not None and told.grad.abs().sum() > 0 for told in conditioning.values())
    for model in base.models.values():
        assert not model.training
        assert not any(weight.requires_grad or weight.grad is not None for weight in model.parameters())


def test_gradient_checkpointing_changes_no_prediction(base: Base) -> None:
    latents, timesteps = torch.randn(1, *base.latent_shape(64, 64)), torch.tensor([500])
    conditioning = {name: told.requires_grad_() for name, told in base.encode_prompts(PROMPTS[:1]).items()}
    plain = base.predict(latents, timesteps, conditioning)
    base.checkpoint_gradients(True)
    assert torch.equal(base.predict(latents, timesteps, conditioning), plain)
    base.checkpoint_gradients(False)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in base.models["unet"].modules())


# Sizes and settings


def test_sizes_fit_each_other(base: Base) -> None:
    assert base.resolution == 64
    assert base.resolution % base.divisor == 0
    assert base.latent_shape(64, 32)[1:] == (4, 8)


def test_the_sampler_is_new_each_time_and_does_not_clip_latents(base: Base) -> None:
    assert base.scheduler() is not base.scheduler()
    assert base.scheduler().config.clip_sample is False
    assert base.scheduler().config.prediction_type == base.noise.prediction


def test_the_architecture_is_named(base: Base) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", base.architecture)


@pytest.mark.parametrize("purpose", ["style", "character", "object"])
def test_presets_resolve_a_recipe_and_give_their_reasons(base: Base, purpose: str) -> None:
    preset = base.preset(purpose)
    assert all(suggestion.reason for suggestion in preset.suggestions.values())
    recipe = Recipe(purpose=purpose, trigger="zorvex").resolved(preset, 28, base.resolution, base.guidance)
    assert preset.least_steps <= recipe.steps <= preset.most_steps
    assert {name: getattr(recipe, name) for name in preset.suggestions} == {
        name: suggestion.value for name, suggestion in preset.suggestions.items()
    }
    assert (recipe.preservation > 0) == (purpose != "style")


# Targets


def layers(model: nn.Module, pattern: str = ".*") -> set[str]:
    found = {name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    return {name for name in found if re.fullmatch(pattern, name)}


def targeted(base: Base, recipe: Recipe) -> dict[str, set[str]]:
    return {
        part: set.union(*(layers(base.models[part], pattern) for pattern in patterns))
        for part, patterns in base.target_patterns(recipe).items()
    }


def test_every_pattern_of_every_preset_matches_a_layer(base: Base) -> None:
    for targets in ("attention", "attention+mlp", "all"):
        recipe = Recipe(targets=targets, text_encoder_learning_rate=1e-5)
        for part, patterns in base.target_patterns(recipe).items():
            assert all(layers(base.models[part], pattern) for pattern in patterns)


def test_attention_is_all_of_attention_and_nothing_else(base: Base) -> None:
    expected = layers(base.models["unet"], r".*\.attn\d\..*")
    assert len(expected) == 4 * 8  # 4 transformer blocks of 2 attentions with q, k, v and out
    assert targeted(base, Recipe(targets="attention")) == {"unet": expected}


def test_mlp_is_every_layer_of_the_transformer_blocks(base: Base) -> None:
    expected = layers(base.models["unet"], r".*\.attentions\..*")
    assert targeted(base, Recipe(targets="attention+mlp")) == {"unet": expected}


def test_all_leaves_out_only_the_ends_and_the_embedding_of_time(base: Base) -> None:
    rest = {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}
    assert targeted(base, Recipe(targets="all")) == {"unet": layers(base.models["unet"]) - rest}


def test_the_text_encoder_is_a_target_only_where_it_learns(base: Base) -> None:
    learns = {"text_encoder_learning_rate": 1e-5}
    text = base.models["text_encoder"]
    attention = layers(text, r".*self_attn.*")
    assert len(attention) == 2 * 4
    assert targeted(base, Recipe(targets="attention", **learns))["text_encoder"] == attention
    assert targeted(base, Recipe(targets="all", **learns))["text_encoder"] == layers(text)


def test_own_patterns_match_whole_names_with_or_without_the_models_name(base: Base) -> None:
    recipe = Recipe(targets=[r".*attn2\.to_k", r"unet\.conv_in"], text_encoder_learning_rate=1e-5)
    expected = layers(base.models["unet"], r".*attn2\.to_k") | {"conv_in"}
    assert targeted(base, recipe) == {"unet": expected}


def test_a_pattern_that_matches_nothing_is_refused(base: Base) -> None:
    with pytest.raises(BadInput, match=r"recipe.targets: '.*fc1' matches no layer of unet"):
        base.target_patterns(Recipe(targets=[r".*to_q", ".*fc1"]))


# Fingerprints


@pytest.mark.parametrize(("role", "part"), [("denoiser", "unet"), ("autoencoder", "vae"), ("text", "text_encoder")])
def test_a_fingerprint_changes_with_one_weight(base: Base, role: str, part: str) -> None:
    same, other = (Base("other", base.family, base.family.tiny(0)) for _ in range(2))
    last = list(other.parts[part].parameters())[-1]
    last.view(-1)[0] += 1e-3
    assert same.fingerprint(role) == base.fingerprint(role) != other.fingerprint(role)


def test_a_fingerprint_changes_with_the_scale_of_the_latents(base: Base) -> None:
    other = Base("other", base.family, base.family.tiny(0))
    other.parts["vae"].register_to_config(scaling_factor=0.5)
    assert other.fingerprint("autoencoder") != base.fingerprint("autoencoder")


def test_a_fingerprint_changes_with_the_vocabulary(base: Base) -> None:
    other = Base("other", base.family, base.family.tiny(0))
    other.parts["tokenizer"].add_tokens(["zorvex"])
    assert other.fingerprint("text") != base.fingerprint("text")


def test_a_fingerprint_does_not_change_with_use(base: Base) -> None:
    used = Base("used", base.family, base.family.tiny(0))
    used.encode_prompts(PROMPTS)
    used.tokens("cat")
    assert used.fingerprint("text") == base.fingerprint("text")
