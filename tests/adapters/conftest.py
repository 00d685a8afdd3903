"""Tiny random models of the real classes."""

from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel


def tiny_unet() -> nn.Module:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=12,
        norm_num_groups=4,
    ).eval()


def tiny_text_encoder() -> nn.Module:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=40,
        hidden_size=12,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        projection_dim=12,
        bos_token_id=38,
        eos_token_id=39,
        pad_token_id=39,
    )
    return CLIPTextModel(config).eval()


@pytest.fixture
def models() -> dict[str, nn.Module]:
    """A UNet of 0.1 M parameters and its text encoder, by the names they have in adapter files."""
    return {"unet": tiny_unet(), "text_encoder": tiny_text_encoder()}


@pytest.fixture
def predict() -> Callable[..., torch.Tensor]:
    """The noise that a UNet and a text encoder predict for the rows of a fixed batch of four."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(4, 4, 8, 8, generator=generator)
    tokens = torch.randint(0, 38, (4, 8), generator=generator)
    times = torch.tensor([10, 300, 600, 990])

    def run(models: dict[str, nn.Module], rows: slice = slice(0, 4)) -> torch.Tensor:
        text = models["text_encoder"](tokens[rows]).last_hidden_state
        return models["unet"](latents[rows], times[rows], text).sample

    return run
