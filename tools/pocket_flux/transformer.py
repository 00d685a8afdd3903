"""Train pocket-flux's transformer on the latents of all drawings, with both text encoders frozen.

    python -m tools.pocket_flux.transformer --steps 7500

Flow matching (Lipman et al. 2023, rectified flow): x_t = (1 - t) x_0 + t noise, and the transformer tells noise - x_0.
Caption embeddings are computed once and kept under `build/pocket_flux`; the training itself resumes from
`build/pocket_flux/transformer.safetensors`.
"""

import argparse

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn

from tools.pocket import state, unet
from tools.pocket.trainer import Trainer
from tools.pocket_flux import parts, t5
from tools.pocket_flux.architecture import CHANNELS, SIDE, architecture

STATE = parts.FOLDER / "transformer.safetensors"
BATCH = 16
RATE = 1.5e-3
CHECKED = (1.0, 0.9, 0.7, 0.4, 0.15)


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False)


def packed(latents: Tensor) -> Tensor:
    """Latents [batch, c, h, w] as image tokens [batch, h / 2 * w / 2, 4 c]."""
    return FluxPipeline._pack_latents(latents, *latents.shape)


@torch.no_grad()
def embeddings() -> dict[str, Tensor]:
    """For each prepared row "pictures", its picture's number [rows], and of its caption "tokens" [rows + 1, 28, width]
    and "pooled" [rows + 1, width] in fp16. The last embedding is that of the empty caption.
    """
    path = parts.FOLDER / "embeddings.safetensors"
    if not path.is_file():
        encoder, clip, (chosen, texts) = t5.trained(), parts.clip(), unet.captioned()
        batches = unet.batched([*texts, ""], 64)
        tokens = [encoder(input_ids=t5.tokenize(some)).last_hidden_state.half() for some in batches]
        pooled = [parts.pooled(clip, some).half() for some in batches]
        tensors = {"pictures": torch.from_numpy(chosen), "tokens": torch.cat(tokens), "pooled": torch.cat(pooled)}
        state.save(path, embeddings=tensors)
    return state.load(path)["embeddings"]


def timesteps(generator: np.random.Generator, count: int) -> Tensor:
    """Times [count] with a density of 2 t on 0..1: what to draw is decided at high noise, and is learnt last."""
    return torch.from_numpy(np.sqrt(generator.random(count)))


class Data:
    """The prepared data."""

    def __init__(self) -> None:
        self.latents = unet.latents(parts.FOLDER, parts.autoencoder)
        stored = embeddings()
        self.pictures, self.tokens, self.pooled = stored["pictures"], stored["tokens"], stored["pooled"]
        self.image_ids = FluxPipeline._prepare_latent_image_ids(1, SIDE, SIDE, torch.device("cpu"), torch.float32)
        self.text_ids = torch.zeros(self.tokens.shape[1], 3)

    def error(self, model: nn.Module, rows: Tensor, texts: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """The squared error [batch] of the flow told for the pictures of `rows` at `times`, by the captions `texts`."""
        clean = packed(self.latents[self.pictures[rows]].float())
        t = times.float()[:, None, None]
        told = model(
            hidden_states=(1 - t) * clean + t * noise,
            encoder_hidden_states=self.tokens[texts].float(),
            pooled_projections=self.pooled[texts].float(),
            timestep=times.float(),
            img_ids=self.image_ids,
            txt_ids=self.text_ids,
        ).sample
        return (told - (noise - clean)).square().mean((1, 2))

    def loss(self, model: nn.Module, step: int) -> Tensor:
        generator = np.random.default_rng((2, step))
        rows = torch.from_numpy(generator.integers(0, len(self.pictures), BATCH))
        dropped = torch.from_numpy(generator.random(BATCH) < unet.CAPTION_DROPOUT)
        texts = torch.where(dropped, len(self.pictures), rows)
        return self.error(model, rows, texts, timesteps(generator, BATCH), self.noise(generator, BATCH)).mean()

    def noise(self, generator: np.random.Generator, count: int) -> Tensor:
        return torch.from_numpy(generator.standard_normal((count, SIDE**2, CHANNELS), np.float32))

    @torch.no_grad()
    def check(self, model: nn.Module) -> str:
        """The error at CHECKED times on the same 64 rows; at 1 only the caption tells anything of the picture."""
        generator = np.random.default_rng(3)
        rows = torch.from_numpy(generator.integers(0, len(self.pictures), 64))
        noise = self.noise(generator, 64)
        errors = {t: self.error(model, rows, rows, torch.full((64,), t), noise).mean() for t in CHECKED}
        return "error " + ", ".join(f"{error:.4f} at {t}" for t, error in errors.items())


def train(steps: int) -> None:
    torch.manual_seed(0)
    data, model = Data(), architecture()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    Trainer(model, data.loss, optimizer, STATE, steps).run(BATCH, data.check)


def averaged() -> FluxTransformer2DModel:
    """The transformer as trained so far, with averaged weights."""
    model = architecture()
    model.load_state_dict(state.load(STATE)["average"])
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=7500)
    train(parser.parse_args().steps)


if __name__ == "__main__":
    main()
