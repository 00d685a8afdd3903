"""The recipe: what it refuses and in which words, TOML in and out, and how presets fill in what is open."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from lorastyle.errors import BadFile, BadInput
from lorastyle.recipe import Preset, Recipe, Suggestion, held_out_images

PROPERTIES: dict[str, dict[str, Any]] = Recipe.model_json_schema()["properties"]
OPEN = {"alpha", "steps", "epochs", "resolution", "guidance", "held_out"}
PRESET = Preset(
    suggestions={"rank": Suggestion(32, "more detail"), "flip": Suggestion(True, "twice the images")},
    steps_per_image=30,
    least_steps=500,
    most_steps=2000,
    steps_reason="as others found",
)
# A value other than the default for every field, all of which go together.
CHANGED: dict[str, Any] = {
    "purpose": "object",
    "trigger": "sks mug",
    "class_word": "cup",
    "kind": "dora",
    "rank": 8,
    "ranks": {r"unet\.mid_block.*": 4, r".*to_q": 2},
    "alpha": 4.0,
    "alphas": {".*to_q": 1.0},
    "rslora": True,
    "targets": [r".*\.attn1\..*", "conv_in"],
    "learning_rate": 2e-4,
    "learning_rates": {".*to_k": 1e-3},
    "text_encoder_learning_rate": 1e-5,
    "lora_plus_ratio": 16.0,
    "steps": 300,
    "batch": 2,
    "accumulation": 2,
    "optimizer": "Adafactor",
    "weight_decay": 0.0,
    "schedule": "linear",
    "warmup": 0.0,
    "learning_rate_floor": 0.0,
    "gradient_clip": 0.5,
    "ema": 0.99,
    "min_snr": None,
    "noise_offset": 0.05,
    "preservation": 1.0,
    "zero_terminal_snr": True,
    "clip_skip": 1,
    "caption_dropout": 0.0,
    "shuffle_tags": True,
    "keep_tags": 2,
    "flip": True,
    "prefix_trigger": False,
    "resolution": 512,
    "background": "#102030",
    "held_out": 0.2,
    "held_out_every": 25,
    "preview_prompts": ['a "mug", on a table', "café"],
    "preview_every": 50,
    "preview_steps": 10,
    "guidance": 2.0,
    "checkpoint_every": 20,
    "keep_checkpoints": 1,
    "trackers": ["tensorboard", "wandb"],
    "gradient_checkpointing": True,
    "precision": "bf16",
    "seed": 2**63 - 1,
}


def _refused(**settings: Any) -> BadInput:
    with pytest.raises(BadInput) as refused:
        Recipe(**settings)
    return refused.value


def _resolved(recipe: Recipe, images: int = 10, preset: Preset = PRESET) -> Recipe:
    return recipe.resolved(preset, images, resolution=128, guidance=2.5)


# The schema


@pytest.mark.parametrize("name", Recipe.model_fields)
def test_every_setting_explains_itself(name: str) -> None:
    schema = PROPERTIES[name]
    kinds = schema.get("anyOf", [schema.get("additionalProperties", schema)])
    numbers = any(kind.get("type") in ("integer", "number") for kind in kinds)
    assert len(schema["description"]) > 20
    assert schema["reason"].endswith(".")
    assert schema["group"] in ("subject", "adapter", "learning", "loss", "images", "previews", "run")
    assert bool(schema["unit"]) == numbers
    assert "default" in schema


def test_the_table_above_changes_every_setting() -> None:
    assert set(CHANGED) | {"epochs", "lokr_factor"} == set(Recipe.model_fields)
    default = Recipe()
    assert Recipe(kind="lokr", lokr_factor=4).lokr_factor != default.lokr_factor
    assert [name for name, value in CHANGED.items() if getattr(default, name) == value] == []


def test_what_is_open_by_default() -> None:
    assert {name for name, value in Recipe() if value is None} == OPEN


@pytest.mark.parametrize("name", PROPERTIES["optimizer"]["enum"])
def test_every_optimizer_is_one_of_torch(name: str) -> None:
    assert issubclass(getattr(torch.optim, name), torch.optim.Optimizer)


def test_recipes_are_immutable() -> None:
    with pytest.raises(ValidationError):
        Recipe().rank = 4  # type: ignore[misc]


# What is refused


def test_unknown_settings_are_refused_with_the_nearest_name() -> None:
    refused = _refused(learning_rat=1e-4)
    assert refused.where == "recipe.learning_rat"
    assert "learning_rate?" in refused.do
    assert "rank" in _refused(zzz=1).do


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"rank": 0}, "a whole number, at least 1 and at most 512"),
        ({"rank": 2.5}, "a whole number"),
        ({"rank": True}, "a whole number"),
        ({"rank": "16"}, "a whole number"),
        ({"rank": None}, "a whole number"),
        ({"alpha": 0}, "above 0 and at most 4096, or auto"),
        ({"learning_rate": float("nan")}, "a number, above 0"),
        ({"learning_rate": float("inf")}, "a number, above 0"),
        ({"warmup": 1.0}, "at least 0 and below 1"),
        ({"resolution": 500}, "a multiple of 8, or auto"),
        ({"min_snr": 0}, "or off"),
        ({"flip": 1}, "true or false"),
        ({"optimizer": "Adam8"}, "AdamW, Adam,"),
        ({"purpose": "stile"}, "style, character, object"),
        ({"background": "red"}, "#ffffff"),
        ({"trigger": "x" * 101}, "at most 100 characters"),
        ({"preview_prompts": "a cat"}, "a list"),
        ({"trackers": ["csv"]}, "tensorboard, wandb"),
        ({"targets": 3}, "a list"),
        ({"kind": 3}, "one of lora, dora, lokr, oft"),
        ({"kind": "loha"}, "lora, dora, lokr, oft"),
        ({"ranks": 3}, "a table of patterns, each with a whole number, at least 1 and at most 512"),
        ({"ranks": {".*to_q": 0}}, "a table of patterns, each with a whole number"),
        ({"alphas": {".*to_q": 0}}, "a table of patterns, each with a number, above 0"),
        ({"learning_rates": {".*to_q": -1.0}}, "a table of patterns, each with a number, above 0"),
    ],
    ids=str,
)
def test_values_are_refused_with_what_is_allowed(settings: dict[str, Any], allowed: str) -> None:
    refused = _refused(**settings)
    (name,) = settings
    assert refused.where == f"recipe.{name}"
    assert allowed in refused.do
    assert str(refused).count("\n") == 0


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"steps": 10, "epochs": 1.0}, "epochs"),
        ({"preservation": 0.5}, "trigger"),
        ({"trigger": "sks", "class_word": "a SKS cup"}, "class_word"),
        ({"keep_tags": 3}, "keep_tags"),
        ({"preview_every": 10}, "preview_prompts"),
        ({"targets": "attn"}, "targets"),
        ({"targets": []}, "targets"),
        ({"targets": ["attn1", "("]}, "targets"),
        ({"ranks": {"(": 4}}, "ranks"),
        ({"learning_rates": {"(": 1e-3}}, "learning_rates"),
        ({"lokr_factor": 4}, "lokr_factor"),
        ({"kind": "oft", "lokr_factor": 4}, "lokr_factor"),
        ({"kind": "lokr", "rslora": True}, "rslora"),
        ({"kind": "oft", "lora_plus_ratio": 2.0}, "lora_plus_ratio"),
        ({"kind": "oft", "alpha": 4.0}, "alpha"),
        ({"kind": "oft", "alphas": {".*": 4.0}}, "alphas"),
    ],
    ids=str,
)
def test_impossible_combinations_are_refused(settings: dict[str, Any], field: str) -> None:
    assert _refused(**settings).where == f"recipe.{field}"


def test_no_pydantic_error_escapes_from_other_ways_in() -> None:
    with pytest.raises(BadInput, match="recipe.rank"):
        Recipe.model_validate({"rank": 0})
    with pytest.raises(BadInput, match="recipe.rank"):
        Recipe.model_validate_json('{"rank": 0}')
    with pytest.raises(BadInput, match="not a table"):
        Recipe.model_validate("rank")


# TOML


def test_toml_round_trip_keeps_every_setting() -> None:
    recipe = Recipe(**CHANGED)
    again = Recipe.from_toml(recipe.to_toml())
    assert again == recipe
    assert again.model_fields_set == recipe.model_fields_set
    assert tomllib.loads(recipe.to_toml())["min_snr"] == "off"


def test_toml_keeps_open_what_was_open() -> None:
    assert Recipe().to_toml() == ""
    again = Recipe.from_toml(Recipe(rank=8, steps=None).to_toml())
    assert again.model_fields_set == {"rank", "steps"}
    assert again.steps is None


def test_json_round_trip_for_the_adapter_file() -> None:
    recipe = _resolved(Recipe(**CHANGED))
    assert Recipe(**json.loads(json.dumps(recipe.model_dump()))) == recipe


def test_toml_files_are_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("rank = 8\n", encoding="utf-8-sig")
    assert Recipe.from_toml(path).rank == Recipe.from_toml(str(path)).rank == 8
    path.write_text("rank = 0\n")
    with pytest.raises(BadInput) as refused:
        Recipe.from_toml(path)
    assert refused.value.where == f"{path}: rank"
    path.write_text("rank = \n")
    with pytest.raises(BadFile, match=r"recipe.toml: is not valid TOML .*line 1"):
        Recipe.from_toml(path)
    with pytest.raises(BadFile, match="no such file"):
        Recipe.from_toml(tmp_path / "none.toml")


def test_toml_text_needs_no_file() -> None:
    assert Recipe.from_toml("") == Recipe()
    assert Recipe.from_toml("rank = 8").rank == 8
    with pytest.raises(BadInput, match=r"^recipe\.rank:"):
        Recipe.from_toml("rank = 0")


# Changes, as given by --set


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("rank", "8", 8),
        ("learning_rate", "2e-4", 2e-4),
        ("flip", "true", True),
        ("trigger", "sks", "sks"),
        ("trigger", "2024", "2024"),
        ("trigger", '"a b"', "a b"),
        ("trigger", "  ink   style ", "ink style"),
        ("background", "#102030", "#102030"),
        ("targets", "attention+mlp", "attention+mlp"),
        ("targets", '[".*attn1.*"]', [".*attn1.*"]),
        ("trackers", "wandb", ["wandb"]),
        ("preview_prompts", "a cat", ["a cat"]),
        ("preview_prompts", '["a cat", "a dog"]', ["a cat", "a dog"]),
        ("min_snr", "off", None),
        ("steps", "auto", None),
        ("kind", "oft", "oft"),
        ("ranks", '{".*to_q" = 8}', {".*to_q": 8}),
        ("seed", 3, 3),
    ],
)
def test_words_become_values(name: str, word: Any, value: Any) -> None:
    assert getattr(Recipe().changed({name: word}), name) == value


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"rank": "many"}, "rank"),
        ({"rank": "8\nseed = 3"}, "rank"),
        ({"rnak": "8"}, "rnak"),
        ({"flip": "True"}, "flip"),
    ],
)
def test_bad_words_are_refused(settings: dict[str, str], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        Recipe().changed(settings)
    assert refused.value.where == f"recipe.{field}"


def test_changes_keep_the_rest_and_what_is_open() -> None:
    recipe = Recipe(rank=8, epochs=2.0).changed({"steps": 10, "epochs": "auto"})
    assert (recipe.rank, recipe.steps, recipe.epochs) == (8, 10, None)
    assert "flip" not in recipe.model_fields_set


# Presets


def test_resolved_leaves_nothing_open() -> None:
    recipe = _resolved(Recipe())
    assert {name for name, value in recipe if value is None} == {"epochs"}
    assert recipe.model_fields_set == set(Recipe.model_fields)
    assert (recipe.rank, recipe.alpha, recipe.flip, recipe.steps) == (32, 32.0, True, 500)
    assert (recipe.resolution, recipe.guidance, recipe.held_out) == (128, 2.5, 0.0)


@pytest.mark.parametrize(("own", "resolved"), [(32, 32), (45, 48), (3, 8)])
def test_a_small_or_odd_base_gives_a_resolution_that_can_be_set(own: int, resolved: int) -> None:
    recipe = Recipe().resolved(Preset({}, 1, 1, 1, "a"), 3, resolution=own, guidance=1.0)
    assert recipe.resolution == resolved


def test_what_the_user_set_stays() -> None:
    recipe = _resolved(Recipe(rank=4, flip=False, alpha=2.0, min_snr=None, steps=7, resolution=256, held_out=0.3))
    assert (recipe.rank, recipe.flip, recipe.alpha, recipe.min_snr) == (4, False, 2.0, None)
    assert (recipe.steps, recipe.resolution, recipe.held_out) == (7, 256, 0.3)


def test_auto_said_aloud_is_open_too() -> None:
    assert _resolved(Recipe(alpha=None, steps=None)).alpha == 32.0


def test_presets_may_suggest_what_the_base_would_give() -> None:
    preset = Preset({"guidance": Suggestion(2.0, "a"), "held_out": Suggestion(0.2, "b")}, 1, 1, 1, "c")
    recipe = _resolved(Recipe(), preset=preset)
    assert (recipe.guidance, recipe.held_out) == (2.0, 0.2)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(epochs=3.0), Recipe(**CHANGED)], ids=["open", "epochs", "changed"])
def test_resolving_again_changes_nothing(recipe: Recipe) -> None:
    once = _resolved(recipe)
    assert once.resolved(Preset({"rank": Suggestion(1, "")}, 1, 1, 1, ""), 999, 1024, 9.0) == once
    assert Recipe.from_toml(once.to_toml()) == once


@pytest.mark.parametrize(("images", "steps"), [(5, 500), (20, 600), (200, 2000)])
def test_steps_follow_the_number_of_images(images: int, steps: int) -> None:
    assert _resolved(Recipe(), images).steps == steps


@pytest.mark.parametrize(
    ("settings", "images", "steps"),
    [
        ({"epochs": 3.0}, 10, 8),  # 30 images in batches of 4
        ({"epochs": 3.0, "batch": 2, "accumulation": 5}, 10, 3),
        ({"epochs": 2.0}, 30, 14),  # 27 images a time, 3 held out
        ({"epochs": 0.01}, 1, 1),
    ],
)
def test_epochs_become_steps(settings: dict[str, Any], images: int, steps: int) -> None:
    assert _resolved(Recipe(**settings), images).steps == steps


@pytest.mark.parametrize(("images", "share"), [(19, 0.0), (20, 0.1)])
def test_images_are_held_out_where_there_are_enough(images: int, share: float) -> None:
    assert _resolved(Recipe(), images).held_out == share


@pytest.mark.parametrize(
    ("share", "images", "count"), [(0.0, 50, 0), (0.1, 50, 5), (0.1, 5, 2), (0.5, 2, 1), (0.5, 1, 0)]
)
def test_how_many_images_are_held_out(share: float, images: int, count: int) -> None:
    assert held_out_images(share, images) == count


def test_a_preset_that_the_settings_exclude_is_refused() -> None:
    preset = Preset({"preservation": Suggestion(1.0, "a character should not spread")}, 80, 800, 3000, "")
    with pytest.raises(BadInput, match="trigger") as refused:
        _resolved(Recipe(purpose="character"), preset=preset)
    assert "preservation" in refused.value.do
    assert _resolved(Recipe(purpose="character", trigger="peep"), preset=preset).preservation == 1.0


def test_watching_a_run_is_no_part_of_its_essence() -> None:
    watching = {"preview_prompts", "preview_every", "preview_steps", "guidance", "held_out_every"}
    keeping = {"checkpoint_every", "keep_checkpoints", "trackers"}
    assert set(Recipe.model_fields) - Recipe().essence().keys() == watching | keeping
    assert Recipe(rank=8).essence() != Recipe().essence()


# Warnings


def test_ordinary_recipes_give_no_warning() -> None:
    assert Recipe().warnings() == []
    assert _resolved(Recipe()).warnings() == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 3}, "below 4"),
        ({"class_word": "cup"}, "class_word"),
        ({"schedule": "constant", "learning_rate_floor": 0.5}, "constant"),
        ({"text_encoder_learning_rate": 1e-3}, "text encoder"),
        ({"purpose": "character", "flip": True}, "mirrors"),
        ({"caption_dropout": 1.0}, "caption_dropout"),
    ],
    ids=str,
)
def test_doubtful_settings_are_named_with_the_reason(settings: dict[str, Any], said: str) -> None:
    (warning,) = Recipe(**settings).warnings()
    assert said in warning
