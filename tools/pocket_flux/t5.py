"""Train pocket-flux's T5 encoder, alone and before the transformer.

    python -m tools.pocket_flux.t5

The end of the text and the 15 tokens after it, mostly padding, are asked for one of 4 x 4 regions each of the picture
that the caption describes: its latents, linearly, in the same way for all regions. An image token of the transformer
would then have but to find the token of its own region; tokens that all say the same help it less, because attention
gives the same mean of equal things at every place. How far that went stands in the README. The end and a token after
it also tell what the caption names, as in `tools/pocket/words.py`.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from tools.pocket import autoencoder, drawings, state, unet, words
from tools.pocket_flux import parts
from tools.pocket_flux.regions import GRID, places, regions, taken
from tools.pocket_flux.tokens import TOKENS, tokenizer

STATE = parts.FOLDER / "t5.safetensors"
WIDTH = words.WIDTH
REGION = autoencoder.LATENT_CHANNELS * (drawings.SIZE // 8 // GRID) ** 2  # numbers in the latents of one
BATCH = 64
FILTERED = 0.12  # share of the pictures, as in the UNet's training
DRAWN = 8.0  # weight of the regions


def tokenize(texts: list[str]) -> Tensor:
    """Token ids [batch, 28], padded behind the end token; the padding is read like any other token."""
    return tokenizer()(texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids


def architecture() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer()),
            d_model=WIDTH,
            d_kv=32,
            num_heads=8,
            d_ff=704,
            num_layers=3,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            relative_attention_num_buckets=64,  # each distance below 16 by itself, so that a token can count
            relative_attention_max_distance=64,
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


class Loss:
    """How badly the encoder's output tells of pictures and captions drawn anew for each step."""

    def __init__(self, latents: Tensor) -> None:
        self.latents = latents
        every = unet.pictures()
        self.plain = [index for index, picture in enumerate(every) if picture.filtered is None]
        self.filtered = [index for index, picture in enumerate(every) if picture.filtered]

    def __call__(
        self, model: T5EncoderModel, readout: words.Readout, generator: np.random.Generator
    ) -> tuple[Tensor, float]:
        chosen = [
            int(generator.choice(self.filtered if generator.random() < FILTERED else self.plain)) for _ in range(BATCH)
        ]
        captions = [unet.caption_of(unet.pictures()[index], generator) for index in chosen]
        ids = tokenize([str(caption) for caption in captions])
        states = model(input_ids=ids).last_hidden_state
        ends = words.ending(ids, tokenizer().eos_token_id, generator)
        loss, right = words.reading_loss(readout, taken(states, ends), captions, tokenizer())
        numbers, room = places(ids, tokenizer().eos_token_id)
        drawn = F.mse_loss(readout.drawing(taken(states, numbers))[room], regions(self.latents[chosen].float())[room])
        return loss + DRAWN * drawn, right


def train(steps: int) -> None:
    torch.manual_seed(0)
    latents = unet.latents(parts.FOLDER, parts.autoencoder)
    words.train(steps, architecture(), words.Readout(REGION), Loss(latents), STATE)


def trained() -> T5EncoderModel:
    """The encoder as trained so far."""
    model = architecture()
    model.load_state_dict(state.load(STATE)["model"])
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    train(parser.parse_args().steps)


if __name__ == "__main__":
    main()
