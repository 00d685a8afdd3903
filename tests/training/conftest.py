"""A tiny random base of the real classes, six pictures, and a recipe that trains in a second."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorastyle import Dataset, Recipe
from lorastyle.bases.base import Base
from lorastyle.bases.family import families


def tiny_base() -> Base:
    family = families()["sd1"]
    return Base("tiny", family, family.tiny(0))


@pytest.fixture
def base() -> Base:
    return tiny_base()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of coloured noise with captions; seeded, so that every test run sees the same."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(6):
        blocks = generator.integers(0, 256, (8, 8, 4 if number == 0 else 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((128, 128), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"[trigger] a{number}, b, c" if number < 5 else "d")
    return folder


@pytest.fixture
def data(pictures: Path) -> Dataset:
    return Dataset.open(pictures)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        trigger="zorvex", class_word="plain", steps=6, batch=2, rank=4, learning_rate=1e-3, checkpoint_every=3,
        preservation=0.0, held_out=0.0, preview_steps=2, preview_prompts=["zorvex picture"], resolution=64,
    )  # fmt: skip
