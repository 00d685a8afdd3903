"""The trainer through its public interface, on a tiny random base of the real classes."""

import json
import os
import signal

import numpy as np
import pytest
import torch

import lorastyle
from lorastyle import BadInput, Diverged, Interrupted, train
from lorastyle.bases.base import Base
from lorastyle.training.metrics import read_metrics


def weights(base):
    return {
        f"{part}.{name}": value.clone()
        for part, model in base.models.items()
        for name, value in model.state_dict().items()
    }


def adapter_bytes(base, data, recipe, folder, **options):
    return train(base, data, recipe, out=folder / "run", **options).adapter.read_bytes()


@pytest.fixture
def reference(base, data, recipe, tmp_path_factory):
    return adapter_bytes(base, data, recipe, tmp_path_factory.mktemp("reference"))


def test_a_run_leaves_everything_it_promises(base, data, recipe, tmp_path):
    before = weights(base)
    run = train(base, data, recipe.changed({"preview_every": 3}), out=tmp_path / "ink")
    names = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert {"recipe.toml", "dataset.jsonl", "metrics.jsonl", "ink.safetensors", "README.md", "comparison.png"} <= names
    assert {"loss.svg", "samples/step-000003-0.png", "samples/step-000006-0.png"} <= names
    assert [checkpoint.step for checkpoint in run.checkpoints] == [3, 6]
    after = weights(base)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for model in base.models.values() for parameter in model.parameters())


def test_the_card_and_the_records_speak_of_this_run(base, data, recipe, tmp_path):
    run = train(base, data, recipe, out=tmp_path / "ink")
    assert "zorvex" in run.card.read_text()
    assert "ink.safetensors" in run.card.read_text()
    rows = [json.loads(line) for line in (run.folder / "dataset.jsonl").read_text().splitlines()]
    assert {row["caption"] for row in rows} == {*(f"zorvex a{n}, b, c" for n in range(5)), "zorvex, d"}
    assert lorastyle.Recipe.from_toml(run.recipe).steps == 6
    for path in (run.adapter, run.card, run.recipe, run.folder / "dataset.jsonl"):
        assert str(tmp_path).encode() not in path.read_bytes()


def test_same_seed_same_bytes(base, data, recipe, tmp_path, reference):
    assert adapter_bytes(base, data, recipe, tmp_path) == reference
    assert adapter_bytes(base, data, recipe.changed({"seed": 1}), tmp_path / "other") != reference


@pytest.mark.parametrize(
    "settings",
    [
        {"preview_every": 2},
        {"preview_prompts": ["another picture"], "preview_steps": 3, "guidance": 1.5},
        {"checkpoint_every": 5, "keep_checkpoints": 1},
        {"held_out_every": 3},
    ],
)
def test_watching_a_run_changes_nothing(base, data, recipe, tmp_path, reference, settings):
    assert adapter_bytes(base, data, recipe.changed(settings), tmp_path) == reference


EFFECTIVE = {
    "purpose": "object",
    "trigger": "other",
    "class_word": "thing",
    "kind": "oft",
    "rank": 8,
    "ranks": {".*to_q": 2},
    "alpha": 2.0,
    "alphas": {".*to_q": 2.0},
    "lokr_factor": 2,
    "rslora": True,
    "targets": "attention+mlp",
    "learning_rate": 2e-3,
    "learning_rates": {".*to_q": 1e-2},
    "text_encoder_learning_rate": 1e-4,
    "lora_plus_ratio": 4.0,
    "steps": 5,
    "epochs": 1.0,
    "batch": 3,
    "accumulation": 2,
    "optimizer": "RMSprop",
    "weight_decay": 0.5,
    "schedule": "linear",
    "warmup": 0.5,
    "learning_rate_floor": 0.9,
    "gradient_clip": 1e-3,
    "ema": 0.9,
    "min_snr": 1.0,
    "noise_offset": 0.1,
    "preservation": 1.0,
    "zero_terminal_snr": True,
    "clip_skip": 1,
    "caption_dropout": 0.9,
    "shuffle_tags": True,
    "keep_tags": 3,
    "flip": False,
    "prefix_trigger": False,
    "resolution": 128,
    "background": "#000000",
    "held_out": 0.4,
    "gradient_checkpointing": True,
    "precision": "bf16",
    "seed": 7,
}


@pytest.mark.parametrize("field", sorted(EFFECTIVE))
def test_every_setting_has_its_effect(base, data, recipe, tmp_path, reference, field):
    """The recipe's essence is in the file's header, so the factors themselves are compared where they must differ."""
    # What is compared, and against what, differs for settings that act only together with another.
    start = recipe.changed({"shuffle_tags": True}) if field == "keep_tags" else recipe
    start = recipe.changed({"kind": "lokr"}) if field == "lokr_factor" else start
    base = predicting_v(base) if field == "zero_terminal_snr" else base
    start = recipe.changed({"preservation": 1.0}) if field == "class_word" else start
    start = recipe.changed({"steps": "auto", "batch": 6}) if field == "epochs" else start
    changed = start.changed({field: EFFECTIVE[field]})
    if field == "epochs":
        assert train(base, data, changed, out=tmp_path / "one").adapter.exists()
        assert len(read_metrics(tmp_path / "one" / "metrics.jsonl")) == 1
        return
    other_base = Base("tiny", base.family, base.parts, precision=changed.precision)
    one = lorastyle.load_adapter(train(base, data, start, out=tmp_path / "one").adapter)
    other = lorastyle.load_adapter(train(other_base, data, changed, out=tmp_path / "other").adapter)
    same_in_the_factors = {"gradient_checkpointing"}  # saves memory, and nothing else
    assert same_factors(one, other) == (field in same_in_the_factors)
    assert one.recipe[field] != other.recipe[field]


