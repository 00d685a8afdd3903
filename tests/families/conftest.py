"""What the table of families is made of: for each a tiny base, one run of training on two pictures, and its adapter."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorastyle import Dataset, Recipe, load_adapter, train
from lorastyle.adapters.inject import inject
from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, families
from lorastyle.training.examples import prepare
from lorastyle.training.folder import Run
from lorastyle.training.objective import held_out_loss


@pytest.fixture(params=sorted(families()), scope="session")
def family(request: pytest.FixtureRequest) -> Family:
    return families()[request.param]


@pytest.fixture(autouse=True)
def _applicable(request: pytest.FixtureRequest, family: Family) -> None:
    """Cells that the family says do not apply are skipped with its reason."""
    cell = request.node.originalname.removeprefix("test_")
    if cell in family.not_applicable:
        pytest.skip(f"not applicable: {family.not_applicable[cell]}")


def tiny(family: Family) -> Base:
    return Base("tiny", family, family.tiny(0))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two pictures of 64 pixels with captions, the same in every run."""
    folder = tmp_path_factory.mktemp("two")
    generator = np.random.default_rng(0)
    for number, caption in enumerate(("zorvex a cat", "zorvex a dog")):
        blocks = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((64, 64), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    return Dataset.open(folder)


@pytest.fixture(scope="session")
def recipe(family: Family) -> Recipe:
    """30 steps on both pictures at once; text encoders learn where they can."""
    text = {} if len(family.adapted) == 1 else {"text_encoder_learning_rate": 1e-3}
    return Recipe(
        trigger="zorvex", steps=30, batch=2, rank=8, learning_rate=1e-2, targets="all", caption_dropout=0.0, flip=False,
        checkpoint_every=100, held_out=0.0, preview_steps=1, preview_prompts=["zorvex a cat"], resolution=64,
        min_snr=None, warmup=0.0, **text,
    )  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A finished run, and the loss of the base and of the adapter on its own pictures at the same fixed noise."""

    base: Base
    run: Run
    before: float
    after: float


@pytest.fixture(scope="session")
def trained(family: Family, data: Dataset, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    base = tiny(family)
    run = train(base, data, recipe, out=tmp_path_factory.mktemp(family.name) / "run")
    before, after = (loss(base, data, recipe, adapters) for adapters in ([], [run.adapter]))
    return Trained(base, run, before, after)


def loss(base: Base, data: Dataset, recipe: Recipe, adapters: list[Path]) -> float:
    """The loss on the pictures at eight times with fixed noise."""
    resolved = recipe.resolved(base.preset("style"), 2, base.resolution, base.guidance)
    examples = prepare(base, data, resolved, [])
    injection = inject(base.models, {})
    try:
        for path in adapters:
            injection.add(str(path), load_adapter(path))
        routed = {str(path): 1.0 for path in adapters}
        measured = replace(examples, held=examples.trained)
        return held_out_loss(
            base, measured, 0, base.encode_prompts, injection.router, lambda rows: injection.route([routed] * rows)
        )
    finally:
        injection.eject()
