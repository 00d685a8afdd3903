"""Going on from an adapter that is there already."""

import shutil
from pathlib import Path

import pytest
import torch

import lorastyle
from lorastyle import BadInput, Unsupported, Wishes, train
from lorastyle.adapters.file import Adapter, load, save
from lorastyle.settings import KINDS
from lorastyle.training.folder import Run


class Save:
    """Asks for a checkpoint before the first step, and for nothing afterwards."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> Wishes:
        before, self.asked = self.asked, True
        return Wishes(save=not before)


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> dict[str, Path]:
    """The adapters that were trained for these tests, by their settings."""
    return {}


@pytest.fixture
def trained(base, data, recipe, once, tmp_path, tmp_path_factory):
    """A file of one's own with an adapter trained with these settings, beside its recipe."""

    def trained(**settings) -> Path:
        called = repr(sorted(settings.items()))
        if called not in once:
            folder = tmp_path_factory.mktemp("first") / "first"
            once[called] = train(base, data, recipe.changed({"steps": 2, **settings}), out=folder).folder
        return shutil.copytree(once[called], tmp_path / "first") / "first.safetensors"

    return trained


@pytest.fixture
def open_recipe(recipe):
    """The same without what comes with an adapter."""
    given = recipe.model_dump(include=recipe.model_fields_set - {"rank", "trigger"})
    return lorastyle.Recipe(**given).changed({"keep_checkpoints": 5, "steps": 2, "checkpoint_every": 1})


def at_step_0(run: Run) -> Adapter:
    return load(run.folder / "checkpoints" / "step-000000" / "adapter.safetensors")


def assert_same_changes(one: Adapter, other: Adapter, base) -> None:
    assert one.factors.keys() == other.factors.keys()
    for layer in one.factors:
        weight = base.models["unet"].get_submodule(layer.partition(".")[2]).weight
        assert torch.equal(one.change(layer, weight), other.change(layer, weight))


@pytest.mark.parametrize("kind", list(KINDS))
def test_factors_are_taken_over_to_the_bit(kind, base, data, open_recipe, trained, tmp_path):
    first = trained(kind=kind)
    run = train(base, data, open_recipe, out=tmp_path / "next", start=first, wishes=Save())
    begun, ended = at_step_0(run), load(run.adapter)
    assert_same_changes(begun, load(first), base)
    assert (begun.kind, begun.alphas, begun.trigger) == (kind, load(first).alphas, "zorvex")
    assert not all(
        torch.equal(begun.factors[layer][name], factor)
        for layer, held in ended.factors.items()
        for name, factor in held.items()
    )


@pytest.mark.parametrize("settings", [{"ema": 0.9}, {"rslora": True, "alpha": 3.0, "ranks": {".*to_q": 2}}])
def test_scales_and_averages_too(settings, base, data, open_recipe, trained, tmp_path):
    first = trained(**settings)
    averaging = open_recipe.changed({name: value for name, value in settings.items() if name == "ema"})
    run = train(base, data, averaging, out=tmp_path / "next", start=first, wishes=Save())
    assert_same_changes(at_step_0(run), load(first), base)
    again = lorastyle.Recipe.from_toml(run.recipe)
    assert (again.rslora, again.alpha, again.ranks) == tuple(
        load(first).recipe[name] for name in ("rslora", "alpha", "ranks")
    )


@pytest.mark.parametrize("metadata", ["none", "minimal"])  # with our header too its layers are named as elsewhere
def test_adapters_of_other_tools(metadata, base, data, open_recipe, trained, tmp_path):
    foreign = tmp_path / "ink-kohya.safetensors"
    lorastyle.export_adapter(trained(alpha=2.0), "kohya", foreign, metadata=metadata, base=base)
    named = open_recipe.changed({"trigger": "zorvex"})  # which the file does not tell
    run = train(base, data, named, out=tmp_path / "next", start=foreign, wishes=Save())
    assert_same_changes(at_step_0(run), lorastyle.import_adapter(foreign, base.family.name), base)
    again = lorastyle.Recipe.from_toml(run.recipe)
    assert (again.kind, again.rank) == ("lora", 4)
    assert str(tmp_path).encode() not in run.adapter.read_bytes()


def test_the_text_encoder_goes_on_where_it_learns(base, data, open_recipe, trained, tmp_path):
    first = trained(text_encoder_learning_rate=1e-4)
    with pytest.raises(BadInput, match="recipe.text_encoder_learning_rate: it is 0, but the adapter"):
        frozen = open_recipe.changed({"text_encoder_learning_rate": 0.0})
        train(base, data, frozen, out=tmp_path / "next", start=first)
    run = train(base, data, open_recipe, out=tmp_path / "next", start=first, wishes=Save())
    begun = at_step_0(run)
    assert any(layer.startswith("text_encoder") for layer in begun.factors)
    for layer, held in load(first).factors.items():
        assert all(torch.equal(begun.factors[layer][name], factor) for name, factor in held.items())


