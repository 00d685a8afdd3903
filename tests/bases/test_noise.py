import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

from lorastyle.bases.noise import Diffusion
from lorastyle.errors import Unsupported

CURVES = {
    "stable diffusion": {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    "linear": {"beta_schedule": "linear"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "zero terminal snr": {
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True,
    },
}  # fmt: skip
TIMESTEPS = torch.tensor([0, 1, 250, 500, 998, 999])


@pytest.fixture(params=CURVES)
def curve(request: pytest.FixtureRequest) -> dict[str, object]:
    return CURVES[request.param]


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(2))


# Tolerance 1e-6: both sides are fp32 and may round a few times differently.


def test_corrupts_as_diffusers_does(curve: dict[str, object], latents: Tensor, noise: Tensor) -> None:
    scheduler = DDPMScheduler(**curve)
    ours = Diffusion.from_scheduler(scheduler).corrupt(latents, noise, TIMESTEPS)
    torch.testing.assert_close(ours, scheduler.add_noise(latents, noise, TIMESTEPS), rtol=1e-6, atol=1e-6)


def test_v_is_that_of_diffusers(curve: dict[str, object], latents: Tensor, noise: Tensor) -> None:
    scheduler = DDPMScheduler(**curve, prediction_type="v_prediction")
    ours = Diffusion.from_scheduler(scheduler).target(latents, noise, TIMESTEPS)
    torch.testing.assert_close(ours, scheduler.get_velocity(latents, noise, TIMESTEPS), rtol=1e-6, atol=1e-6)


def test_epsilon_is_the_noise(curve: dict[str, object], latents: Tensor, noise: Tensor) -> None:
    assert Diffusion.from_scheduler(DDPMScheduler(**curve)).target(latents, noise, TIMESTEPS) is noise


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weights_follow_the_paper(curve: dict[str, object], prediction: str) -> None:
    scheduler = DDPMScheduler(**curve, prediction_type=prediction)
    kept = scheduler.alphas_cumprod.double().numpy()[TIMESTEPS]
    snr = kept / (1 - kept)
    with np.errstate(invalid="ignore"):
        weight = np.minimum(snr, 5) / (snr if prediction == "epsilon" else snr + 1)
    expected = torch.from_numpy(np.where(snr == 0, 1.0 if prediction == "epsilon" else 0.0, weight)).float()
    ours = Diffusion.from_scheduler(scheduler).weight(TIMESTEPS, 5.0)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


def test_snr_is_that_of_diffusers(curve: dict[str, object]) -> None:
    scheduler = DDPMScheduler(**curve)
    ours = Diffusion.from_scheduler(scheduler).snr(TIMESTEPS)
    torch.testing.assert_close(ours, compute_snr(scheduler, TIMESTEPS), rtol=1e-6, atol=1e-6)


def test_without_min_snr_all_timesteps_weigh_alike(curve: dict[str, object]) -> None:
    assert Diffusion.from_scheduler(DDPMScheduler(**curve)).weight(TIMESTEPS, None).tolist() == [1.0] * 6


def test_weights_are_finite_at_zero_terminal_snr() -> None:
    for prediction in ("epsilon", "v_prediction"):
        scheduler = DDPMScheduler(**CURVES["zero terminal snr"], prediction_type=prediction)
        noise = Diffusion.from_scheduler(scheduler)
        assert noise.snr(torch.tensor([999])).item() == 0
        assert noise.weight(torch.arange(1000), 5.0).isfinite().all()


def test_evenly_spread_numbers_give_every_timestep_once() -> None:
    noise = Diffusion.from_scheduler(DDPMScheduler())
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    assert noise.timestep(u).tolist() == list(range(1000))
    assert noise.timestep(torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).tolist() == [0, 999]


def test_a_sampler_that_bends_the_last_step_does_not_bend_training() -> None:
    sampler = EulerDiscreteScheduler(**CURVES["zero terminal snr"], prediction_type="v_prediction")
    assert sampler.alphas_cumprod[-1] > 0
    assert Diffusion.from_scheduler(sampler).alphas_cumprod[-1] == 0


def test_other_predictions_are_refused() -> None:
    with pytest.raises(Unsupported, match="prediction_type is 'sample'"):
        Diffusion.from_scheduler(DDPMScheduler(prediction_type="sample"))
