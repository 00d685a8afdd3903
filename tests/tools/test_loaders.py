"""What the report of the tools' loaders lets pass; of the tools, diffusers alone, which needs no fetching."""

import importlib
import logging
import sys
from pathlib import Path

import pytest
import torch

from lorastyle.adapters.file import save
from lorastyle.bases.base import Base
from lorastyle.bases.family import families
from lorastyle.interchange.exchange import export_adapter
from tools.reports import exchange
from tools.reports.loaders import diffusers, fetched
from tools.reports.loaders.__main__ import check, judged
from tools.reports.loaders.logs import warnings_of
from tools.reports.loaders.weights import Place, layers_of, loaded, put


@pytest.fixture(scope="module")
def base() -> Base:
    return Base("tiny", families()["flux1"], families()["flux1"].tiny(0))


def test_a_file_does_in_diffusers_what_its_adapter_does(base: Base, tmp_path: Path) -> None:
    cell = check("diffusers", base, "LoCon", tmp_path)
    assert (cell.outcome, cell.unmatched, cell.said) == ("passed", 0, "")


def test_what_the_tool_cannot_hold_is_refused_with_the_reason(base: Base, tmp_path: Path) -> None:
    cell = check("diffusers", base, "LoHa", tmp_path)
    assert cell.outcome == "refused"
    assert "no LoHa" in cell.said


def test_another_adapters_file_fails(base: Base, tmp_path: Path) -> None:
    attention, everything = (exchange.sample(base, "LoRA", targets) for targets in ("attention", "all"))
    save(tmp_path / "own.safetensors", everything)
    export_adapter(tmp_path / "own.safetensors", "diffusers", tmp_path / "written.safetensors")
    there = diffusers.load(base, tmp_path / "written.safetensors")
    assert judged("diffusers", base, "LoCon", everything, there).outcome == "passed"
    cell = judged("diffusers", base, "LoRA", attention, there)
    assert (cell.outcome, cell.unmatched) == ("failed", len(everything.factors) - len(attention.factors))


def test_changes_are_told_by_layer_and_the_rest_is_told_too() -> None:
    places = {"q": Place("qkv", 0, 2), "k": Place("qkv", 2, 2, lambda weight: weight.flip(0)), "out": Place("out")}
    weights = {"qkv": torch.zeros(6, 3), "out": torch.zeros(2, 2), "bias": torch.zeros(2)}
    layers = {"q": torch.zeros(2, 3), "k": torch.arange(6.0).view(2, 3), "out": torch.zeros(2, 2)}
    put(layers, weights, places)
    assert torch.equal(weights["qkv"][2:4], layers["k"].flip(0))
    after = {name: weight.clone() for name, weight in weights.items()}
    after["qkv"][2] += 1
    found = loaded(weights, after, places)
    assert list(found.changes) == ["k"]
    assert torch.equal(found.changes["k"], torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64))
    assert found.unmatched == []
    after["qkv"][5] += 1
    after["bias"] += 1
    found = loaded(weights, after, places, ["lora_unet_x.alpha"])
    assert [name.split()[0] for name in found.unmatched] == ["lora_unet_x.alpha", "qkv", "bias"]


def test_a_layers_weights_are_all_that_the_family_adapts(base: Base) -> None:
    assert {layer.partition(".")[0] for layer in layers_of(base)} == {"transformer", "text_encoder"}


def test_a_tools_warnings_are_kept_and_no_others() -> None:
    with warnings_of("tool") as said:
        logging.getLogger("tool.loader").warning("no place for %s", "x")
        logging.getLogger("tool").debug("loaded")
    logging.getLogger("tool").warning("too late")
    assert said == ["no place for x"]


def test_a_package_that_is_stood_in_for_is_empty_and_a_present_one_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    fetched.stand_in("absent_package", "json")
    module = importlib.import_module("absent_package.below")
    assert isinstance(module.Anything, type)
    assert importlib.import_module("json.decoder").JSONDecodeError.__module__ == "json.decoder"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("other_absent_package")
