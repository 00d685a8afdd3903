"""The table of families, one test for each column: `make families-report` prints it and writes it into the README."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import save_file
from torch import Tensor

from lorastyle import Dataset, Recipe, generate, load_adapter, train
from lorastyle.adapters.inject import inject
from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, Frame
from lorastyle.bases.load import load_base
from tests.families.checkpoints import single_file
from tests.families.conftest import Trained, tiny

FEW = {"steps": 2, "seed": 3}


def prediction(base: Base, prompts: list[str]) -> Tensor:
    """What the denoiser makes of fixed latents and these prompts; it depends on all that can carry adapters."""
    latents = torch.randn(len(prompts), *base.latent_shape(64, 64), generator=torch.Generator().manual_seed(1))
    told = {**base.encode_prompts(prompts), **base.geometry([Frame.drawn(64, 64)] * len(prompts))}
    return base.predict(latents, torch.full((len(prompts),), 500.0), told)


def assert_same_base(loaded: Base, base: Base) -> None:
    assert loaded.family is base.family
    for role in base.family.roles:
        assert loaded.fingerprint(role) == base.fingerprint(role)


def test_load_folder(family: Family, tmp_path: Path) -> None:
    base = tiny(family)
    base.pipeline.save_pretrained(tmp_path / "base")
    assert_same_base(load_base(tmp_path / "base", device="cpu"), base)


def test_load_single_file(family: Family, tmp_path: Path) -> None:
    """Beside it lies the folder of configurations, as the network is not asked here."""
    base = tiny(family)
    base.pipeline.save_pretrained(tmp_path / "base")
    save_file(single_file(base), tmp_path / "base.safetensors")
    assert_same_base(load_base(tmp_path / "base.safetensors", device="cpu"), base)


def test_train(trained: Trained) -> None:
    """30 steps on two pictures take the loss on them, at fixed noise, below 0.9 of the base's."""
    assert trained.after < 0.9 * trained.before


def test_text_encoder(trained: Trained) -> None:
    """Every factor of every adapter on the CLIP encoders has moved from where it started (`up` from zero)."""
    factors = load_adapter(trained.run.adapter).factors
    assert trained.base.adapted[1:]
    for part in trained.base.adapted[1:]:
        layers = [layer for layer in factors if layer.startswith(f"{part}.")]
        assert layers
        assert all(factors[layer]["up"].abs().max() > 0 for layer in layers)


def test_resume(family: Family, data: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    """A run that was killed goes on to the very bytes of one left alone."""
    short = recipe.changed({"steps": 4, "checkpoint_every": 2})
    whole = train(tiny(family), data, short, out=tmp_path / "whole" / "run").adapter.read_bytes()

    class Killed(Exception):
        pass

    def kill(progress: object) -> None:
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(tiny(family), data, short, out=tmp_path / "run", report=kill)
    assert train(tiny(family), data, short, out=tmp_path / "run", resume=True).adapter.read_bytes() == whole


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What diffusers says at the level of a warning or above."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear(logging.WARNING)
    diffusers_logging.add_handler(ear)
    yield heard
    diffusers_logging.remove_handler(ear)


def test_export(trained: Trained, complaints: list[str]) -> None:
    """The file loads in the family's own pipeline, no key left over, and the pipeline's models predict the same."""
    prompts, base = ["a cat", "a dog"], trained.base
    injection = inject(base.models, {})
    try:
        injection.add("ours", load_adapter(trained.run.adapter))
        with torch.no_grad(), injection.router.use(injection.route([{"ours": 1.0}] * 2)):
            ours = prediction(base, prompts)
    finally:
        injection.eject()
    theirs = tiny(base.family)
    with torch.no_grad():
        alone = prediction(theirs, prompts)
    pipeline = theirs.pipeline
    complaints.clear()
    pipeline.load_lora_weights(str(trained.run.adapter))
    # It only notes that an adapter has nothing for the text encoder.
    assert [said for said in complaints if "safe to ignore" not in said] == []
    with torch.no_grad():
        loaded = prediction(theirs, prompts)
    assert not torch.allclose(loaded, alone, atol=1e-3)
    # the same float32 sums in another order, through some tens of layers
    torch.testing.assert_close(loaded, ours, rtol=1e-4, atol=1e-4)


def test_generate(trained: Trained) -> None:
    """The adapter's strength changes the picture; 0 is the base, bitwise."""
    base, adapter = trained.base, trained.run.adapter
    plain, none, half, full = (
        np.asarray(generate(base, ["zorvex a cat"], given, **FEW)[0], np.int16)
        for given in (None, {adapter: 0.0}, {adapter: 0.5}, {adapter: 1.0})
    )
    assert (none == plain).all()
    assert (half != plain).any()
    assert (full != half).any()
