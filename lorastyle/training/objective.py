"""The loss of a batch, row by row, and what is measured on held-out images."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lorastyle import draws
from lorastyle.adapters.routing import Router, Routing
from lorastyle.bases.base import Base
from lorastyle.bases.family import Frame
from lorastyle.draws import Key
from lorastyle.training.batches import Row
from lorastyle.training.examples import Example, Examples

Conditioning = Mapping[str, Tensor]
Encode = Callable[[Sequence[str]], Conditioning]

STRATA = 8  # timesteps at which each held-out image is measured


def noised(base: Base, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """The rows' noised latents and targets [batch, channels, height, width] and their timesteps [batch]."""
    latents = torch.stack([row.latents for row in rows]).to(base.device)
    noise = torch.stack([row.noise for row in rows]).to(base.device)
    u = torch.tensor([row.u for row in rows], dtype=torch.float64)
    timesteps = base.noise.timestep(u, latents).to(base.device)
    return base.noise.corrupt(latents, noise, timesteps), base.noise.target(latents, noise, timesteps), timesteps


def conditions(base: Base, rows: Sequence[Row], captions: Sequence[str], encode: Encode) -> dict[str, Tensor]:
    """What the base is told of the rows: captions, and how their pictures came to their size; tensors [batch, ...]."""
    return {**encode(captions), **base.geometry([frame_of(row.example) for row in rows])}


def frame_of(example: Example) -> Frame:
    """The size of the picture as it was given, and what was cut from it at the left and top, as trained."""
    crop, sample = example.crop, example.sample
    left, top = (round(side * crop.scale) for side in crop.box[:2])
    return Frame((sample.width, sample.height), (left, top), crop.bucket)


def row_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error per row [batch], in fp32."""
    return (predicted.float() - target.float()).square().flatten(1).mean(1)


def denoising_losses(base: Base, rows: Sequence[Row], encode: Encode, min_snr: float | None) -> Tensor:
    """The weighted denoising loss of each row [batch], under whatever routing is in use.

    Weights: min-SNR (Hang et al. 2023, arXiv 2303.09556), as the base's noise defines them for its target.
    """
    noisy, target, timesteps = noised(base, rows)
    predicted = base.predict(noisy, timesteps, conditions(base, rows, [row.caption for row in rows], encode))
    return row_errors(predicted, target) * base.noise.weight(timesteps, min_snr)


def preservation_losses(base: Base, rows: Sequence[Row], encode: Encode, router: Router, routing: Routing) -> Tensor:
    """How far each row's prediction for its caption without the trigger strays from the base's own [batch].

    The teacher is the same base with its routing off, so no second model and no extra images are needed (the idea of
    prior preservation, Ruiz et al. 2022, arXiv 2208.12242, without generated class images).
    """
    noisy, _, timesteps = noised(base, rows)
    plain = [row.example.plain for row in rows]
    with torch.no_grad(), router.use(Routing.base(len(rows))):
        taught = base.predict(noisy, timesteps, conditions(base, rows, plain, encode))
    with router.use(routing):
        return row_errors(base.predict(noisy, timesteps, conditions(base, rows, plain, encode)), taught)


def held_out_rows(examples: Sequence[Example], seed: int) -> list[Row]:
    """Each held-out image at `STRATA` evenly spread times with fixed noise: the same rows each time."""
    rows = []
    for position, example in enumerate(examples):
        for stratum in range(STRATA):
            key = Key(seed, "held-out", stratum, position)
            noise = torch.from_numpy(draws.normal(key, "noise", tuple(example.latents[0].shape)))
            rows.append(Row(example, example.latents[0], noise, example.captions[0], (stratum + 0.5) / STRATA))
    return rows


@torch.no_grad()
def held_out_loss(
    base: Base, examples: Examples, seed: int, encode: Encode, router: Router, routing: Callable[[int], Routing]
) -> float:
    """Mean unweighted denoising loss on the held-out images, one image after another.

    Args:
        routing: gives the routing for a batch of that many rows.
    """
    errors = []
    for example in examples.held:
        rows = held_out_rows([example], seed)
        with router.use(routing(len(rows))):
            errors.append(denoising_losses(base, rows, encode, None).mean())
    return float(torch.stack(errors).mean())