def predicting_v(base):
    scheduler = base.parts["scheduler"]
    changed = type(scheduler).from_config(scheduler.config, prediction_type="v_prediction")
    return Base("tiny", base.family, base.parts.replaced(scheduler=changed))


def same_factors(one, other):
    names = [{layer: set(held) for layer, held in adapter.factors.items()} for adapter in (one, other)]
    if names[0] != names[1]:
        return False
    pairs = [
        (one.factors[layer][name], other.factors[layer][name]) for layer in one.factors for name in one.factors[layer]
    ]
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def test_gradient_checkpointing_is_on_while_training_only(base, data, recipe, tmp_path):
    unet, seen = base.models["unet"], []
    settings = {"gradient_checkpointing": True, "steps": 1}
    train(base, data, recipe.changed(settings), out=tmp_path / "run", report=lambda _: seen.append(checkpoints(unet)))
    assert seen == [True]
    assert not checkpoints(unet)


def checkpoints(model):
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_interrupted_and_resumed_equals_left_alone(base, data, recipe, tmp_path, reference):
    def interrupt(progress):
        if progress.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as caught:
        train(base, data, recipe, out=tmp_path / "run", report=interrupt)
    assert caught.value.step == 4
    assert caught.value.checkpoint.is_dir()
    assert adapter_bytes(base, data, recipe, tmp_path, resume=True) == reference
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "settings", [{"ema": 0.9}, {"optimizer": "NAdam"}, {"optimizer": "SGD"}, {"preservation": 1.0}]
)
def test_resume_restores_all_of_the_state(base, data, recipe, tmp_path, settings):
    recipe = recipe.changed(settings)
    whole = adapter_bytes(base, data, recipe, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 5:  # after the checkpoint of step 3
            raise Killed

    with pytest.raises(Killed):
        train(base, data, recipe, out=tmp_path / "run", report=kill)
    assert adapter_bytes(base, data, recipe, tmp_path, resume=True) == whole


def test_resuming_a_finished_run_changes_nothing(base, data, recipe, tmp_path, reference):
    adapter_bytes(base, data, recipe, tmp_path)
    assert adapter_bytes(base, data, recipe, tmp_path, resume=True) == reference


def test_a_run_is_not_overwritten_nor_resumed_with_another_recipe(base, data, recipe, tmp_path):
    train(base, data, recipe, out=tmp_path / "run")
    with pytest.raises(BadInput, match="--resume"):
        train(base, data, recipe, out=tmp_path / "run")
    with pytest.raises(BadInput, match="another recipe"):
        train(base, data, recipe.changed({"rank": 8}), out=tmp_path / "run", resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("not a run")
    with pytest.raises(BadInput, match="holds no run"):
        train(base, data, recipe, out=tmp_path / "other", resume=True)


def test_a_tracker_that_is_not_installed_is_named(base, data, recipe, tmp_path):
    with pytest.raises(BadInput, match=r"lorastyle\[wandb\]"):
        train(base, data, recipe.changed({"trackers": ["wandb"]}), out=tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_before_the_step(base, data, recipe, tmp_path):
    """A NaN in the base poisons the first prediction; the error says where."""
    next(base.models["unet"].conv_out.parameters()).data[0] = float("nan")
    with pytest.raises(Diverged) as caught:
        train(base, data, recipe, out=tmp_path / "run")
    assert caught.value.step == 0
    assert caught.value.sample.endswith(".png")
    assert 0 <= caught.value.timestep < 1000


def test_two_pictures_are_learnt_by_heart(base, data, recipe, tmp_path):
    """At fixed noise the loss on the trained pictures falls below 0.9 of the base's in 40 steps.

    (A random UNet of a few thousand weights cannot do much; without learning the ratio is 1 to within 0.001.)
    """
    recipe = recipe.changed(
        {"steps": 40, "targets": "all", "learning_rate": 1e-2, "held_out": 0.34, "held_out_every": 40}
    )
    run = train(base, data, recipe, out=tmp_path / "run")
    rows = read_metrics(run.metrics)
    assert rows[-1]["held_out"] < 0.9
    held = [
        json.loads(line)["file"]
        for line in (run.folder / "dataset.jsonl").read_text().splitlines()
        if '"held_out": true' in line
    ]
    assert len(held) == 2


def test_preservation_keeps_prompts_without_the_trigger(base, data, recipe, tmp_path):
    def drift(run):
        images = lorastyle.generate(base, ["plain picture"], {run.adapter: 1.0}, steps=4)
        base_images = lorastyle.generate(base, ["plain picture"], steps=4)
        return float(np.abs(np.asarray(images[0], float) - np.asarray(base_images[0], float)).mean())

    settings = {"steps": 40, "learning_rate": 1e-2}
    without = train(base, data, recipe.changed(settings), out=tmp_path / "without")
    with_it = train(base, data, recipe.changed(settings | {"preservation": 5.0}), out=tmp_path / "with")
    assert drift(with_it) < drift(without)
