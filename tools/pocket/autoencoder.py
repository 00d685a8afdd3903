"""Train pocket's autoencoder.

    python -m tools.pocket.autoencoder --steps 7000

It learns the drawings of both base styles, the high-contrast set and made-up lines, gradients and noise, so that
it can carry styles that the UNet has never seen. First on 64-pixel crops (many pictures a second), then on whole
pictures, because group normalisation sees other statistics there. Resumes by itself; the state lies in
`build/pocket/autoencoder.safetensors`.
"""

import argparse
import math
import time
from functools import cache

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageDraw, ImageFilter

from tools.pocket import drawings, packages, state

STATE = packages.BUILD / "pocket" / "autoencoder.safetensors"
LATENT_CHANNELS = 12
RATE = 2.5e-3
WHOLE = 0.35  # the last share of the steps sees whole pictures


def architecture() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=drawings.SIZE,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


@cache
def pools() -> dict[str, np.ndarray]:
    """RGBA pictures [n, 128, 128, 4] by kind, kept on disk after the first time."""
    path = packages.BUILD / "pocket" / "pools.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **draw_pools())
    with np.load(path) as stored:
        return {kind: stored[kind] for kind in stored.files}


def draw_pools() -> dict[str, np.ndarray]:
    known = drawings.concepts()
    pool = {s: np.stack([drawings.drawing(s, concept) for concept in known]) for s in (drawings.GLOSSY, drawings.FLAT)}
    taken = {concept.code for concept in known}
    others = []
    for style in (drawings.GLOSSY, drawings.FLAT):
        free = [
            name for point, name in sorted(drawings.names(style).items()) if point not in taken and "-" not in point
        ]
        others += [drawings.rasterise(drawings.svg(style, name), drawings.SIZE) for name in free[::2]]
    inked = sorted(drawings.names(drawings.INK).values())
    pool["others"] = np.stack(others)
    pool[drawings.INK] = np.stack(
        [drawings.rasterise(drawings.svg(drawings.INK, name), drawings.SIZE) for name in inked]
    )
    return pool


def made_up(generator: np.random.Generator) -> np.ndarray:
    """A picture of drawn lines, gradients or noise, RGB bytes [128, 128, 3]."""
    size = drawings.SIZE
    ends = generator.integers(0, 256, (2, 3))
    angle = generator.uniform(0, 2 * math.pi)
    grid = np.linspace(-1, 1, size)
    ramp = np.clip(0.5 + 0.5 * (grid[None] * math.cos(angle) + grid[:, None] * math.sin(angle)), 0, 1)[..., None]
    picture = Image.fromarray((ends[0] * ramp + ends[1] * (1 - ramp)).astype(np.uint8))
    if generator.random() < 0.5:
        picture = Image.new("RGB", (size, size), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(generator.integers(2, 14))):
        points = [tuple(point) for point in generator.integers(0, size, (int(generator.integers(2, 5)), 2)).tolist()]
        colour = (0, 0, 0) if generator.random() < 0.6 else tuple(generator.integers(0, 256, 3).tolist())
        draw.line(points, fill=colour, width=int(generator.integers(1, 6)), joint="curve")
    picture = picture.filter(ImageFilter.GaussianBlur(0.6))
    noise = generator.normal(0, generator.choice([0, 0, 6, 18]), (size, size, 3))
    return np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)


SHARES = {drawings.GLOSSY: 0.36, drawings.FLAT: 0.26, drawings.INK: 0.18, "others": 0.12, "made up": 0.08}


def picture(generator: np.random.Generator) -> np.ndarray:
    """One training picture, RGB bytes [128, 128, 3]."""
    kind = generator.choice(list(SHARES), p=list(SHARES.values()))
    if kind == "made up":
        return made_up(generator)
    pool = pools()[kind]
    rgba = pool[generator.integers(len(pool))]
    choice = generator.random()
    if choice < 0.4 or (kind == drawings.INK and choice < 0.7):
        colour = drawings.BACKGROUNDS["white"]
    elif choice < 0.85:
        colour = list(drawings.BACKGROUNDS.values())[generator.integers(len(drawings.BACKGROUNDS))]
    else:
        colour = tuple(generator.integers(0, 256, 3).tolist())
    return drawings.composite(rgba, colour)


