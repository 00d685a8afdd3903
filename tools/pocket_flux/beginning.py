"""The transformer's first weights: it begins by telling what a linear reading of CLIP tells of the picture.

Trained from random weights, most of the time goes into finding out which image token is where, since Flux marks places
by rotating queries and keys alone, and into taking the picture of a caption apart by places. Both can be computed:

1. Heads of the first block look at all text tokens alike, so much as their image token lies to the right (or below,
   or in the middle). What they see is written into four numbers of each image token: its place.
2. A ridge regression tells each latent channel at every place from the modulation, silu(time and pooled text). Its
   singular vectors are products of a function of the caption, which becomes a gate, and of the place, which becomes an
   MLP's output.
3. The flow follows from that reading and the noisy latents as if the drawings lay around it normally (the posterior
   mean of a Gaussian): two numbers that depend on time alone, the modulation before the last layer.

Attention between tokens begins silent (adaLN-Zero, Peebles and Xie 2023), and everything is trained further.
"""

import math

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from tools.pocket_flux.architecture import CHANNELS, SIDE, WIDTH

TERMS = 4  # numbers of an image token for each channel, all added up by the last layer
READING = slice(0, TERMS * CHANNELS)
NOISY = slice(READING.stop, READING.stop + CHANNELS)  # the noisy latents as they came
PLACE = slice(NOISY.stop, NOISY.stop + 4)
STEADY = slice(WIDTH - 4, WIDTH)  # large numbers that never change, so that normalising only scales
STEADY_VALUES = 16 * torch.tensor([1.0, 1.0, -1.0, -1.0])
CAPTION = slice(0, 224)  # of the modulation; the rest is for time
AMPLITUDE = 0.15  # of the caption in the modulation: small, where silu is nearly linear
SLOPE, JITTER, UNITS = 1.5, 0.15, 192  # of the MLPs' hidden units that tell shapes: gentle, so that training keeps them
VALUE, FAR = 0.25, 4.0  # of the heads that tell places: small, so that they move little in training; their range
AXES = {"down": 8, "right": 36}  # where an axis begins among the 64 numbers of a head
LOOKS = (("down", 3, True), ("right", 3, True), ("down", 1, False), ("right", 1, False))  # axis, frequency, odd


def begin(model: FluxTransformer2DModel, pooled: Tensor, latents: Tensor) -> None:
    """Give `model` its first weights.

    Args:
        pooled: what CLIP says of captions [n, 256]. latents: their pictures [n, places, channels].
    """
    with torch.no_grad():
        embed_tokens(model)
        embed_captions(model, pooled)
        embed_times(model)
        tell_places(model)
        modulation = modulated(model, pooled, torch.ones(len(pooled)))
        variance = read_captions(model, modulation, pooled, latents)
        tell_flow(model, pooled, variance)


def keep_reading(model: FluxTransformer2DModel) -> None:
    """Keep what the reading was given, whatever is learnt beside it.

    An optimizer that moves all weights by the same would undo these: they act on sums of many numbers of one sign.
    """
    blocks, embed = model.transformer_blocks, model.time_text_embed
    lasts = [block.ff.net[2] for block in blocks] + [block.proj_out for block in model.single_transformer_blocks]
    for layer in lasts:
        keep(layer.weight, READING)
    keep(model.x_embedder.weight, slice(None))
    keep(embed.timestep_embedder.linear_2.weight, CAPTION)
    keep(model.norm_out.linear.weight, slice(NOISY.stop))
    keep(embed.text_embedder.linear_1.weight, slice(None))
    keep(blocks[0].attn.to_out[0].weight, PLACE)
    for layer in (blocks[0].attn.add_v_proj, blocks[0].attn.to_v):
        keep(layer.weight, slice(None))


def keep(weight: nn.Parameter, rows: slice) -> None:
    """Let these rows of a weight learn nothing."""
    learning = torch.ones(len(weight), 1)
    learning[rows] = 0
    weight.register_hook(lambda gradient: gradient * learning)


def embed_tokens(model: FluxTransformer2DModel) -> None:
    layer = model.x_embedder
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.weight[NOISY] = torch.eye(CHANNELS)
    layer.bias[STEADY] = STEADY_VALUES


