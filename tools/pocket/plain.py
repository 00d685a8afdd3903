"""The bases that ship, as plain diffusers loads them and draws with them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline, StableDiffusionPipeline
from rich.console import Console
from rich.progress import track

import lorastyle
from tools.pocket import drawings

FOLDER = Path(lorastyle.__file__).parent / "bases"
BATCH = 20


@dataclass(frozen=True)
class Shipped:
    """Where a base lies, and what is particular to its pipeline: loading, and the arguments of a call with
    classifier-free guidance of some strength for some number of prompts."""

    folder: Path
    load: Callable[[Path], Any]
    call: Callable[[float, int], dict[str, Any]]


def _flux(guidance: float, prompts: int) -> dict[str, Any]:
    sides = {"width": drawings.SIZE, "height": drawings.SIZE}
    return sides | {"true_cfg_scale": guidance, "negative_prompt": [""] * prompts}


BASES = {
    "pocket": Shipped(
        FOLDER / "pocket",
        lambda folder: StableDiffusionPipeline.from_pretrained(folder, safety_checker=None),
        lambda guidance, prompts: {"guidance_scale": guidance},
    ),
    "pocket-flux": Shipped(FOLDER / "pocket_flux", FluxPipeline.from_pretrained, _flux),
}


class Pipeline:
    """A base's folder, loaded and used with plain diffusers."""

    def __init__(self, base: Shipped, folder: Path, guidance: float) -> None:
        self.base, self.guidance = base, guidance
        begun = time.perf_counter()
        self.pipeline = base.load(folder)
        self.load_seconds = time.perf_counter() - begun
        self.pipeline.set_progress_bar_config(disable=True)

    def draw(self, prompts: Sequence[str], steps: int, first_seed: int = 0) -> np.ndarray:
        """RGB bytes [n, 128, 128, 3]; picture number i is drawn from the seed `first_seed` + i."""
        result = self.pipeline(
            list(prompts),
            num_inference_steps=steps,
            generator=[torch.Generator().manual_seed(first_seed + number) for number in range(len(prompts))],
            output_type="np",
            **self.base.call(self.guidance, len(prompts)),
            **self.text_length(),
        )
        return (result.images * 255).round().astype(np.uint8)

    def text_length(self) -> dict[str, int]:
        """Flux pads prompts to a length that its caller names: that of the second tokenizer."""
        second = getattr(self.pipeline, "tokenizer_2", None)
        return {} if second is None else {"max_sequence_length": second.model_max_length}

    def draw_all(self, prompts: Sequence[str], steps: int, console: Console) -> np.ndarray:
        starts = range(0, len(prompts), BATCH)
        return np.concatenate(
            [
                self.draw(prompts[start : start + BATCH], steps, first_seed=start)
                for start in track(starts, "drawing", console=console)
            ]
        )
