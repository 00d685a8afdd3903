"""pocket-flux's first weights: before any training it tells what a linear reading of the captions tells."""

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor

from tools.pocket_flux import beginning
from tools.pocket_flux.architecture import CHANNELS, SIDE, WIDTH, architecture

pytestmark = pytest.mark.slow  # half a minute of linear algebra


@pytest.fixture(scope="module")
def captions() -> Tensor:
    """As many as it takes to tell the 256 numbers of a caption apart."""
    return torch.randn(1200, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def pictures(captions: Tensor) -> Tensor:
    """Latents of variance 1 that follow linearly from ten directions of the captions."""
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(10, SIDE * SIDE * CHANNELS, generator=generator) / 10**0.5
    return (captions[:, :10] @ mixing).unflatten(1, (SIDE * SIDE, CHANNELS))


@pytest.fixture(scope="module")
def model(captions: Tensor, pictures: Tensor) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    made = architecture()
    beginning.begin(made, captions, pictures)
    return made


@torch.no_grad()
def flow(model: FluxTransformer2DModel, noisy: Tensor, captions: Tensor, time: float) -> Tensor:
    return model(
        hidden_states=noisy,
        encoder_hidden_states=torch.randn(len(noisy), 28, WIDTH, generator=torch.Generator().manual_seed(3)),
        pooled_projections=captions,
        timestep=torch.full((len(noisy),), time),
        img_ids=FluxPipeline._prepare_latent_image_ids(1, SIDE, SIDE, torch.device("cpu"), torch.float32),
        txt_ids=torch.zeros(28, 3),
    ).sample


def test_from_noise_alone_it_tells_the_picture(
    model: FluxTransformer2DModel, captions: Tensor, pictures: Tensor
) -> None:
    noise = torch.randn(8, SIDE * SIDE, CHANNELS, generator=torch.Generator().manual_seed(4))
    told = noise - flow(model, noise, captions[:8], 1.0)
    # 28 products for 64 places leave a part of so random a picture untold, as do MLPs that forgive a shaken place.
    assert (told - pictures[:8]).square().mean() < 0.15 * pictures[:8].square().mean()
    assert (told - pictures[8:16]).square().mean() > pictures[:8].square().mean()  # of another caption


def test_what_it_was_given_for_the_reading_learns_nothing(model: FluxTransformer2DModel, captions: Tensor) -> None:
    beginning.keep_reading(model)
    told = model(
        hidden_states=torch.randn(2, SIDE * SIDE, CHANNELS),
        encoder_hidden_states=torch.randn(2, 28, WIDTH),
        pooled_projections=captions[:2],
        timestep=torch.ones(2),
        img_ids=FluxPipeline._prepare_latent_image_ids(1, SIDE, SIDE, torch.device("cpu"), torch.float32),
        txt_ids=torch.zeros(28, 3),
    ).sample
    told.square().mean().backward()
    last = model.transformer_blocks[0].ff.net[2].weight.grad
    assert last is not None
    assert not last[beginning.READING].any()
    assert model.transformer_blocks[0].norm1.linear.weight.grad.any()
