"""The times of bases trained by flow matching, as diffusers' FlowMatchEulerDiscreteScheduler is set for them.

Rectified flow: Liu et al. 2022, arXiv 2209.03003; Esser et al. 2024, arXiv 2403.03206. Larger pictures keep more of
themselves under the same noise, so their times are shifted towards noise (ibid., section 5.3.2).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from lorastyle.bases.noise import Flow

Tokens = Callable[[Tensor], int]


def flow(scheduler: Any, tokens: Tokens) -> Flow:
    """The noise of a base with this scheduler; `tokens` says into how many latents [batch, ...] fall.

    Times are drawn logit-normally and shifted as in sampling: an adapter is trained most at the times that it will be
    asked about.
    """
    return Flow("logit_normal", partial(_shift, scheduler.config, tokens))


def euler(scheduler: Any, steps: int, latents: Tensor, tokens: Tokens, spaced: bool = True) -> Any:
    """Euler's method in the settings of `scheduler`, set for that many steps from noise like `latents` [batch, ...].

    Args:
        spaced: on the times that most pipelines ask for, evenly spaced from 1 to 1 / steps and then shifted; else on
            those that the scheduler itself chooses.
    """
    config = scheduler.config
    # Times are stretched so that the last is shift_terminal; the only one is the first too, and stays at 1.
    only = {"shift_terminal": None} if steps == 1 else {}
    sampler = type(scheduler).from_config(config, stochastic_sampling=False, **only)
    mu = shift_logarithm(config, tokens(latents)) if config.get("use_dynamic_shifting") else None
    times = {"sigmas": np.linspace(1, 1 / steps, steps)} if spaced else {"num_inference_steps": steps}
    sampler.set_timesteps(**times, device=latents.device, mu=mu)
    return sampler


def shift_logarithm(config: Any, tokens: int) -> float:
    """The logarithm of the shift where it depends on the size of the picture: linear in the number of its tokens."""
    least, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (high - low) / (most - least)
    return tokens * slope + (low - slope * least)


def _shift(config: Any, tokens: Tokens, latents: Tensor) -> float:
    """The factor by which a scheduler of these settings shifts its times for latents [batch, ...]."""
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift", 1.0))
    logarithm = shift_logarithm(config, tokens(latents))
    return math.exp(logarithm) if config.get("time_shift_type", "exponential") == "exponential" else logarithm