@pytest.mark.parametrize("foreign", [False, True])
def test_layers_that_act_on_nothing_are_left_out_and_told(foreign, base, data, open_recipe, trained, tmp_path):
    """Without the last layer of CLIP, as of SDXL's first encoder in many files of kohya's tools."""
    first = trained(text_encoder_learning_rate=1e-4)
    if foreign:
        first = lorastyle.export_adapter(first, "kohya", tmp_path / "kohya.safetensors", metadata="none").path
    skipping = open_recipe.changed({"clip_skip": 1, "text_encoder_learning_rate": 1e-4, "trigger": "zorvex"})
    with pytest.warns(UserWarning, match=r"4 layers of the adapter, .* act on nothing in tiny: left out"):
        run = train(base, data, skipping, out=tmp_path / "next", start=first, wishes=Save())
    begun = at_step_0(run)
    whole = lorastyle.import_adapter(first, base.family.name)
    idle = whole.factors.keys() - begun.factors.keys()
    assert {layer.partition(".layers.")[2][:2] for layer in idle} == {"1."}  # the last of two
    for layer, held in begun.factors.items():
        assert all(torch.equal(whole.factors[layer][name], factor) for name, factor in held.items())


def test_a_recipe_that_contradicts_the_adapter_is_refused(base, data, open_recipe, trained, tmp_path):
    first = trained()
    for number, (settings, message) in enumerate(
        [
            ({"rank": 8}, "recipe.rank: it is 8, but the adapter to go on from has 4"),
            ({"kind": "dora"}, "recipe.kind: it is dora, but the adapter to go on from has lora"),
            ({"alpha": 9.0}, "recipe.alpha: it is 9.0"),
            ({"rslora": True}, "recipe.rslora"),
            ({"ranks": {".*to_q": 2}}, "recipe.ranks"),
            ({"targets": "all"}, "recipe.targets: they are other layers than those of the adapter"),
            ({"targets": [".*to_q"]}, "recipe.targets"),
        ]
    ):
        with pytest.raises(BadInput, match=message):
            train(base, data, open_recipe.changed(settings), out=tmp_path / f"{number}", start=first)
    fitting = open_recipe.changed({"rank": 4, "targets": "attention"})
    assert train(base, data, fitting, out=tmp_path / "next", start=first).adapter.is_file()


def test_the_recipe_that_made_it_fits(base, data, trained, tmp_path):
    first = trained(alpha=2.0, ranks={".*to_q": 2})
    own = lorastyle.Recipe.from_toml(first.with_name("recipe.toml"))
    assert train(base, data, own, out=tmp_path / "next", start=first).adapter.is_file()


def test_killed_and_resumed_equals_left_alone(base, data, open_recipe, trained, tmp_path):
    first = trained()
    alone = train(base, data, open_recipe, out=tmp_path / "alone" / "run", start=first).adapter.read_bytes()

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 2:  # after the checkpoint of step 1
            raise Killed

    with pytest.raises(Killed):
        train(base, data, open_recipe, out=tmp_path / "run", start=first, report=kill)
    other = tmp_path / "other.safetensors"
    save(other, Adapter(**{**vars(load(first)), "alphas": dict.fromkeys(load(first).alphas, 1.0)}))
    with pytest.raises(BadInput, match="started from another adapter"):
        train(base, data, open_recipe, out=tmp_path / "run", start=other, resume=True)
    first.unlink()  # the run has its own copy
    run = train(base, data, open_recipe, out=tmp_path / "run", start=first, resume=True)
    assert run.adapter.read_bytes() == alone


def test_a_kill_before_the_first_step_loses_nothing(base, data, open_recipe, trained, tmp_path):
    """The copy of the adapter is there before the recipe is; a folder with the copy alone can be begun again."""
    first, folder = trained(), tmp_path / "run"
    folder.mkdir()
    save(folder / "start.safetensors", load(first))
    assert train(base, data, open_recipe, out=folder, start=first).adapter.is_file()


def test_what_cannot_be_gone_on_from_is_refused(base, data, recipe, trained, tmp_path):
    first = load(trained())
    other = tmp_path / "other.safetensors"
    save(other, Adapter(**{**vars(first), "family": "sdxl"}))
    with pytest.raises(BadInput, match="made for a base of the family sdxl"):
        train(base, data, recipe, out=tmp_path / "next", start=other)
    (tmp_path / "none.safetensors").write_bytes(b"no adapter")
    with pytest.raises(BadInput, match="none.safetensors"):
        train(base, data, recipe, out=tmp_path / "next", start=tmp_path / "none.safetensors")
    halves = {"w1_a": torch.ones(4, 2), "w1_b": torch.ones(2, 4), "w2_a": torch.ones(4, 2), "w2_b": torch.ones(2, 4)}
    layer = next(iter(first.factors))
    save(other, Adapter("sd1", "loha", {layer: halves}, {layer: 2.0}))
    with pytest.raises(Unsupported, match="not trained"):
        train(base, data, recipe, out=tmp_path / "next", start=other)
    assert not (tmp_path / "next").exists()
