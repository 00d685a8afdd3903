"""Latents as the tokens of transformers that read them in blocks of 2 x 2."""

from torch import Tensor


def packed_count(latents: Tensor) -> int:
    """Into how many tokens latents [batch, c, h, w] are packed."""
    return latents.shape[2] * latents.shape[3] // 4


def packed(latents: Tensor) -> Tensor:
    """Latents [batch, c, h, w] as tokens [batch, h / 2 * w / 2, 4 c]."""
    batch, channels, height, width = latents.shape
    blocks = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, packed_count(latents), 4 * channels)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens [batch, height * width, 4 c] as latents [batch, c, 2 height, 2 width]."""
    blocks = tokens.reshape(len(tokens), height, width, -1, 2, 2)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, 2 * height, 2 * width)
