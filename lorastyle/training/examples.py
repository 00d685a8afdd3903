"""A dataset made ready for one base: latents and prompt embeddings, computed once and kept by content."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lorastyle.bases.base import Base
from lorastyle.data.buckets import Crop, apply_crop
from lorastyle.data.cache import Cache, content_key
from lorastyle.data.captions import variants, with_trigger, without_trigger
from lorastyle.data.dataset import Dataset, Sample
from lorastyle.draws import Key
from lorastyle.recipe import Recipe

CACHE_VERSION = 1  # raised whenever the same pixels or words would be encoded otherwise
SHUFFLES = 16  # how many orders of its tags one caption is trained in


@dataclass(frozen=True)
class Example:
    """One image as it is trained.

    `latents` [1 or 2, channels, height, width]: as it is and, if the recipe flips, mirrored. `captions`: the caption
    in all its tag orders, the written one first; `plain`: without the trigger word, for preservation.
    """

    sample: Sample
    crop: Crop
    latents: Tensor
    captions: tuple[str, ...]
    plain: str


@dataclass(frozen=True)
class Examples:
    """What one member trains on, is measured on and is previewed with, and the embeddings of all these texts."""

    trained: tuple[Example, ...]
    held: tuple[Example, ...]
    prompts: tuple[str, ...]
    texts: Mapping[str, Mapping[str, Tensor]]

    def conditioning(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Stack the embeddings of `captions` into tensors [batch, ...]."""
        return stack([self.texts[caption] for caption in captions])


def encode_once(base: Base, example: Example) -> float:
    """Encode an image and its caption anew, whatever the cache holds; returns the seconds that took."""
    begun = time.perf_counter()
    base.encode_images(pixels_of(example.sample, example.crop, False))
    with torch.no_grad():
        base.encode_prompts([example.captions[0]])
    return time.perf_counter() - begun


def release_encoders(base: Base, recipe: Recipe) -> None:
    """Let go from memory what has done its work once all is encoded."""
    if not recipe.text_encoder_learning_rate:
        base.unload("text")
    base.unload("autoencoder")


def stack(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def prepare(base: Base, data: Dataset, recipe: Recipe, prompts: Sequence[str], cache: Cache | None = None) -> Examples:
    """Encode `data` and the preview `prompts` with `base`, or read from the cache what it encoded before.

    Args:
        recipe: resolved; decides resolution, flips, captions and the held-out share.
    """
    cache = cache or Cache()
    trained, held = data.split(recipe.held_out or 0.0, recipe.seed)
    examples = list(encode_samples(base, [*trained, *held], recipe, cache))
    captions = {""} | set(prompts)
    for example in examples:
        captions |= {*example.captions, example.plain}
    texts = encode_captions(base, sorted(captions), cache)
    return Examples(tuple(examples[: len(trained)]), tuple(examples[len(trained) :]), tuple(prompts), texts)


def encode_samples(base: Base, samples: Sequence[Sample], recipe: Recipe, cache: Cache) -> Iterable[Example]:
    """Encode each sample's crop, and its mirror image where the recipe flips."""
    mirrors = (False, True) if recipe.flip else (False,)
    assert recipe.resolution is not None, "the recipe is not resolved"
    crops = [sample.crop(recipe.resolution, base.divisor) for sample in samples]
    jobs = [(sample, crop, mirror) for sample, crop in zip(samples, crops, strict=True) for mirror in mirrors]
    weights = base.fingerprint("autoencoder")
    keys = [
        content_key(
            what="latents",
            version=CACHE_VERSION,
            pixels=sample.hash,
            weights=weights,
            bucket=crop.bucket,
            box=crop.box,
            mirror=mirror,
        )
        for sample, crop, mirror in jobs
    ]

    def encode(missing: list[int]) -> list[dict[str, Tensor]]:
        return [{"latents": base.encode_images(pixels_of(*jobs[index]))[0]} for index in missing]

    latents = iter([entry["latents"] for entry in cache.fetch(keys, encode)])
    for sample, crop in zip(samples, crops, strict=True):
        written = with_trigger(sample.caption, recipe.trigger, recipe.prefix_trigger)
        key = Key(recipe.seed, sample.hash)
        yield Example(
            sample=sample,
            crop=crop,
            latents=torch.stack([next(latents) for _ in mirrors]),
            captions=tuple(variants(written, recipe.shuffle_tags, recipe.keep_tags, SHUFFLES, key)),
            plain=without_trigger(written, recipe.trigger, recipe.class_word),
        )


def pixels_of(sample: Sample, crop: Crop, mirror: bool) -> Tensor:
    """The crop of a sample as pixels [1, 3, height, width] in -1..1."""
    rgb = np.array(apply_crop(sample.picture(), crop), dtype=np.float32)
    if mirror:
        rgb = np.ascontiguousarray(rgb[:, ::-1])
    return torch.from_numpy(rgb).permute(2, 0, 1)[None] / 127.5 - 1


def encode_captions(base: Base, captions: Sequence[str], cache: Cache) -> dict[str, dict[str, Tensor]]:
    """Embed each caption once; the embeddings of one caption have no batch axis."""
    weights = base.fingerprint("text")
    keys = [content_key(what="text", version=CACHE_VERSION, caption=caption, weights=weights) for caption in captions]

    def encode(missing: list[int]) -> list[dict[str, Tensor]]:
        embedded = base.encode_prompts([captions[index] for index in missing])
        return [{name: tensor[row].clone() for name, tensor in embedded.items()} for row in range(len(missing))]

    with torch.no_grad():
        return dict(zip(captions, cache.fetch(keys, encode), strict=True))
