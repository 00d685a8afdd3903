"""The regions of a picture that the tokens at and after the end of its caption tell of."""

import torch
from torch import Tensor

GRID = 4  # regions on each side of a picture


def regions(latents: Tensor) -> Tensor:
    """Latents [batch, c, h, w] as the numbers of 4 x 4 regions, row by row: [batch, 16, c * h / 4 * w / 4]."""
    batch, channels, height, width = latents.shape
    blocks = latents.reshape(batch, channels, GRID, height // GRID, GRID, width // GRID)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, GRID * GRID, -1)


def places(ids: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """In which token of `ids` [batch, tokens] each region is told, and whether the text leaves room for it, each
    [batch, 16]: the first in the token `end`, the others in those after it."""
    ends = (ids == end).int().argmax(1)
    numbers = ends[:, None] + torch.arange(GRID * GRID)
    return numbers.clamp(max=ids.shape[1] - 1), numbers < ids.shape[1]


def taken(states: Tensor, numbers: Tensor) -> Tensor:
    """The states [batch, tokens, width] of the tokens numbered [batch, n]: [batch, n, width]."""
    return states.gather(1, numbers[..., None].expand(-1, -1, states.shape[2]))
