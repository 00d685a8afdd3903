"""The transformer of pocket-flux, before it has learnt anything."""

from collections.abc import Iterable

from diffusers import FluxTransformer2DModel
from torch import nn

WIDTH = 256  # of its tokens, of what T5 tells of each token of a text, and of what CLIP tells of the text
CHANNELS = 48  # of an image token: 2 x 2 places of 12 latent channels
SIDE = 8  # image tokens on each side of a picture


def architecture() -> FluxTransformer2DModel:
    """Without an embedding of guidance: guidance is the real one, between the prompt and the empty prompt."""
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=CHANNELS,
        num_layers=4,
        num_single_layers=3,
        attention_head_dim=64,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(8, 28, 28),
    )
    for layer in silent(model):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model


def silent(model: FluxTransformer2DModel) -> Iterable[nn.Linear]:
    """The layers that begin at zero, so that every block begins as the identity (adaLN-Zero, Peebles and Xie 2023)."""
    for block in model.transformer_blocks:
        yield from (block.norm1.linear, block.norm1_context.linear)
    for block in model.single_transformer_blocks:
        yield block.norm.linear
    yield from (model.norm_out.linear, model.proj_out)
