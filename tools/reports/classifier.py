"""What style a picture is drawn in: a linear classifier on statistics that know no layout.

The statistics say nothing about where anything is, only how a picture is made: means and covariances of the
latent channels over all places, saturation, share of dark and strength of edges.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

DARK = 0.25  # brightness below which a pixel is dark
PENALTY = 1e-3  # on the squared weights; the classes are far apart, and without it the weights would grow for ever
ROUNDS = 200


def statistics(pictures: np.ndarray, latents: torch.Tensor) -> torch.Tensor:
    """Statistics [n, f] of RGB bytes [n, height, width, 3] and their latents [n, c, h, w]."""
    return torch.cat([latent_statistics(latents), pixel_statistics(pictures)], dim=1)


def latent_statistics(latents: torch.Tensor) -> torch.Tensor:
    """Mean of each channel and covariance of each pair, over all places: [n, c + c (c + 1) / 2]."""
    flat = latents.double().flatten(2)
    means = flat.mean(2)
    centred = flat - means[..., None]
    covariances = centred @ centred.mT / flat.shape[2]
    rows, columns = torch.triu_indices(flat.shape[1], flat.shape[1])
    return torch.cat([means, covariances[:, rows, columns]], dim=1)


def pixel_statistics(pictures: np.ndarray) -> torch.Tensor:
    """Mean saturation, share of dark pixels and mean strength of edges: [n, 3]."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).double() / 255
    saturation = pixels.amax(3) - pixels.amin(3)
    brightness = pixels.mean(3)
    dark = brightness < DARK
    edges = brightness.diff(dim=1).abs().mean((1, 2)) + brightness.diff(dim=2).abs().mean((1, 2))
    return torch.stack([saturation.mean((1, 2)), dark.double().mean((1, 2)), edges], dim=1)


@dataclass(frozen=True)
class StyleClassifier:
    """Logistic regression over statistics that were brought to mean 0 and standard deviation 1."""

    styles: tuple[str, ...]
    mean: torch.Tensor
    deviation: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def fitted(cls, examples: dict[str, torch.Tensor]) -> "StyleClassifier":
        """Fit to the statistics [n, f] of each style; the same examples always give the same classifier."""
        values = torch.cat(list(examples.values()))
        labels = torch.cat([torch.full((len(part),), index) for index, part in enumerate(examples.values())])
        mean, deviation = values.mean(0), values.std(0).clamp_min(1e-9)
        weight, bias = logistic_regression((values - mean) / deviation, labels, len(examples))
        return cls(tuple(examples), mean, deviation, weight, bias)

    def __call__(self, values: torch.Tensor) -> list[str]:
        """The style of each row of statistics [n, f]."""
        scores = (values - self.mean) / self.deviation @ self.weight.T + self.bias
        return [self.styles[index] for index in scores.argmax(1).tolist()]


def logistic_regression(values: torch.Tensor, labels: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [classes, f] and biases [classes] that minimise cross-entropy plus PENALTY times the squared weights."""
    weight = torch.zeros(classes, values.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(values @ weight.T + bias, labels) + PENALTY * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()
