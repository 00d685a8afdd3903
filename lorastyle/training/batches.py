"""Which image, mirror, caption, noise and timestep a row of a batch gets: pure draws, no generator state.

Everything here is a function of Key(seed, member, step, position). A run that was killed and resumed asks the same
questions and gets the same answers; previews and evaluations in between change none of them.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorastyle import draws
from lorastyle.draws import Key
from lorastyle.recipe import Recipe
from lorastyle.training.examples import Example


@dataclass(frozen=True)
class Row:
    """One row of a training batch: clean latents and noise [channels, height, width], and u in [0, 1) for the time."""

    example: Example
    latents: Tensor
    noise: Tensor
    caption: str
    u: float


def epoch_batches(examples: Sequence[Example], size: int, key: Key) -> list[list[int]]:
    """One pass over all examples in a random order, in batches of `size` whose images share a bucket.

    An image appears as often as its folder says (`repeats`). The last batch of a bucket is filled up from the
    bucket's beginning, so that every batch has the same size and no image is left out.
    """
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        buckets[example.crop.bucket] += [index] * example.sample.repeats
    batches = []
    for bucket, members in sorted(buckets.items()):
        order = [members[place] for place in draws.permutation(key, f"order {bucket}", len(members))]
        for start in range(0, len(order), size):
            batches.append([order[place % len(order)] for place in range(start, start + size)])
    return [batches[place] for place in draws.permutation(key, "batches", len(batches))]


class Batches:
    """The endless sequence of one member's batches."""

    def __init__(self, member: str, examples: Sequence[Example], recipe: Recipe) -> None:
        self.member, self.examples, self.recipe = member, examples, recipe
        self.per_epoch = len(epoch_batches(examples, recipe.batch, Key(recipe.seed, member)))
        self.epoch, self.order = -1, [[0]]

    def indices(self, number: int) -> list[int]:
        """The examples of batch `number`, counted from the beginning of the run."""
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self.epoch:
            self.order = epoch_batches(self.examples, self.recipe.batch, Key(self.recipe.seed, self.member, epoch))
            self.epoch = epoch
        return self.order[place]

    def rows(self, number: int) -> list[Row]:
        """The rows of batch `number`.

        The times of a batch are spread evenly over [0, 1) with one common random offset: each is still uniform, and
        the loss of a small batch varies less than with independent times.
        """
        indices = self.indices(number)
        offset = draws.uniform(Key(self.recipe.seed, self.member, number), "time")
        times = [(offset + position / len(indices)) % 1.0 for position in range(len(indices))]
        return [self.row(number, position, index, times[position]) for position, index in enumerate(indices)]

    def row(self, number: int, position: int, index: int, u: float) -> Row:
        recipe, example = self.recipe, self.examples[index]
        key = Key(recipe.seed, self.member, number, position)
        latents = example.latents[int(draws.uniform(key, "mirror") * len(example.latents))]
        caption = example.captions[int(draws.uniform(key, "caption") * len(example.captions))]
        if draws.uniform(key, "caption dropout") < recipe.caption_dropout:
            caption = ""
        return Row(example, latents, self.noise(key, latents), caption, u)

    def noise(self, key: Key, latents: Tensor) -> Tensor:
        """Normal noise; with a noise offset each channel is also shifted as a whole (Guttenberg 2023)."""
        noise = torch.from_numpy(draws.normal(key, "noise", tuple(latents.shape)))
        if self.recipe.noise_offset:
            shift = torch.from_numpy(draws.normal(key, "noise offset", (latents.shape[0], 1, 1)))
            noise = noise + self.recipe.noise_offset * shift
        return noise