def embed_captions(model: FluxTransformer2DModel, pooled: Tensor) -> None:
    """The main directions of what CLIP says, each equally strong."""
    mean = pooled.mean(0)
    _, values, vectors = torch.linalg.svd(pooled[::4] - mean, full_matrices=False)
    deviations = values / math.sqrt(len(pooled[::4]))
    count = CAPTION.stop
    white = vectors[:count] / deviations[:count, None]
    first, second = model.time_text_embed.text_embedder.linear_1, model.time_text_embed.text_embedder.linear_2
    for layer in (first, second):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    first.weight[CAPTION] = AMPLITUDE * white
    first.bias[CAPTION] = -AMPLITUDE * white @ mean
    second.weight[CAPTION, CAPTION] = 2 * torch.eye(count)  # silu halves what is small


def embed_times(model: FluxTransformer2DModel) -> None:
    """Smooth functions of time, where the caption is not."""
    embedder = model.time_text_embed.timestep_embedder
    frequencies = torch.exp(-math.log(10000) * torch.arange(128) / 128).repeat(2)
    embedder.linear_1.weight.mul_(torch.where(frequencies > 0.01, 0.05, 4.0))
    embedder.linear_2.weight[CAPTION] = 0
    embedder.linear_2.bias[CAPTION] = 0
    embedder.linear_2.weight[CAPTION.stop :] *= 4


def tell_places(model: FluxTransformer2DModel) -> None:
    """The first block's attention writes how strongly each head of an image token looks at the text: LOOKS."""
    block, heads = model.transformer_blocks[0], len(LOOKS)
    query, text_key, image_key = (torch.zeros(heads, 64) for _ in range(3))
    for head, (axis, number, odd) in enumerate(LOOKS):
        frequency, start = 10000 ** (-2 * number / 28), AXES[axis] + 2 * number
        phase = -frequency * (SIDE - 1) / 2 - (math.pi / 2 if odd else 0)
        query[head, start], query[head, start + 1] = math.cos(phase), math.sin(phase)
        text_key[head, start] = 1
        image_key[head, 0] = 1  # a number that rotation leaves alone, and that no query has
    for layer, bias in ((block.attn.to_q, query), (block.attn.add_k_proj, text_key), (block.attn.to_k, image_key)):
        layer.weight.mul_(0.02)
        layer.bias.copy_(8 * bias.flatten())
    for layer, value in ((block.attn.add_v_proj, VALUE), (block.attn.to_v, 0.0)):
        layer.weight.mul_(0.02)
        nn.init.constant_(layer.bias, value)
    out = block.attn.to_out[0]
    out.weight[PLACE], out.bias[PLACE] = 0, -FAR
    for head in range(heads):
        out.weight[PLACE.start + head, 64 * head : 64 * head + 64] = 2 * FAR / VALUE / 64
    block.norm1.linear.bias[2 * WIDTH :][PLACE] = 1  # the gate of attention


def modulated(model: FluxTransformer2DModel, pooled: Tensor, times: Tensor) -> Tensor:
    """What all modulations are linear in: silu of time and caption [n, 256]."""
    return nn.functional.silu(model.time_text_embed(1000 * times, pooled))


