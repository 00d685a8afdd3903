"""A family of bases from outside, in one file: pictures of 64 pixels, drawn by a small network at each of 8 x 8 places.

Nothing of diffusers is in its models; only its sampler is diffusers' own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, silu

from lorastyle.bases.family import Conditioning, Family
from lorastyle.bases.layout import Layout
from lorastyle.bases.noise import Flow
from lorastyle.bases.parts import Parts
from lorastyle.recipe import Preset, Suggestion

RATE = {"learning_rate": Suggestion(1e-2, "a toy bears it"), "min_snr": Suggestion(None, "flow matching has none")}


class Denoiser(nn.Module):
    config: Mapping[str, Any] = {"width": 32}

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3 + 8 + 1, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, latents: Tensor, times: Tensor, words: Tensor) -> Tensor:
        told = torch.cat([words, times[:, None] / 1000], dim=1)[:, None].expand(-1, latents[0, 0].numel(), -1)
        hidden = silu(self.first(torch.cat([latents.flatten(2).mT, told], dim=2)))
        return self.last(silu(self.second(hidden))).mT.view(latents.shape)

    def disable_gradient_checkpointing(self) -> None:
        """It has nothing to save."""


class Reader(nn.Module):
    """Reads a text as the mean of its bytes' embeddings."""

    config: Mapping[str, Any] = {"width": 8}

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(256, 8)

    def forward(self, text: str) -> Tensor:
        return self.letters(torch.tensor([*text.encode(), 0])).mean(0)


class Shrinker(nn.Module):
    config: Mapping[str, Any] = {"scale": 8}


class Toy(Family):
    name = "toy"
    title = "a toy"
    pipeline_class = "none"
    roles: Mapping[str, Sequence[str]] = {"denoiser": ("grid",), "autoencoder": ("shrinker",), "text": ("reader",)}
    adapted: Sequence[str] = ("grid",)
    targets: Mapping[str, Mapping[str, Sequence[str]]] = {
        "attention": {"grid": ("second",)},
        "attention+mlp": {"grid": ("first", "second")},
        "all": {"grid": ("first", "second", "last")},
    }
    presets: Mapping[str, Preset] = {
        purpose: Preset(RATE, 10, 20, 40, "a toy learns quickly") for purpose in ("style", "character", "object")
    }
    guidance = 2.0
    kohya_prefixes: Mapping[str, str] = {"grid": "lora_unet"}

    def recognises(self, layout: Layout) -> bool:
        return False

    def tiny(self, seed: int) -> Parts:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Parts.of(grid=Denoiser(), shrinker=Shrinker(), reader=Reader())

    def architecture(self, parts: Parts) -> str:
        return "toy"

    def noise(self, parts: Parts) -> Flow:
        return Flow("uniform")

    def scheduler(self, parts: Parts, steps: int, latents: Tensor) -> Any:
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(steps)
        return scheduler

    def resolution(self, parts: Parts) -> int:
        return 64

    def divisor(self, parts: Parts) -> int:
        return 8

    def latent_shape(self, parts: Parts, width: int, height: int) -> tuple[int, ...]:
        return (3, height // 8, width // 8)

    def encode_images(self, parts: Parts, pixels: Tensor) -> Tensor:
        return avg_pool2d(pixels, 8)

    def decode_latents(self, parts: Parts, latents: Tensor) -> Tensor:
        return interpolate(latents, scale_factor=8.0)

    def encode_prompts(self, parts: Parts, prompts: Sequence[str]) -> dict[str, Tensor]:
        return {"words": torch.stack([parts["reader"](prompt) for prompt in prompts])}

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        return parts["grid"](latents, timesteps, conditioning["words"])

    def tokens(self, parts: Parts, text: str) -> int:
        return len(text.encode())


FAMILY = Toy()