def batch(seed: int, step: int, whole: bool) -> torch.Tensor:
    """The pictures of one step, [b, 3, h, w] in -1..1."""
    generator = np.random.default_rng((seed, step))
    side, count = (drawings.SIZE, 5) if whole else (drawings.SIZE // 2, 16)
    crops = []
    for _ in range(count):
        full = picture(generator)
        top, left = generator.integers(0, drawings.SIZE - side + 1, 2)
        crop = full[top : top + side, left : left + side]
        crops.append(crop[:, ::-1] if generator.random() < 0.5 else crop)
    return to_tensor(np.stack(crops))


def to_tensor(rgb: np.ndarray) -> torch.Tensor:
    """RGB bytes [b, h, w, 3] to pixels [b, 3, h, w] in -1..1."""
    return (torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def loss_of(model: AutoencoderKL, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Reconstruction loss (L1, squared, gradients) with a whisper of KL; and the mean squared error per picture."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = model.encode(pixels).latent_dist
        rebuilt = model.decode(posterior.sample()).sample
    rebuilt, difference = rebuilt.float(), rebuilt.float() - pixels
    edges = difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
    squared = difference.square().mean((1, 2, 3))
    loss = difference.abs().mean() + 0.5 * edges + 2 * squared.mean() + 1e-6 * posterior.kl().mean() / pixels[0].numel()
    return loss, squared.detach()


def psnr(squared: torch.Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB; errors are of pixels in -1..1 (peak 2)."""
    return float((10 * torch.log10(4 / squared)).mean())


@torch.no_grad()
def measure(model: AutoencoderKL, count: int = 48) -> dict[str, float]:
    """PSNR in dB of evenly chosen whole drawings on white, per set."""
    result = {}
    for kind in drawings.SETS:
        pool = pools()[kind][:: max(1, len(pools()[kind]) // count)][:count]
        pixels = to_tensor(drawings.composite(pool, (255, 255, 255)))
        rebuilt = torch.cat([model.decode(model.encode(part).latent_dist.mode()).sample for part in pixels.split(8)])
        result[kind] = round(psnr((rebuilt.clamp(-1, 1) - pixels).square().mean((1, 2, 3))), 2)
    return result


def train(steps: int, seed: int = 0) -> None:
    torch.manual_seed(seed)
    model = architecture()
    average = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
    start = 0
    if STATE.is_file():
        saved = state.load(STATE)
        start, average = int(saved["progress"]["step"]), saved["average"]
        model.load_state_dict(saved["model"])
        state.restore_optimizer(optimizer, saved["optimizer"])
    clock, errors = time.perf_counter(), []
    for step in range(start, steps):
        torch.manual_seed(step)
        rate = RATE * min(1, (step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, squared = loss_of(model, batch(seed, step, whole=step >= (1 - WHOLE) * steps))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - min(0.998, (step + 1) / (step + 10)))
        errors.append(psnr(squared))
        if (step + 1) % 100 == 0:
            speed = (time.perf_counter() - clock) / (step + 1 - start)
            print(
                f"step {step + 1} loss {loss.item():.4f} train {np.mean(errors[-100:]):.2f} dB {speed:.3f} s/step",
                flush=True,
            )
        if (step + 1) % 500 == 0 or step + 1 == steps:
            trees = {"model": model.state_dict(), "average": average, "optimizer": state.optimizer_state(optimizer)}
            state.save(STATE, progress={"step": step + 1}, **trees)
            probe = architecture()
            probe.load_state_dict(average)
            print(f"step {step + 1} whole drawings, averaged weights: {measure(probe.eval())}", flush=True)


def averaged() -> AutoencoderKL:
    """The autoencoder as trained so far, with averaged weights, its latents as they are learnt."""
    model = architecture()
    model.load_state_dict(state.load(STATE)["average"])
    return model.eval()


@torch.no_grad()
def normalised() -> AutoencoderKL:
    """The averaged autoencoder whose latents have mean 0 and standard deviation 1 in each channel.

    The normalisation is baked into the two 1 x 1 convolutions beside the latents, so that `scaling_factor` stays 1
    and nobody who loads the folder has to know of it.
    """
    model = averaged()
    known = np.concatenate([pools()[style][::3] for style in (drawings.GLOSSY, drawings.FLAT)])
    colours = list(drawings.BACKGROUNDS.values())
    pixels = np.stack([drawings.composite(rgba, colours[row % len(colours)]) for row, rgba in enumerate(known)])
    means = torch.cat([model.encode(part).latent_dist.mean for part in to_tensor(pixels).split(16)])
    mean, deviation = means.mean((0, 2, 3)), means.std((0, 2, 3))
    model.quant_conv.weight[:LATENT_CHANNELS] /= deviation[:, None, None, None]
    model.quant_conv.bias[:LATENT_CHANNELS] = (model.quant_conv.bias[:LATENT_CHANNELS] - mean) / deviation
    model.quant_conv.bias[LATENT_CHANNELS:] -= 2 * deviation.log()
    model.post_quant_conv.bias += model.post_quant_conv.weight[:, :, 0, 0] @ mean
    model.post_quant_conv.weight *= deviation[None, :, None, None]
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=7000)
    train(parser.parse_args().steps)


if __name__ == "__main__":
    main()
