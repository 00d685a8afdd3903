"""One more family, registered from outside, trains, is exported and draws without a change anywhere else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lorastyle import Dataset, Recipe, export_adapter, generate, import_adapter, load_adapter, train
from lorastyle.bases.base import Base
from lorastyle.bases.family import families
from tests.families.conftest import loss
from tests.families.toy import FAMILY


@pytest.fixture
def base() -> Iterator[Base]:
    families()[FAMILY.name] = FAMILY
    yield Base("toy", FAMILY, FAMILY.tiny(0))
    del families()[FAMILY.name]


@pytest.fixture
def family() -> object:
    """Of the table this is no cell."""
    return FAMILY


def test_a_family_from_outside_needs_nothing_else(base: Base, data: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(trigger="zorvex", targets="all", rank=8, batch=2, steps=100, flip=False, preview_prompts=["zorvex"])
    run = train(base, data, recipe, out=tmp_path / "run")
    adapter = load_adapter(run.adapter)
    assert adapter.family == "toy"
    assert set(adapter.factors) == {"grid.first", "grid.second", "grid.last"}
    assert loss(base, data, recipe, [run.adapter]) < 0.9 * loss(base, data, recipe, [])

    plain, none, full = (
        np.asarray(generate(base, ["zorvex a cat"], given, steps=3, guidance=1.0)[0], np.int16)
        for given in (None, {run.adapter: 0.0}, {run.adapter: 1.0})
    )
    assert (none == plain).all()
    assert (full != plain).any()

    exported = export_adapter(run.adapter, "kohya", tmp_path / "kohya.safetensors")
    assert exported.proof.worst < 1e-6
    assert "lora_unet_second.lora_up.weight" in load_file(exported.path)
    again = import_adapter(exported.path, family="toy")
    for layer in adapter.factors:
        torch.testing.assert_close(again.change(layer), adapter.change(layer), rtol=1e-6, atol=1e-7)
