"""Noise: how latents are noised, what the base is asked to predict, and which times are trained how often.

Two kinds: :class:`Diffusion` in discrete steps and :class:`Flow` along straight lines. A timestep means what the
denoiser of the family is told: 0 is clean, `steps` (about 1000) is pure noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from lorastyle.errors import BadInput, Unsupported

Prediction = Literal["epsilon", "v_prediction"]


class Noise(Protocol):
    """What training and sampling ask of either kind; latents, noise and targets are [batch, ...], the rest [batch]."""

    @property
    def prediction(self) -> str:
        """What the base predicts: "epsilon", "v_prediction" or "flow"."""

    @property
    def steps(self) -> int:
        """The timestep of pure noise, and the most steps that a sampler can take."""

    def timestep(self, u: Tensor, latents: Tensor) -> Tensor:
        """Timesteps for uniform numbers `u` in [0, 1), for latents of that shape."""

    def corrupt(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noised latents."""

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the base should predict."""

    def weight(self, timesteps: Tensor, min_snr: float | None) -> Tensor:
        """Weight of the loss at each timestep."""


@dataclass(frozen=True)
class Diffusion:
    """Variance-preserving diffusion in discrete steps (Ho et al. 2020, arXiv 2006.11239).

    `alphas_cumprod` [steps]: the share of the clean signal's variance left at each timestep, falling from almost 1 to
    almost (or, with zero terminal signal-to-noise ratio, exactly) 0. `prediction`: what the base predicts.
    """

    alphas_cumprod: Tensor
    prediction: Prediction

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> Self:
        """The noise that a base with this diffusers scheduler was trained with.

        Raises Unsupported where the base predicts neither the noise nor v.
        """
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        prediction = scheduler.config.get("prediction_type", "epsilon")
        if prediction not in ("epsilon", "v_prediction"):
            raise Unsupported(
                "the base's scheduler",
                f"prediction_type is {prediction!r}",
                "use a base that predicts the noise (epsilon) or v (v_prediction)",
            )
        # Samplers bend the last value to stay finite; the training scheduler made from the same settings does not.
        return cls(DDPMScheduler.from_config(scheduler.config).alphas_cumprod, prediction)

    @property
    def steps(self) -> int:
        """The number of timesteps; they count from 0, almost clean, to steps - 1, almost pure noise."""
        return len(self.alphas_cumprod)

    def timestep(self, u: Tensor, latents: Tensor) -> Tensor:
        """Timesteps [batch] (int64) for uniform numbers `u` [batch] in [0, 1), all equally likely."""
        return (u.double() * self.steps).long().clamp(0, self.steps - 1)

    def corrupt(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noised latents [batch, ...]: sqrt(a) x + sqrt(1 - a) e (Ho et al. 2020, equation 4)."""
        alpha, sigma = self._coefficients(timesteps, latents)
        return alpha * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the base should predict [batch, ...]: the noise, or v = sqrt(a) e - sqrt(1 - a) x.

        v: Salimans and Ho 2022, arXiv 2202.00512, appendix D.
        """
        if self.prediction == "epsilon":
            return noise
        alpha, sigma = self._coefficients(timesteps, latents)
        return alpha * noise - sigma * latents

    def snr(self, timesteps: Tensor) -> Tensor:
        """Signal-to-noise ratio a / (1 - a) at each timestep [batch]."""
        kept = self.alphas_cumprod.to(timesteps.device)[timesteps]
        return kept / (1 - kept)

    def weight(self, timesteps: Tensor, min_snr: float | None) -> Tensor:
        """Weight of the loss at each timestep [batch]; 1 everywhere where `min_snr` is None.

        min(snr, min_snr) / snr for the noise, divided by snr + 1 instead for v (Hang et al. 2023, arXiv 2303.09556).
        """
        snr = self.snr(timesteps)
        if min_snr is None:
            return torch.ones_like(snr)
        if self.prediction == "epsilon":
            return (min_snr / snr).clamp(max=1)  # the same quotient, finite where snr is 0
        return snr.clamp(max=min_snr) / (snr + 1)

    def _coefficients(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.alphas_cumprod.to(device=like.device, dtype=like.dtype)[timesteps.to(like.device)]
        kept = _per_row(kept, like)
        return kept.sqrt(), (1 - kept).sqrt()


@dataclass(frozen=True)
class Flow:
    """Rectified flow: latents and noise joined by a straight line, along which the base predicts the velocity.

    Liu et al. 2022, arXiv 2209.03003; Esser et al. 2024, arXiv 2403.03206.

    density: which sigmas are trained how often before the shift, "logit_normal" (Esser et al., section 3.1) or
    "uniform". shift: for latents [batch, ...] the factor that moves sigmas towards noise, 1 for none; larger pictures
    need more (ibid., section 5.3.2).
    """

    density: Literal["logit_normal", "uniform"] = "logit_normal"
    shift: Callable[[Tensor], float] = lambda latents: 1.0

    prediction = "flow"
    steps = 1000

    def timestep(self, u: Tensor, latents: Tensor) -> Tensor:
        """Timesteps [batch], fractions in 0..1000, for uniform numbers `u` [batch] in [0, 1)."""
        sigma = torch.special.ndtri(u.double()).sigmoid() if self.density == "logit_normal" else u.double()
        shift = self.shift(latents)
        return (self.steps * shift * sigma / (1 + (shift - 1) * sigma)).float()

    def corrupt(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noised latents [batch, ...]: (1 - sigma) x + sigma e."""
        sigma = _per_row(timesteps.to(latents) / self.steps, latents)
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The velocity e - x [batch, ...], the same at all times."""
        return noise - latents

    def weight(self, timesteps: Tensor, min_snr: float | None) -> Tensor:
        """1 at every timestep [batch]: the density does the weighting. Raises BadInput where `min_snr` is given."""
        if min_snr is not None:
            what = "flow matching weighs its times by how often it trains them"
            raise BadInput("recipe.min_snr", f"it is {min_snr:g}, but {what}", "set min_snr to off")
        return torch.ones_like(timesteps, dtype=torch.float32)


def _per_row(values: Tensor, like: Tensor) -> Tensor:
    """Values [batch] so that they multiply the rows of `like` [batch, ...]."""
    return values.view(-1, *[1] * (like.ndim - 1))
