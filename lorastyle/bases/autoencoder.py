"""Autoencoders whose latents are shifted before they are scaled, as several families have them."""

from typing import Any

from torch import Tensor


def encoded(vae: Any, pixels: Tensor) -> Tensor:
    """The mode of the latents of pixels [batch, 3, height, width], about as wide as noise and around 0."""
    return (vae.encode(pixels).latent_dist.mode() - _shift(vae)) * vae.config.scaling_factor


def decoded(vae: Any, latents: Tensor) -> Tensor:
    """Pixels of such latents."""
    return vae.decode(latents / vae.config.scaling_factor + _shift(vae)).sample


def _shift(vae: Any) -> float:
    return vae.config.shift_factor or 0.0  # which may be left out
