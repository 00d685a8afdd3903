"""What a training will take, as measured; the numbers themselves depend on the machine."""

from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorastyle import BadInput, estimate, load_base, train
from lorastyle.training import estimate as module
from lorastyle.training.metrics import read_metrics
from tests.bases.families.unets import checkpoint_of


def weights(base):
    return {name: value.clone() for name, value in base.models["unet"].state_dict().items()}


def test_steps_come_from_the_recipe_and_the_images(base, data, recipe):
    assert estimate(base, data, recipe).steps == 6
    by_rule = recipe.changed({"steps": "auto"}).resolved(base.preset("style"), len(data), base.resolution, 1.0)
    assert estimate(base, data, recipe.changed({"steps": "auto"})).steps == by_rule.steps


def test_a_training_that_fits(base, data, recipe):
    told = estimate(base, data, recipe)
    assert told.fits
    assert 0 < told.memory_bytes <= told.free_bytes
    assert told.seconds > 0
    assert "It takes about" in told.advice
    assert "GB of memory" in told.advice


def test_longer_trainings_and_more_previews_take_longer(base, data, recipe):
    """A hundred times the steps, and previews after each: ten times is left as a margin for a busy machine."""
    short, long = recipe.changed({"steps": 10}), recipe.changed({"steps": 1000, "preview_every": 1})
    assert estimate(base, data, long).seconds > 10 * estimate(base, data, short).seconds


def test_it_leaves_no_trace(base, data, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, layers = weights(base), [type(module) for module in base.models["unet"].modules()]
    alone = train(base, data, recipe, out=tmp_path / "alone" / "run").adapter.read_bytes()
    estimate(base, data, recipe.changed({"trackers": ["tensorboard"]}))
    assert [path.name for path in tmp_path.iterdir()] == ["alone"]
    after = weights(base)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [type(module) for module in base.models["unet"].modules()] == layers
    run = train(base, data, recipe, out=tmp_path / "run")
    assert run.adapter.read_bytes() == alone
    assert len(read_metrics(run.metrics)) == 6


def test_what_does_not_fit_is_said_before_the_whole_batch_is_tried(base, data, recipe, monkeypatch):
    tried = set()
    real = module.Stepper.advance

    def counted(stepper):
        tried.add(stepper.recipe.batch)
        return real(stepper)

    monkeypatch.setattr(module.Stepper, "advance", counted)
    monkeypatch.setattr(module, "free_memory", lambda device: 1_000_000)
    told = estimate(base, data, recipe)
    assert not told.fits
    assert tried == {1}
    assert "0.0 GB are free here" in told.advice
    assert "Set the batch to 1 or switch gradient checkpointing on." in told.advice
    least = estimate(base, data, recipe.changed({"batch": 1, "gradient_checkpointing": True}))
    assert "smaller base" in least.advice


def test_running_out_of_memory_is_an_answer(base, data, recipe, monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module.Stepper, "advance", exhausted)
    told = estimate(base, data, recipe)
    assert not told.fits
    assert told.seconds == 0
    assert told.memory_bytes > told.free_bytes


def test_weights_larger_than_the_memory_are_not_loaded(base, data, recipe, monkeypatch, tmp_path):
    base.family.pipeline(base.family.tiny(0)).save_pretrained(tmp_path / "saved")
    (weights,) = (tmp_path / "saved" / "unet").glob("*.safetensors")
    numbers = sum(weight.numel() for weight in load_file(weights).values())
    monkeypatch.setattr(module, "free_memory", lambda device: 2 * numbers - 1)
    monkeypatch.setattr(module, "prepare", lambda *_: pytest.fail("it was loaded"))
    told = estimate(load_base(tmp_path / "saved"), data, recipe)
    assert (told.fits, told.memory_bytes) == (False, 4 * numbers)
    halved = estimate(load_base(tmp_path / "saved", precision="bf16"), data, recipe.changed({"precision": "bf16"}))
    assert (halved.fits, halved.memory_bytes) == (False, 2 * numbers)


def test_of_a_single_file_the_weights_of_the_denoiser_alone_are_counted(base, data, recipe, monkeypatch, tmp_path):
    base.pipeline.save_pretrained(tmp_path / "tiny")  # the configurations
    save_file(checkpoint_of(base), tmp_path / "tiny.safetensors")
    bytes = sum(weight.numel() * 4 for weight in weights(base).values())
    monkeypatch.setattr(module, "free_memory", lambda device: bytes - 1)
    assert estimate(load_base(tmp_path / "tiny.safetensors"), data, recipe).memory_bytes == bytes


def test_it_can_be_ended_and_goes_on_from_adapters(base, data, recipe, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        estimate(base, data, recipe, progress=stop)
    run = train(base, data, recipe, out=tmp_path / "run")
    assert asdict(estimate(base, data, recipe, start=run.adapter))["fits"]
    with pytest.raises(BadInput, match="recipe.rank"):
        estimate(base, data, recipe.changed({"rank": 8}), start=run.adapter)
