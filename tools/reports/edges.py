"""What a picture shows, by its edges: compares drawings of different styles, lines with filled shapes.

A map holds, for each cell, how much edge runs in each of four directions (histograms of oriented gradients, Dalal
and Triggs 2005, without their blocks). Three things make a line drawing and a filled one comparable: a direction
counts the same from dark to light as from light to dark; the blur merges the two edges of a line into one; and
strengths are squashed, so that grey on white weighs almost as much as black on white. Of the drawings of Fluent
Emoji High Contrast 98 % find their own concept among the two base styles of all concepts in this way; without
directions it is 92 %.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

BLUR = 2.0  # standard deviation in pixels of a 128-pixel picture, about half the width of a line
HALF_STRENGTH = 0.08  # the gradient (of pixels in 0..1) that counts half as much as the strongest
FLOOR = 0.02  # weaker gradients are noise
GRID = 32  # cells on each side
DIRECTIONS = 4
SCALES = (0.88, 1.0, 1.14)
SHIFTS = (-2, -1, 0, 1, 2)  # cells


def edge_maps(pictures: np.ndarray) -> torch.Tensor:
    """Edge maps [n, DIRECTIONS, GRID, GRID] of RGB bytes [n, side, side, 3]; the side is a multiple of GRID."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    across, down = gradients(blurred(pixels, BLUR * pixels.shape[-1] / 128))
    strength = (across.square() + down.square()).sqrt()
    weight = torch.where(strength > FLOOR, strength / (strength + HALF_STRENGTH), 0)
    doubled = 2 * torch.atan2(down, across)  # so that opposite directions are one
    turns = [2 * math.pi * k / DIRECTIONS for k in range(DIRECTIONS)]
    channels = torch.cat([torch.cos(doubled - turn).clamp_min(0) * weight for turn in turns], dim=1)
    return blurred(F.avg_pool2d(channels, pixels.shape[-1] // GRID), 1.0)


def gradients(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences across and down, each [n, 1, h, w], in the colour channel where they are strongest."""
    across = F.pad(pixels[..., 2:] - pixels[..., :-2], (1, 1, 0, 0))
    down = F.pad(pixels[..., 2:, :] - pixels[..., :-2, :], (0, 0, 1, 1))
    strongest = (across.square() + down.square()).argmax(1, keepdim=True)
    return across.gather(1, strongest), down.gather(1, strongest)


def blurred(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of [n, c, h, w] with the border repeated outwards."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    flat = pixels.flatten(0, 1)[:, None]
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel[None, None, None])
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel[None, None, :, None])
    return flat.reshape(pixels.shape)


def nearest(pictures: np.ndarray, drawings: np.ndarray) -> np.ndarray:
    """Index [n] of the drawing whose edge map is most like each picture's.

    Likeness is the cosine between the maps, at the best of SCALES and SHIFTS of the picture's.
    """
    theirs = normalised(edge_maps(drawings))
    return torch.cat([likeness(part, theirs).argmax(1) for part in edge_maps(pictures).split(16)]).numpy()


def likeness(maps: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The best cosine [n, m] of `maps` [n, d, g, g] under any shift and scale with the unit vectors `theirs` [m, f]."""
    best = torch.full((len(maps), len(theirs)), -1.0)
    for scale in SCALES:
        scaled = rescaled(maps, scale)
        for right in SHIFTS:
            for down in SHIFTS:
                best = torch.maximum(best, normalised(shifted(scaled, right, down)) @ theirs.T)
    return best


def rescaled(maps: torch.Tensor, scale: float) -> torch.Tensor:
    """`maps` [n, d, g, g] enlarged `scale` times about the middle, with nothing outside."""
    matrix = torch.tensor([[1 / scale, 0, 0], [0, 1 / scale, 0]]).expand(len(maps), 2, 3)
    places = F.affine_grid(matrix, list(maps.shape), align_corners=False)
    return F.grid_sample(maps, places, align_corners=False)


def shifted(maps: torch.Tensor, right: int, down: int) -> torch.Tensor:
    """`maps` moved by whole cells, with nothing where they came from."""
    return F.pad(maps, (right, -right, down, -down))


def normalised(maps: torch.Tensor) -> torch.Tensor:
    """`maps` as unit vectors [n, f]; an empty map stays zero."""
    return F.normalize(maps.flatten(1), dim=1, eps=1e-6)
