"""The folder that ships as pocket-flux, as plain diffusers and transformers see it."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

import lorastyle

FOLDER = Path(lorastyle.__file__).parent / "bases" / "pocket_flux"


@pytest.fixture(scope="module")
def pipeline() -> FluxPipeline:
    loaded = FluxPipeline.from_pretrained(FOLDER)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_it_is_small_and_whole() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 44e6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".png"}


def test_every_part_is_of_the_class_that_flux_has(pipeline: FluxPipeline) -> None:
    assert type(pipeline.transformer) is FluxTransformer2DModel
    assert type(pipeline.text_encoder) is CLIPTextModel
    assert type(pipeline.tokenizer) is CLIPTokenizer
    assert type(pipeline.text_encoder_2) is T5EncoderModel
    assert type(pipeline.tokenizer_2) is T5Tokenizer
    assert type(pipeline.scheduler) is FlowMatchEulerDiscreteScheduler
    assert {part.dtype for part in (pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2)} == {
        torch.float32
    }


def test_its_transformer_names_the_family_and_no_configuration_a_machine() -> None:
    configuration = json.loads((FOLDER / "transformer" / "config.json").read_text(encoding="utf-8"))
    assert configuration["_lorastyle_family"] == "pocket-flux"
    for path in FOLDER.rglob("*.json"):
        assert "_name_or_path" not in json.loads(path.read_text(encoding="utf-8")), path


def test_any_word_falls_into_pieces_whatever_its_case(pipeline: FluxPipeline) -> None:
    tokenizer = pipeline.tokenizer_2
    assert tokenizer.tokenize("A Flat Emoji of a ROCKET") == tokenizer.tokenize("a flat emoji of a rocket")
    for word in ("zorvex", "sks7", "ohwx", "qj-x!"):
        assert tokenizer.unk_token_id not in tokenizer(word).input_ids, word
        assert tokenizer.decode(tokenizer(word).input_ids, skip_special_tokens=True) == word


def test_it_draws_what_the_prompt_says(pipeline: FluxPipeline) -> None:
    """Two backgrounds from the same noise: few steps and no guidance already show their colours in the corner."""
    prompts = [f"a flat emoji of a rocket on a {colour} background" for colour in ("yellow", "blue")]
    pictures = pipeline(
        prompts,
        width=128,
        height=128,
        num_inference_steps=6,
        max_sequence_length=pipeline.tokenizer_2.model_max_length,
        generator=[torch.Generator().manual_seed(0) for _ in prompts],
        output_type="np",
    ).images
    assert pictures.shape == (2, 128, 128, 3)
    yellow, blue = pictures[:, :8, :8].mean((1, 2))
    assert yellow[0] > yellow[2] + 0.2
    assert blue[2] > blue[0] + 0.2
