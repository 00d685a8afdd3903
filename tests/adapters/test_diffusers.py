"""What is exported loads in diffusers and predicts the same noise."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file
from torch import Tensor, nn

from lorastyle.adapters.file import load, save
from lorastyle.adapters.inject import inject
from lorastyle.draws import Key

Models = dict[str, nn.Module]
TARGETS = {
    "attention": {"unet": [r".*attn[12]\.to_(q|k|v|out\.0)"]},
    "all with text encoder": {
        "unet": [r".*attn[12]\.to_(q|k|v|out\.0)", r".*ff\.net\.(0\.proj|2)", r".*(proj_in|proj_out|conv\w*)"],
        "text_encoder": [r"encoder.*(_proj|fc[12])"],
    },
}
SCALES = {"plain": {}, "alpha": {"alpha": 7.0}, "rslora": {"alpha": 6.0, "rslora": True}}


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What diffusers says at the level of a warning or above, in the test's own time."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear(logging.WARNING)
    diffusers_logging.add_handler(ear)
    yield heard
    diffusers_logging.remove_handler(ear)


def pipeline_of(models: Models) -> Any:
    absent: Any = None
    parts = dict.fromkeys(("vae", "tokenizer", "scheduler", "safety_checker", "feature_extractor"), absent)
    return StableDiffusionPipeline(**models, **parts, requires_safety_checker=False)


def given_values(injection: Any) -> None:
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for _, name, factor in injection.factors():
            if name == "up":
                factor.copy_(torch.randn(factor.shape, generator=generator) * 0.1)


def exported(models: Models, predict: Callable[..., Tensor], targets: dict, path: Path, **scale: Any) -> Tensor:
    """Write an adapter with random factors; returns what the models predict with it."""
    injection = inject(models, targets)
    injection.create("a", "lora", 3, key=Key(0), **scale)
    given_values(injection)
    with torch.no_grad(), injection.router.use(injection.route([{"a": 1.0}] * 4)):
        expected = predict(models)
    save(path, injection.adapter("a"))
    injection.eject()
    return expected


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_diffusers_loads_every_key_and_predicts_the_same(
    models: Models, predict: Callable, tmp_path: Path, complaints: list[str], targets: dict, scale: dict
) -> None:
    path = tmp_path / "a.safetensors"
    expected = exported(models, predict, targets, path, **scale)
    with torch.no_grad():
        alone = predict(models)
    complaints.clear()
    pipeline_of(models).load_lora_weights(str(path), adapter_name="a")
    # It only notes that an adapter has nothing for the text encoder.
    assert [said for said in complaints if "safe to ignore" not in said] == []
    loaded = {
        f"{part}.{name}".replace("text_encoder.", "text_encoder.text_model."): tensor
        for part, model in models.items()
        if part in targets
        for name, tensor in get_peft_model_state_dict(model, adapter_name="a").items()
    }
    on_disk = load_file(path)
    assert loaded.keys() == on_disk.keys()
    assert all(torch.equal(tensor, on_disk[name]) for name, tensor in loaded.items())
    with torch.no_grad():
        got = predict(models)
    # the same float32 sums in another order, through some forty layers
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(got, alone, atol=1e-3)


def test_layers_of_different_rank_and_alpha_keep_their_scale(
    models: Models, predict: Callable, tmp_path: Path, complaints: list[str]
) -> None:
    injection = inject(models, TARGETS["all with text encoder"])
    injection.create("a", "lora", 3, key=Key(0))
    given_values(injection)
    adapter = injection.adapter("a")
    for number, layer in enumerate(list(adapter.factors)):
        adapter.alphas[layer] = 1.0 + number % 3
        if number % 4 == 0:
            down, up = adapter.factors[layer]["down"], adapter.factors[layer]["up"]
            adapter.factors[layer] = {"down": torch.cat([down, down + 0.1]), "up": torch.cat([up, -up], 1)}
    injection.add("b", adapter)
    with torch.no_grad(), injection.router.use(injection.route([{"b": 1.0}] * 4)):
        expected = predict(models)
    injection.eject()
    save(tmp_path / "b.safetensors", adapter)
    complaints.clear()
    pipeline_of(models).load_lora_weights(str(tmp_path / "b.safetensors"))
    assert complaints == []
    with torch.no_grad():
        torch.testing.assert_close(predict(models), expected, rtol=1e-5, atol=1e-5)


def test_a_file_that_diffusers_wrote_is_read(models: Models, predict: Callable, tmp_path: Path) -> None:
    configs = {
        "unet": LoraConfig(r=3, lora_alpha=6, init_lora_weights=False, target_modules=["to_q", "to_v", "conv1"]),
        "text_encoder": LoraConfig(r=2, lora_alpha=1, init_lora_weights=False, target_modules=["q_proj", "fc1"]),
    }
    for part, config in configs.items():
        torch.manual_seed(5)
        inject_adapter_in_model(config, models[part])
    with torch.no_grad():
        expected = predict(models)
    told = {f"{part}_lora_layers": get_peft_model_state_dict(model) for part, model in models.items()}
    told |= {f"{part}_lora_adapter_metadata": config.to_dict() for part, config in configs.items()}
    StableDiffusionPipeline.save_lora_weights(tmp_path, **told)
    pipeline_of(models).unload_lora_weights()
    injection = inject(models, {})
    injection.add("theirs", load(tmp_path / "pytorch_lora_weights.safetensors"))
    with torch.no_grad(), injection.router.use(injection.route([{"theirs": 1.0}] * 4)):
        torch.testing.assert_close(predict(models), expected, rtol=1e-5, atol=1e-5)
