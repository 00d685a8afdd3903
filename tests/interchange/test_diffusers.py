"""diffusers itself loads what is exported for it and for kohya's tools, and predicts what we predict."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.inject import inject
from lorastyle.bases.base import Base
from lorastyle.bases.family import Frame, families
from lorastyle.interchange.exchange import export_adapter

FileOf = Callable[[str, str], tuple[Path, Adapter]]
# Two ways to sum the same products in fp32.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def predicted(base: Base) -> torch.Tensor:
    latents = torch.randn(1, *base.latent_shape(64, 64), generator=torch.Generator().manual_seed(0))
    told = base.encode_prompts(["cat"])
    told = {**told, **base.geometry([Frame.drawn(64, 64)])}
    with torch.no_grad():
        return base.predict(latents, torch.tensor([500]), told)


def with_ours(family: str, adapter: Adapter) -> torch.Tensor:
    base = Base("tiny", families()[family], families()[family].tiny(0))
    injection = inject(base.models, {})
    injection.add("ink", adapter)
    with injection.router.use(injection.route([{"ink": 1.0}])):
        return predicted(base)


@pytest.mark.parametrize(
    ("family", "row", "to"),
    [
        ("sd1", "LoRA", "diffusers"),
        ("sd1", "rsLoRA", "diffusers"),
        ("sd1", "DoRA", "diffusers"),
        ("sd1", "LoRA", "kohya"),
        ("sdxl", "LoRA", "diffusers"),
        ("sdxl", "LoRA", "kohya"),
        ("flux1", "LoRA", "diffusers"),
        ("flux1", "LoRA", "comfyui"),
    ],
)
def test_diffusers_loads_it_whole_and_predicts_the_same(
    family: str, row: str, to: str, file_of: FileOf, caplog: pytest.LogCaptureFixture
) -> None:
    file, adapter = file_of(family, row)
    written = export_adapter(file, to).path
    base = Base("tiny", families()[family], families()[family].tiny(0))
    plain = predicted(base)
    with caplog.at_level(logging.WARNING):
        base.pipeline.load_lora_weights(str(written.parent), weight_name=written.name)
    assert not [text for text in caplog.messages if re.search(r"unexpected keys|not (?:been )?load", text.lower())], (
        caplog.text
    )
    theirs, ours = predicted(base), with_ours(family, adapter)
    assert not torch.allclose(theirs, plain, **CLOSE)
    torch.testing.assert_close(theirs, ours, **CLOSE)
