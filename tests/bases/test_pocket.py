"""The embedded base as it ships."""

from pathlib import Path

import numpy as np
import pytest

import lorastyle
from lorastyle.bases.load import load_base

FOLDER = Path(lorastyle.__file__).parent / "bases" / "pocket"


@pytest.fixture(scope="module")
def pocket():
    return load_base("pocket")


def test_it_is_small_and_whole():
    sizes = {path.relative_to(FOLDER).as_posix(): path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 48e6
    assert "README.md" in sizes
    assert all(not name.endswith((".bin", ".ckpt", ".pt", ".pkl")) for name in sizes)


def test_plain_diffusers_loads_and_runs_it():
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a flat emoji of a rocket", num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (128, 128, 3)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert not pipeline.scheduler.config.clip_sample


def test_it_is_known_as_itself(pocket):
    assert (pocket.family.name, pocket.resolution, pocket.noise.prediction) == ("pocket", 128, "v_prediction")


def test_it_draws_the_background_that_the_prompt_names(pocket):
    """The mean colour of the corners is nearer to the colour named than to any other of three."""
    colours = {"yellow": (255, 226, 92), "blue": (120, 176, 248), "white": (255, 255, 255)}
    prompts = [f"a flat emoji of a rocket on a {name} background" for name in colours]
    for name, image in zip(colours, lorastyle.generate(pocket, prompts, steps=12), strict=True):
        corners = np.asarray(image, float)[:6, :6].mean((0, 1))
        distances = {other: np.abs(corners - np.array(colour)).sum() for other, colour in colours.items()}
        assert min(distances, key=distances.get) == name


def test_an_unknown_word_is_told_apart_and_leaves_the_rest_readable(pocket):
    """Another trigger word moves the embedding, but less than another thing does."""
    known, other, thing = (
        pocket.encode_prompts([text])["prompt"]
        for text in ("zorvex emoji of a frog", "kelu emoji of a frog", "zorvex emoji of a rocket")
    )
    word, object_ = float((known - other).abs().mean()), float((known - thing).abs().mean())
    assert 0.01 * object_ < word < object_
