"""What pocket-flux does otherwise than Flux; the rest is tested with Flux."""

import ast
import json
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline

from lorastyle.bases.base import Base
from lorastyle.bases.family import families
from lorastyle.bases.layout import MARKER, read_layout
from lorastyle.bases.load import detect, load_base
from lorastyle.generation.sampling import Row, initial_noise, sample
from tests.bases.families.helpers import difference


@pytest.fixture
def base() -> Base:
    return Base("tiny", families()["pocket-flux"], families()["pocket-flux"].tiny(0))


def test_only_its_marker_tells_it_from_flux(base: Base, tmp_path: Path) -> None:
    base.pipeline.save_pretrained(tmp_path)
    assert detect(read_layout(tmp_path)).name == "pocket-flux"
    config = json.loads((tmp_path / "transformer/config.json").read_text())
    del config[MARKER]
    (tmp_path / "transformer/config.json").write_text(json.dumps(config))
    assert detect(read_layout(tmp_path)).name == "flux1"


def test_it_takes_real_guidance_and_is_not_cautioned_about(base: Base) -> None:
    assert not base.embeds_guidance
    assert (base.guidance, base.cautions, base.architecture) == (2.5, [], "lorastyle-pocket-flux")
    plain, guided = (sample(base, [Row("a cat", negative="dog")], steps=2, guidance=scale)[0] for scale in (1.0, 2.0))
    assert plain.tobytes() != guided.tobytes()


def test_the_call_that_its_card_tells_draws_the_same_picture(base: Base) -> None:
    row, pipeline = Row("a cat", seed=5), base.pipeline
    pipeline.set_progress_bar_config(disable=True)
    base.parts["tokenizer_2"].model_max_length = 28  # as that of the one that ships
    latents = FluxPipeline._pack_latents(initial_noise(base, [row], 64, 64), 1, 4, 8, 8)
    given = {"latents": latents, "width": 64, "height": 64, "num_inference_steps": 3, "output_type": "pt"}
    call = ast.parse(f"call({base.family.call(2.5)})", mode="eval").body
    told = {argument.arg: ast.literal_eval(argument.value) for argument in call.keywords}
    expected = pipeline("a cat", **told, **given).images[0]
    assert difference(sample(base, [row], steps=3, guidance=2.5)[0], expected) <= 1 / 255  # rounding to 8 bits


def test_its_times_are_not_shifted(base: Base) -> None:
    assert base.noise.timestep(torch.tensor([0.5]), torch.zeros(1, 4, 8, 8)).item() == pytest.approx(500)


def test_the_one_that_ships_draws_in_its_own_resolution() -> None:
    base = load_base("pocket-flux", device="cpu")
    assert (base.name, base.family.name, base.resolution, base.latent_shape(128, 128)) == (
        *("pocket-flux", "pocket-flux", 128),
        (12, 16, 16),
    )
    assert sample(base, [Row("a flat emoji of a rocket")], steps=1)[0].size == (128, 128)
