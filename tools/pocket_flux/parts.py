"""What pocket-flux takes over from the pocket that ships: its autoencoder, and its text encoder as Flux's CLIP."""

import functools
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

import lorastyle
from tools.pocket import packages

POCKET = Path(lorastyle.__file__).parent / "bases" / "pocket"
FOLDER = packages.BUILD / "pocket_flux"


def autoencoder() -> AutoencoderKL:
    """Its latents have mean 0 and standard deviation 1 already; Flux wants the shift said."""
    model = AutoencoderKL.from_pretrained(POCKET / "vae").eval()
    model.register_to_config(shift_factor=0.0)
    return model


@functools.cache
def clip_tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(POCKET / "tokenizer")


def clip() -> CLIPTextModel:
    return CLIPTextModel.from_pretrained(POCKET / "text_encoder").eval()


@torch.no_grad()
def pooled(encoder: CLIPTextModel, texts: list[str]) -> Tensor:
    """What the encoder says of each text at its end [batch, 256]: where it was trained to say all that it names."""
    ids = clip_tokenizer()(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return encoder(ids).pooler_output
