"""What becomes of a picture before it is trained on."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lorastyle import Dataset, Recipe
from lorastyle.bases.base import Base
from lorastyle.data.cache import Cache
from lorastyle.training.examples import encode_samples


def test_the_focus_point_decides_what_is_trained_on(base: Base, recipe: Recipe, tmp_path: Path) -> None:
    """A picture six times as long as wide, of which buckets keep two thirds."""
    parts = np.random.default_rng(0).integers(0, 256, (3, 64, 128, 3), dtype=np.uint8)
    Image.fromarray(np.concatenate(list(parts), axis=1)).save(tmp_path / "long.png")
    found = {}
    for name, focus in {"left": 0.0, "middle": 0.5, "right": 1.0}.items():
        row = {"file_name": "long.png", "text": "x", "focus": [focus, 0.5]}
        (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
        (example,) = encode_samples(base, Dataset.open(tmp_path).samples, recipe, Cache(tmp_path / "cache"))
        found[name] = example
    assert [example.crop.box[0] for example in found.values()] == [0, 64, 128]
    for one, other in (("left", "middle"), ("middle", "right")):
        assert not torch.equal(found[one].latents, found[other].latents)
