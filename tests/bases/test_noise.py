import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_snr
from torch import Tensor

from lorastyle.bases.noise import Diffusion, Flow
from lorastyle.errors import BadInput, Unsupported

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
    assert noise.timestep(u, torch.zeros(1000, 4, 8, 8)).tolist() == list(range(1000))
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert noise.timestep(ends, torch.zeros(2, 4, 8, 8)).tolist() == [0, 999]


def test_a_sampler_that_bends_the_last_step_does_not_bend_training() -> None:
    sampler = EulerDiscreteScheduler(**CURVES["zero terminal snr"], prediction_type="v_prediction")
    assert sampler.alphas_cumprod[-1] > 0
    assert Diffusion.from_scheduler(sampler).alphas_cumprod[-1] == 0


def test_other_predictions_are_refused() -> None:
    with pytest.raises(Unsupported, match="prediction_type is 'sample'"):
        Diffusion.from_scheduler(DDPMScheduler(prediction_type="sample"))


# Flow matching


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_corrupts_as_diffusers_does(latents: Tensor, noise: Tensor, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    timesteps = scheduler.timesteps[[0, 10, 500, 900, 990, 999]]
    ours = Flow().corrupt(latents, noise, timesteps)
    torch.testing.assert_close(ours, scheduler.scale_noise(latents, timesteps, noise), rtol=1e-6, atol=1e-6)


def test_flow_aims_from_the_picture_to_the_noise(latents: Tensor, noise: Tensor) -> None:
    """The velocity is the derivative of the noised latents by sigma: a step of it leads from one time to another."""
    flow, times = Flow(), torch.full((6,), 200.0)
    here, there = flow.corrupt(latents, noise, times), flow.corrupt(latents, noise, times + 300)
    torch.testing.assert_close(here + 0.3 * flow.target(latents, noise, times), there, rtol=1e-5, atol=1e-5)


def test_logit_normal_times_are_distributed_as_in_diffusers(latents: Tensor) -> None:
    """Quantiles of 200,000 draws; each has a standard error of at most 0.001 of the whole."""
    generator = torch.Generator().manual_seed(0)
    drawn = compute_density_for_timestep_sampling(
        "logit_normal", 200_000, logit_mean=0.0, logit_std=1.0, generator=generator
    )
    u = torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98], dtype=torch.float64)
    ours = Flow("logit_normal").timestep(u, latents) / 1000
    torch.testing.assert_close(ours, torch.quantile(drawn, u.float()), rtol=0, atol=0.004)


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
def test_uniform_times_are_shifted_as_those_of_the_sampler(latents: Tensor, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    plain = torch.from_numpy(np.linspace(1, 1000, 1000)[::-1].copy() / 1000)
    ours = Flow("uniform", lambda latents: shift).timestep(plain, latents)
    torch.testing.assert_close(ours, scheduler.timesteps, rtol=1e-6, atol=1e-3)  # of 1000


def test_flow_weighs_by_how_often_it_trains() -> None:
    times = torch.tensor([0.0, 500.0, 1000.0])
    assert Flow().weight(times, None).tolist() == [1.0] * 3
    with pytest.raises(BadInput, match=r"recipe.min_snr: it is 5, but flow matching weighs"):
        Flow().weight(times, 5.0)
