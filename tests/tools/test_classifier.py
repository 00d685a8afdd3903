"""The style classifier must learn how pictures are made, and nothing of where things lie in them."""

import numpy as np
import pytest
import torch

from tools.reports.classifier import StyleClassifier, latent_statistics, pixel_statistics, statistics


def made(mixing: torch.Tensor, offset: float, count: int, seed: int) -> tuple[np.ndarray, torch.Tensor]:
    """Grey pictures and latents whose channels are mixed in one way, so that only covariances and means tell."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.einsum("dc,nchw->ndhw", mixing, torch.randn(count, 3, 8, 8, generator=generator)) + offset
    return np.full((count, 64, 64, 3), 128, dtype=np.uint8), latents


STYLES = {
    "plain": (torch.eye(3), 0.0),
    "mixed": (torch.tensor([[1.0, 0.8, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), 0.0),
    "moved": (torch.eye(3), 0.7),
}


def fitted() -> StyleClassifier:
    return StyleClassifier.fitted(
        {name: statistics(*made(*how, count=40, seed=number)) for number, (name, how) in enumerate(STYLES.items())}
    )


def test_styles_are_told_apart_on_pictures_not_fitted() -> None:
    classifier = fitted()
    for number, (name, how) in enumerate(STYLES.items()):
        told = classifier(statistics(*made(*how, count=40, seed=100 + number)))
        assert told.count(name) >= 38, name  # 64 places are few: 2 of 40 may look like another style by chance


def test_the_same_examples_give_the_same_classifier() -> None:
    assert torch.equal(fitted().weight, fitted().weight)


def test_statistics_know_no_layout() -> None:
    generator = np.random.default_rng(0)
    latents = torch.from_numpy(generator.normal(size=(4, 5, 8, 8)))
    order = torch.from_numpy(generator.permutation(64))
    moved = latents.flatten(2)[..., order].unflatten(2, (8, 8))
    torch.testing.assert_close(latent_statistics(moved), latent_statistics(latents))  # float64: sums in another order


def test_latent_statistics_are_means_and_covariances() -> None:
    latents = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    computed = latent_statistics(latents)
    assert computed.shape == (2, 3 + 6)
    torch.testing.assert_close(computed[1, :3], latents[1].mean((1, 2)))
    expected = torch.cov(latents[1].flatten(1), correction=0)
    torch.testing.assert_close(computed[1, 3:], expected[*torch.triu_indices(3, 3)])


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (np.zeros((64, 64, 3)), [0.0, 1.0, 0.0]),
        (np.full((64, 64, 3), 255), [0.0, 0.0, 0.0]),
        (np.broadcast_to([255, 0, 0], (64, 64, 3)), [1.0, 0.0, 0.0]),
        (np.broadcast_to(np.array([0, 255])[np.arange(64) % 2][None, :, None], (64, 64, 3)), [0.0, 0.5, 1.0]),
    ],
    ids=["black", "white", "red", "stripes"],
)
def test_pixel_statistics_are_saturation_darkness_and_edges(picture: np.ndarray, expected: list[float]) -> None:
    assert pixel_statistics(picture.astype(np.uint8)[None])[0].tolist() == pytest.approx(expected)
