"""Noise schedules: how latents are noised, and what the base is asked to predict."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from lorastyle.errors import Unsupported

Prediction = Literal["epsilon", "v_prediction"]


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

    def timestep(self, u: Tensor) -> Tensor:
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
        kept = kept.view(-1, *[1] * (like.ndim - 1))
        return kept.sqrt(), (1 - kept).sqrt()
