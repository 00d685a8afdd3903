"""One denoising batch in which every picture has its own prompt, seed and adapters."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lorastyle import draws
from lorastyle.adapters.inject import Injection
from lorastyle.adapters.routing import Routing
from lorastyle.bases.base import Base
from lorastyle.bases.family import Frame
from lorastyle.draws import Key

Encode = Callable[[list[str]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Row:
    """One picture to draw.

    `seed` and `number` fix its noise. `adapters`: the strength of each by its name in the injection; with none, or
    with strengths of 0, the picture is the base's own.
    """

    prompt: str
    negative: str = ""
    seed: int = 0
    number: int = 0
    adapters: Mapping[str, float] = field(default_factory=dict)


@torch.no_grad()
def sample(
    base: Base,
    rows: Sequence[Row],
    injection: Injection | None = None,
    *,
    steps: int = 20,
    guidance: float | None = None,
    width: int | None = None,
    height: int | None = None,
    encode: Encode | None = None,
    after_step: Callable[[], None] = lambda: None,
) -> list[Image.Image]:
    """Draw the rows in one batch.

    With classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598) above 1 each row runs twice, for its
    negative prompt and for its prompt, both under its own adapters; a base that embeds guidance runs once.

    Args:
        injection: has the adapters that the rows name; None where they name none.
        guidance: by default the base's own. `width`, `height`: in pixels, by default the base's own resolution.
        encode: gives embeddings of prompts that are known already; by default the base encodes them.
    """
    guidance = base.guidance if guidance is None else guidance
    width, height = width or base.resolution, height or base.resolution
    prompts, negatives = [row.prompt for row in rows], [row.negative for row in rows]
    encode = encode or base.encode_prompts
    routing = injection.route([row.adapters for row in rows]) if injection else None
    frame = base.geometry([Frame.drawn(width, height)] * len(rows))
    with _routed(injection, routing):
        conditioning = {**encode(prompts), **frame}
        if base.embeds_guidance:
            conditioning["guidance"] = torch.full((len(rows),), guidance, device=base.device)
            guidance = 1.0  # the denoiser sees to it
        elif guidance > 1:
            unconditional = {**encode(negatives), **frame}
            conditioning = {name: torch.cat([unconditional[name], told]) for name, told in conditioning.items()}
    noise = initial_noise(base, rows, width, height)
    with _routed(injection, routing.repeat(2) if routing and guidance > 1 else routing):
        latents = denoise(base, noise, conditioning, steps, guidance, after_step)
    return to_images(base.decode_latents(latents))


def initial_noise(base: Base, rows: Sequence[Row], width: int, height: int) -> Tensor:
    """The rows' noise [batch, channels, ...]: a row's depends on its seed and number alone."""
    shape = base.latent_shape(width, height)
    noise = [draws.normal(Key(row.seed, position=row.number), "latents", shape) for row in rows]
    return torch.from_numpy(np.stack(noise)).to(base.device)


def denoise(
    base: Base,
    latents: Tensor,
    conditioning: Mapping[str, Tensor],
    steps: int,
    guidance: float,
    after_step: Callable[[], None],
) -> Tensor:
    """Take noise [batch, ...] to clean latents [batch, ...] in `steps` steps.

    With guidance above 1 the tensors of `conditioning` are [2 batch, ...], the unconditional half first.
    """
    scheduler = base.scheduler(steps, latents)
    for timestep in scheduler.timesteps:
        if guidance > 1:
            both = base.predict(torch.cat([latents, latents]), timestep.expand(2 * len(latents)), conditioning)
            unconditional, told = both.chunk(2)
            predicted = base.guided(unconditional, told, guidance)
        else:
            predicted = base.predict(latents, timestep.expand(len(latents)), conditioning)
        latents = scheduler.step(predicted, timestep, latents).prev_sample
        after_step()
    return latents


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Pixels [batch, 3, height, width] in -1..1 as RGB pictures; values beyond are the nearest colour."""
    rgb = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    return [Image.fromarray(picture) for picture in rgb.to(device="cpu", dtype=torch.uint8).numpy()]


def _routed(injection: Injection | None, routing: Routing | None) -> AbstractContextManager[object]:
    return injection.router.use(routing) if injection and routing else nullcontext()
