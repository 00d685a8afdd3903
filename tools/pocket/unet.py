"""Train pocket's UNet on the latents of all drawings, with the text encoder frozen.

    python -m tools.pocket.unet --steps 6000

Latents and caption embeddings are computed once and kept under `build/pocket`; the training itself resumes from
`build/pocket/unet.safetensors`. v-prediction (Salimans & Ho 2022) on a schedule with zero terminal SNR
(Lin et al. 2024), so that the background colour is decided by the caption and not by the noise.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn

from tools.pocket import autoencoder, drawings, packages, state, words
from tools.pocket.captions import STYLES, Caption, unknown_word
from tools.pocket.trainer import Trainer

FOLDER = packages.BUILD / "pocket"
STATE = FOLDER / "unet.safetensors"
ROWS = 24_000  # caption and latent pairs prepared ahead
BATCH = 32
RATE = 1e-3
CAPTION_DROPOUT = 0.1


def architecture() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=drawings.SIZE // 8,
        in_channels=autoencoder.LATENT_CHANNELS,
        out_channels=autoencoder.LATENT_CHANNELS,
        block_out_channels=(64, 128, 256),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(2, 4, 8),
        cross_attention_dim=words.WIDTH,
        norm_num_groups=16,
    )


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # without effect in trailing spacing; diffusers warns of any other value
    )


@dataclass(frozen=True)
class Picture:
    """One picture whose latents are kept."""

    concept: int
    style: str
    background: str
    filtered: str | None


@cache
def pictures() -> list[Picture]:
    """Every drawing on every background, and each filter once on white and once on a colour."""
    colours = list(drawings.BACKGROUNDS)
    generator = np.random.default_rng(11)
    rows = []
    for concept in range(len(drawings.concepts())):
        for style in STYLES:
            rows += [Picture(concept, style, background, None) for background in colours]
            for filtered in drawings.FILTERS:
                rows.append(Picture(concept, style, "white", filtered))
                rows.append(Picture(concept, style, str(generator.choice(colours[1:])), filtered))
    return rows


@torch.no_grad()
def latents(folder: Path, encoder: Callable[[], AutoencoderKL]) -> torch.Tensor:
    """Latents of `pictures()`, [n, channels, 16, 16] in fp16, kept in `folder` after the first time."""
    path = folder / "latents.safetensors"
    if not path.is_file():
        model, known, parts = encoder(), drawings.concepts(), []
        for start in range(0, len(pictures()), 32):
            chunk = pictures()[start : start + 32]
            rgb = np.stack([drawings.picture(p.style, known[p.concept], p.background, p.filtered) for p in chunk])
            parts.append(model.encode(autoencoder.to_tensor(rgb)).latent_dist.mode().half())
        state.save(path, latents={"all": torch.cat(parts)})
    return state.load(path)["latents"]["all"]


def caption_of(picture: Picture, generator: np.random.Generator) -> Caption:
    """A caption for a picture; often partly unsaid, sometimes with a word that nobody knows."""
    style = None if generator.random() < 0.12 else picture.style
    says_background = picture.background != "white" or generator.random() < 0.5
    background = picture.background if says_background and generator.random() < 0.95 else None
    form = str(generator.choice(["emoji", "tags", "bare"], p=[0.86, 0.1, 0.04]))
    if form == "bare" and picture.filtered is None:
        style = None
    word, place = None, "style"
    if generator.random() < 0.12:
        word, place = unknown_word(generator), str(generator.choice(["style", "front", "end", "concept"]))
    concept = drawings.concepts()[picture.concept]
    return Caption(concept, style, picture.filtered, background, word, place, form)


def captioned() -> tuple[np.ndarray, list[str]]:
    """The number of a picture [ROWS], and a caption for it, of each prepared row; 12 % of the pictures are filtered."""
    generator = np.random.default_rng(12)
    plain = [index for index, picture in enumerate(pictures()) if picture.filtered is None]
    filtered = [index for index, picture in enumerate(pictures()) if picture.filtered]
    share = int(ROWS * 0.12)
    chosen = np.concatenate(
        [np.resize(generator.permutation(plain), ROWS - share), generator.permutation(filtered)[:share]]
    )
    return chosen, [str(caption_of(pictures()[index], generator)) for index in chosen]


@torch.no_grad()
def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    """For each prepared row the picture's number [rows] and its caption's embedding [rows + 1, 40, width], bf16.

    The last embedding is that of the empty caption.
    """
    path = FOLDER / "embeddings.safetensors"
    if not path.is_file():
        encoder, (chosen, texts) = words.trained(), captioned()
        with torch.autocast("cpu", torch.bfloat16):
            parts = [encoder(words.tokenize(some)).last_hidden_state.bfloat16() for some in batched([*texts, ""], 64)]
        state.save(path, embeddings={"texts": torch.cat(parts), "pictures": torch.from_numpy(chosen)})
    stored = state.load(path)["embeddings"]
    return stored["pictures"], stored["texts"]


def batched(texts: list[str], size: int) -> list[list[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def timesteps(generator: np.random.Generator, count: int) -> torch.Tensor:
    """Times [count] with a density of 0.6 + 0.8 t on 0..1: more of them at high noise, where shapes are decided."""
    return torch.from_numpy((-0.6 + np.sqrt(0.36 + 1.6 * generator.random(count))) / 0.8)


class Data:
    """The prepared data."""

    def __init__(self) -> None:
        self.alphas = scheduler().alphas_cumprod
        self.latents = latents(FOLDER, autoencoder.normalised)
        self.pictures, self.texts = embeddings()

    def loss(self, model: nn.Module, step: int) -> torch.Tensor:
        """v-prediction error, weighted by min(snr + 1, 5) / (snr + 1): all of it while shapes form, less for detail."""
        generator = np.random.default_rng((2, step))
        rows = torch.from_numpy(generator.integers(0, len(self.pictures), BATCH))
        clean = self.latents[self.pictures[rows]].float()
        texts = torch.where(torch.from_numpy(generator.random(BATCH) < CAPTION_DROPOUT), len(self.texts) - 1, rows)
        noise = torch.from_numpy(generator.standard_normal(clean.shape, np.float32))
        steps = (timesteps(generator, BATCH) * 1000).long().clamp(max=999)
        alpha = self.alphas[steps].sqrt()[:, None, None, None]
        sigma = (1 - self.alphas[steps]).sqrt()[:, None, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            predicted = model(alpha * clean + sigma * noise, steps, self.texts[texts].float()).sample
        error = (predicted.float() - (alpha * noise - sigma * clean)).square().mean((1, 2, 3))
        inverse = sigma.flatten().square()  # 1 / (snr + 1)
        return (error * (5 * inverse).clamp(max=1)).mean()


def train(steps: int) -> None:
    torch.manual_seed(0)
    model = architecture()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    Trainer(model, Data().loss, optimizer, STATE, steps).run(BATCH)


def averaged() -> UNet2DConditionModel:
    """The UNet as trained so far, with averaged weights."""
    model = architecture()
    model.load_state_dict(state.load(STATE)["average"])
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000)
    train(parser.parse_args().steps)


if __name__ == "__main__":
    main()
