"""Every kind of adapter that can be trained, and one from outside, through the whole of a run."""

from collections.abc import Iterator

import pytest
import torch

import lorastyle
from lorastyle import BadInput, Recipe, generate, train
from lorastyle.adapters.kinds import kinds, register
from lorastyle.adapters.kinds.lora import Lora
from lorastyle.settings import KINDS
from lorastyle.training.checkpoint import checkpoints
from lorastyle.training.optimizers import build_optimizer


class Halved(Lora):
    """A kind from outside: the pair of factors counts half."""

    name = "halved"
    title = "Halved"
    tensors = {"down": "halved_A.weight", "up": "halved_B.weight"}  # noqa: RUF012
    config = {}  # noqa: RUF012

    def add(self, y, x, output, factors, part, layer):
        return super().add(y, x, output, {"down": factors["down"] / 2, "up": factors["up"]}, part, layer)

    def weight(self, factors, scale, base=None):
        return super().weight(factors, scale / 2, base)


@pytest.fixture
def halved() -> Iterator[None]:
    register(Halved())
    yield
    KINDS.remove("halved")
    del kinds()["halved"]


def check(kind, base, data, recipe, folder):
    """Train, resume, load, draw and merge by hand with that kind."""
    recipe = recipe.changed({"kind": kind, "targets": "all"})
    run = train(base, data, recipe, out=folder / "whole" / "run")
    stopped = train(base, data, recipe, out=folder / "stopped" / "run")
    newest = checkpoints(stopped.folder / "checkpoints")[-1]
    for path in sorted(newest.folder.iterdir()):
        path.unlink()
    newest.folder.rmdir()
    resumed = train(base, data, recipe, out=stopped.folder, resume=True)
    assert resumed.adapter.read_bytes() == run.adapter.read_bytes()

    adapter = lorastyle.load_adapter(run.adapter)
    assert adapter.kind == kind
    assert adapter.recipe["kind"] == kind
    settings = {"seed": 1, "steps": 2, "guidance": 1.0, "width": 64, "height": 64}
    (alone,) = generate(base, ["zorvex"], **settings)
    (drawn,) = generate(base, ["zorvex"], {run.adapter: 4.0}, **settings)
    assert drawn.tobytes() != alone.tobytes()
    for layer in (layer for layer in adapter.factors if layer.startswith("unet.")):
        weight = base.models["unet"].get_submodule(layer.partition(".")[2]).weight
        change = adapter.change(layer, weight)
        assert change.shape == weight.shape
        assert change.any()
    return run


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_trains_resumes_loads_and_draws(kind, base, data, recipe, tmp_path):
    check(kind, base, data, recipe, tmp_path)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_trains_resumes_loads_and_draws_on_a_base_in_bf16(kind, base, data, recipe, tmp_path):
    base.pipeline.save_pretrained(tmp_path / "base")
    halved = lorastyle.load_base(tmp_path / "base", device="cpu", precision="bf16")
    learning = {"precision": "bf16", "text_encoder_learning_rate": 1e-3, "steps": 2, "checkpoint_every": 1}
    run = check(kind, halved, data, recipe.changed(learning), tmp_path)
    held = lorastyle.load_adapter(run.adapter).factors.values()
    assert {factor.dtype for factors in held for factor in factors.values()} == {torch.float32}
    with pytest.raises(BadInput, match=r"recipe\.precision: it is fp32, but base is loaded in bf16. Load the base"):
        train(halved, data, recipe, out=tmp_path / "other")


def test_a_kind_from_outside_trains_resumes_loads_draws_and_is_exported(halved, base, data, recipe, tmp_path):
    run = check("halved", base, data, recipe, tmp_path)
    # What no other tool holds is converted, at the rank that it has without loss: float32 roundings remain.
    exported = lorastyle.export_adapter(run.adapter, "kohya", tmp_path / "kohya.safetensors", rank=recipe.rank)
    assert exported.converted.worst <= 1e-5
    assert lorastyle.import_adapter(exported.path).kind == "lora"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "oft"])
def test_ranks_and_alphas_by_pattern(kind, base, data, recipe, tmp_path):
    settings = {"kind": kind, "ranks": {r".*to_q": 2, r"unet\..*": 3}, "alphas": {r".*to_v": 9.0}, "alpha": 2.0}
    run = train(base, data, recipe.changed(settings), out=tmp_path / "run")
    adapter = lorastyle.load_adapter(run.adapter)
    for layer in adapter.factors:
        rank = 2 if layer.endswith("to_q") else 3
        assert adapter.scale(layer) == pytest.approx(9.0 / rank if layer.endswith("to_v") else 0.5)
        assert kind == "lokr" or adapter.rank(layer) == rank


def test_learning_rates_by_pattern():
    recipe = Recipe(learning_rate=1e-3, learning_rates={"unet.a": 1e-2, r".*\.b": 1e-5}, lora_plus_ratio=2.0)
    names = [("unet.a", "down"), ("unet.a", "up"), ("unet.b", "down"), ("unet.c", "down")]
    factors = [(layer, factor, torch.nn.Parameter(torch.zeros(1, 2, 2))) for layer, factor in names]
    peaks = [group["peak"] for group in build_optimizer(factors, recipe).param_groups]
    assert peaks == pytest.approx([1e-2, 2e-2, 1e-5, 1e-3])


@pytest.mark.parametrize("name", ["ranks", "alphas", "learning_rates"])
def test_a_pattern_that_matches_nothing_is_refused(name, base, data, recipe, tmp_path):
    with pytest.raises(BadInput, match=rf"recipe\.{name}: 'nowhere.*' matches no layer"):
        train(base, data, recipe.changed({name: {"nowhere.*": 1}}), out=tmp_path / "run")
