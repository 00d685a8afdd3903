"""What every family must do, tested on each that the scan finds.

What only its own pipeline can tell (how prompts, images and the denoiser are called) is compared with that pipeline in
`families/test_<name>.py`.
"""

import re

import pytest
import torch
from torch import Tensor, nn

from lorastyle.bases.base import Base
from lorastyle.bases.family import Frame, Place, families
from lorastyle.errors import BadInput, Unsupported
from lorastyle.recipe import Recipe

PROMPTS = ["a cat", "", "A glossy emoji of a rocket"]


@pytest.fixture
def pixels(base: Base) -> Tensor:
    """Two pictures of the base's resolution and half of that high, in -1..1."""
    size = (base.resolution // 2, base.resolution)
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.fixture
def latents(base: Base) -> Tensor:
    shape = base.latent_shape(base.resolution, base.resolution // 2)
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(4))


def conditioning_of(base: Base, prompts: list[str]) -> dict[str, Tensor]:
    """What the denoiser is told: prompts, and pictures as they are drawn, half as high as wide."""
    frame = Frame.drawn(base.resolution, base.resolution // 2)
    return {**base.encode_prompts(prompts), **base.geometry([frame] * len(prompts))}


def test_the_scan_finds_the_families() -> None:
    assert {"sd1", "sd2", "pocket"} <= set(families())
    assert all(family.name == name for name, family in families().items())


# Encoding and prediction


def test_a_prompt_is_encoded_alike_alone_and_among_others(base: Base) -> None:
    together = base.encode_prompts(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone = base.encode_prompts([prompt])
        assert alone.keys() == together.keys()
        for name, told in together.items():
            # the kernels' last bits may differ between batch sizes
            torch.testing.assert_close(alone[name][0], told[row], rtol=1e-4, atol=1e-5)


def test_words_matter(base: Base) -> None:
    one, other = (base.encode_prompts([text]) for text in ("a cat", "a dog"))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_tokens_are_counted_without_those_at_the_ends(base: Base) -> None:
    nothing, one, two = (base.tokens(text) for text in ("", "cat", "cat cat"))
    assert nothing == 0 < one < two


def test_images_become_latents_and_come_back_in_their_size(base: Base, pixels: Tensor, latents: Tensor) -> None:
    encoded = base.encode_images(pixels)
    assert encoded.shape == latents.shape
    assert torch.equal(encoded, base.encode_images(pixels))
    decoded = base.decode_latents(encoded)
    assert decoded.shape == pixels.shape
    assert decoded.isfinite().all()


def test_predicts_in_the_shape_of_the_latents(base: Base, latents: Tensor) -> None:
    timesteps = base.noise.timestep(torch.tensor([0.1, 0.9], dtype=torch.float64), latents)
    with torch.no_grad():
        predicted = base.predict(latents, timesteps, conditioning_of(base, PROMPTS[:2]))
        same_time = base.predict(latents, timesteps[:1].expand(2), conditioning_of(base, PROMPTS[:2]))
    assert predicted.shape == latents.shape
    assert predicted.isfinite().all()
    assert torch.equal(same_time[0], predicted[0])
    assert not torch.equal(same_time[1], predicted[1])  # the time matters


def test_gradients_flow_to_the_inputs_but_not_into_the_base(base: Base, latents: Tensor) -> None:
    conditioning = conditioning_of(base, PROMPTS[:2])
    learnt = [conditioning[name] for name in base.encode_prompts(PROMPTS[:2]) if conditioning[name].is_floating_point()]
    for told in learnt:
        told.requires_grad_()
    timesteps = base.noise.timestep(torch.tensor([0.5, 0.5], dtype=torch.float64), latents)
    base.predict(latents, timesteps, conditioning).sum().backward()
    assert any(told.grad is not None and told.grad.abs().sum() > 0 for told in learnt)
    for model in base.models.values():
        assert not model.training
        assert not any(weight.requires_grad or weight.grad is not None for weight in model.parameters())


def test_gradient_checkpointing_changes_no_prediction(base: Base, latents: Tensor) -> None:
    denoiser = base.models[base.adapted[0]]
    timesteps = base.noise.timestep(torch.tensor([0.5, 0.5], dtype=torch.float64), latents)
    conditioning, noisy = conditioning_of(base, PROMPTS[:2]), latents.requires_grad_()
    plain = base.predict(noisy, timesteps, conditioning)
    base.checkpoint_gradients(True)
    assert any(getattr(module, "gradient_checkpointing", False) for module in denoiser.modules())
    assert torch.equal(base.predict(noisy, timesteps, conditioning), plain)
    base.checkpoint_gradients(False)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in denoiser.modules())


# Noise and sampler


def test_the_times_of_training_are_within_those_of_the_noise(base: Base, latents: Tensor) -> None:
    u = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    timesteps = base.noise.timestep(u, latents)
    assert (timesteps >= 0).all()
    assert (timesteps <= base.noise.steps).all()
    assert (timesteps.diff() >= 0).all()


def test_the_sampler_is_new_each_time(base: Base, latents: Tensor) -> None:
    one, other = (base.scheduler(5, latents) for _ in range(2))
    assert one is not other
    assert len(one.timesteps) == 5


def test_the_sampler_undoes_the_noise_that_is_trained(base: Base, latents: Tensor) -> None:
    """Given the very targets of training, sampling leads from the noised latents to the clean ones.

    Tolerance: samplers of discrete diffusion end at their first step, where up to 0.1 % of the variance is noise.
    """
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(5))
    scheduler = base.scheduler(6, latents)
    start = scheduler.timesteps[:1].expand(len(latents))
    sample = base.noise.corrupt(latents, noise, start)
    for timestep in scheduler.timesteps:
        target = base.noise.target(latents, noise, timestep.expand(len(latents)))
        sample = scheduler.step(target, timestep, sample).prev_sample
    torch.testing.assert_close(sample, latents, rtol=0, atol=0.15)
    assert (sample - latents).square().mean() < 2e-3


# Sizes and settings


def test_sizes_fit_each_other(base: Base) -> None:
    assert base.resolution == 64
    assert base.resolution % (2 * base.divisor) == 0
    assert base.latent_shape(64, 32) != base.latent_shape(64, 64)


def test_the_architecture_is_named(base: Base) -> None:
    assert re.fullmatch(r"[a-z0-9.-]+", base.architecture, re.IGNORECASE)


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
    base.noise.weight(torch.tensor([5]), recipe.min_snr)  # raises where the preset does not go with the noise


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


def test_each_preset_of_targets_holds_the_one_before(base: Base) -> None:
    learns = {"text_encoder_learning_rate": 1e-5}
    presets = ("attention", "attention+mlp", "all")
    some, more, most = (targeted(base, Recipe(targets=preset, **learns)) for preset in presets)
    denoiser = base.adapted[0]
    assert some[denoiser] < more[denoiser] <= most[denoiser]
    assert all(some[part] <= more[part] <= most[part] for part in some)


def test_the_text_encoders_are_targets_only_where_they_learn(base: Base) -> None:
    assert list(targeted(base, Recipe(targets="all"))) == base.adapted[:1]
    learning = targeted(base, Recipe(targets="all", text_encoder_learning_rate=1e-5))
    assert list(learning) == base.adapted
    for part in base.adapted[1:]:
        idle = [pattern for pattern in base.family.idle(base.parts, 0) if pattern.startswith(re.escape(f"{part}."))]
        useful = {name for name in layers(base.models[part]) if "projection" not in name}
        assert learning[part] == {
            name for name in useful if not any(re.fullmatch(pattern, f"{part}.{name}") for pattern in idle)
        }


def test_own_patterns_match_whole_names_with_or_without_the_models_name(base: Base) -> None:
    denoiser = base.adapted[0]
    names = sorted(layers(base.models[denoiser]))
    recipe = Recipe(
        targets=[re.escape(names[0]), rf"{denoiser}\.{re.escape(names[-1])}"], text_encoder_learning_rate=1e-5
    )
    assert targeted(base, recipe) == {denoiser: {names[0], names[-1]}}


def test_a_pattern_that_matches_nothing_is_refused(base: Base) -> None:
    with pytest.raises(BadInput, match=rf"recipe.targets: '.*zorvex' matches no layer of {base.adapted[0]}"):
        base.target_patterns(Recipe(targets=[".*", ".*zorvex"]))


# Names in other tools


def in_kohya(base: Base, layer: str) -> Place | None:
    """A layer that kohya's tools do not have is refused; none that a preset of targets holds may be."""
    try:
        return base.family.kohya(layer)
    except Unsupported:
        part, _, name = layer.partition(".")
        assert name not in targeted(base, Recipe(targets="all", text_encoder_learning_rate=1e-5))[part]
        return None


def test_every_layer_has_its_own_place_in_other_tools(base: Base) -> None:
    for part in base.adapted:
        names = [f"{part}.{name}" for name in sorted(layers(base.models[part]))]
        for places in ([in_kohya(base, name) for name in names], [base.family.original(name) for name in names]):
            found = [(place.name, place.index) for place in places if place]
            assert len(set(found)) == len(found)
            assert all(0 <= place.index < len(place.widths) for place in places if place)


# Fingerprints


@pytest.mark.parametrize("role", ["denoiser", "autoencoder", "text"])
def test_a_fingerprint_changes_with_one_weight(base: Base, role: str) -> None:
    models = [part for part in base.role(role) if isinstance(base.parts[part], nn.Module)]
    same = Base("other", base.family, base.family.tiny(0))
    assert same.fingerprint(role) == base.fingerprint(role)
    for part in models:
        other = Base("other", base.family, base.family.tiny(0))
        last = list(other.parts[part].parameters())[-1]
        last.view(-1)[0] += 1e-3
        assert other.fingerprint(role) != base.fingerprint(role)


def test_a_fingerprint_changes_with_the_vocabulary(base: Base) -> None:
    for part in base.role("text"):
        other = Base("other", base.family, base.family.tiny(0))
        if hasattr(other.parts[part], "add_tokens"):
            other.parts[part].add_tokens(["zorvex"])
            assert other.fingerprint("text") != base.fingerprint("text")


def test_a_fingerprint_does_not_change_with_use(base: Base) -> None:
    used = Base("used", base.family, base.family.tiny(0))
    used.encode_prompts(PROMPTS)
    used.tokens("cat")
    assert used.fingerprint("text") == base.fingerprint("text")