def ridge(features: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Weights [features, targets] and offset [targets] of the linear reading of `targets` from `features`."""
    means = features.mean(0), targets.mean(0)
    centred = (features - means[0]).double()
    gram = centred.T @ centred / len(centred)
    gram += strength * gram.diagonal().mean() * torch.eye(len(gram))
    weights = torch.linalg.solve(gram, centred.T @ (targets - means[1]).double() / len(centred)).float()
    return weights, means[1] - means[0] @ weights


def read_captions(model: FluxTransformer2DModel, modulation: Tensor, pooled: Tensor, latents: Tensor) -> float:
    """Gates and MLPs that together tell the linear reading; returns the variance of what it leaves unsaid."""
    places = SIDE * SIDE
    weights, offset = ridge(modulation, latents.flatten(1), 1e-3)
    told = (modulation @ weights + offset).unflatten(1, (places, CHANNELS))
    blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
    by_block = [torch.zeros(places, CHANNELS, TERMS) for _ in blocks]
    gates = [(torch.zeros(WIDTH, CHANNELS, TERMS), torch.zeros(CHANNELS, TERMS)) for _ in blocks]
    weights, offset = weights.unflatten(1, (places, CHANNELS)), offset.unflatten(0, (places, CHANNELS))
    for channel in range(CHANNELS):
        values, vectors = torch.linalg.eigh(told[:, :, channel].T @ told[:, :, channel] / len(told))
        for rank, column in enumerate(reversed(range(places))):
            if rank == TERMS * len(blocks):
                break
            number, term, size = rank % len(blocks), rank // len(blocks), values[column].clamp(min=1e-8).sqrt()
            by_block[number][:, channel, term] = vectors[:, column] * size
            gates[number][0][:, channel, term] = weights[:, :, channel] @ vectors[:, column] / size
            gates[number][1][channel, term] = offset[:, channel] @ vectors[:, column] / size
    for block, shapes, (gate, constant) in zip(blocks, by_block, gates, strict=True):
        fit_block(model, block, shapes.flatten(1), gate.flatten(1), constant.flatten(), pooled)
    return float((latents - told).square().mean())


def fit_block(
    model: FluxTransformer2DModel, block: nn.Module, shapes: Tensor, gate: Tensor, constant: Tensor, pooled: Tensor
) -> None:
    """Make the MLP of `block` tell `shapes` [places, terms] by the place, and its gate what the caption says."""
    single = hasattr(block, "proj_mlp")
    first = block.proj_mlp if single else block.ff.net[0].proj
    last, norm = (block.proj_out, block.norm) if single else (block.ff.net[2], block.norm1)
    start = 2 * WIDTH if single else 5 * WIDTH  # of the gate among the modulations of a block
    seen = mean_input(model, first, pooled)[-SIDE * SIDE :]
    units = slice(UNITS)
    first.weight[units] = 0
    first.weight[units, PLACE] = SLOPE * torch.randn(UNITS, 4)
    pivots = seen[torch.randint(len(seen), (UNITS,)), PLACE]
    first.bias[units] = -(first.weight[units, PLACE] * pivots).sum(1)
    shaken = seen.repeat(32, 1)
    shaken[:, PLACE] += JITTER * torch.randn(len(shaken), 4)
    hidden = nn.functional.gelu(first(shaken), approximate="tanh")[:, units]
    weights, offset = ridge(hidden, shapes.repeat(32, 1), 1e-5)
    left = WIDTH if single else 0
    last.weight[READING] = 0
    last.weight[READING, left : left + UNITS] = weights.T
    last.bias[READING] = offset
    norm.linear.weight[start:][READING] = gate.T
    norm.linear.bias[start:][READING] = constant


def mean_input(model: FluxTransformer2DModel, layer: nn.Module, pooled: Tensor) -> Tensor:
    """What `layer` is given at time 1 on average [tokens, 256]."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, given, _: seen.append(given[0].mean(0)))
    draw_once(model, pooled[:: len(pooled) // 64][:64])
    handle.remove()
    return seen[0]


def draw_once(model: FluxTransformer2DModel, pooled: Tensor) -> None:
    """One pass over noise, with texts that say nothing but `pooled`."""
    count = len(pooled)
    grid = torch.stack([torch.zeros(SIDE, SIDE), *torch.meshgrid(*[torch.arange(SIDE)] * 2, indexing="ij")], -1)
    model(
        hidden_states=torch.randn(count, SIDE * SIDE, CHANNELS),
        encoder_hidden_states=torch.zeros(count, 28, WIDTH),
        pooled_projections=pooled,
        timestep=torch.ones(count),
        img_ids=grid.reshape(-1, 3).float(),
        txt_ids=torch.zeros(28, 3),
    )


def tell_flow(model: FluxTransformer2DModel, pooled: Tensor, variance: float) -> None:
    """The last modulation and the last layer: flow = a(t) noisy latents - b(t) reading."""
    times = torch.linspace(0.02, 1, 400)
    kept = (1 - times) * variance / ((1 - times) ** 2 * variance + times**2)
    noisy, reading = (1 - kept) / times, (1 - kept * (1 - times)) / times
    chosen = torch.randint(len(pooled), (20_000,))
    at = torch.randint(len(times), (20_000,))
    modulation = modulated(model, pooled[chosen], times[at])
    weights, offset = ridge(modulation, torch.stack([noisy, reading], 1)[at] - 1, 1e-5)
    nn.init.zeros_(model.norm_out.linear.weight)
    nn.init.zeros_(model.norm_out.linear.bias)
    for number, part in ((0, NOISY), (1, READING)):
        model.norm_out.linear.weight[part] = weights[:, number]
        model.norm_out.linear.bias[part] = offset[number]
    scale = math.sqrt((4 * 16**2 + 2 * CHANNELS + 8) / WIDTH)  # what normalising divides by
    layer = model.proj_out
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.weight[:, NOISY] = scale * torch.eye(CHANNELS)
    for channel in range(CHANNELS):
        layer.weight[channel, TERMS * channel : TERMS * (channel + 1)] = -scale
    layer.weight[:, STEADY] = -layer.weight.sum(1, keepdim=True) / 4  # whatever the mean that normalising takes away
