from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import pytest
import torch

from lorastyle.data.buckets import plan_crop
from lorastyle.data.dataset import Sample
from lorastyle.data.sources import FolderSource
from lorastyle.draws import Key
from lorastyle.recipe import Recipe
from lorastyle.training.batches import Batches, epoch_batches
from lorastyle.training.examples import Example


def flat(lists):
    return list(chain.from_iterable(lists))


def example(number, width=64, height=64, captions=("a", "b"), mirrored=True, repeats=1):
    sample = Sample(
        name=f"{number}.png",
        caption="a",
        width=width,
        height=height,
        hash=str(number),
        notes=(),
        repeats=repeats,
        background="#ffffff",
        source=FolderSource(Path()),
    )
    latents = torch.full((2 if mirrored else 1, 4, 8, 8), float(number))
    return Example(sample, plan_crop(width, height, 64, 8), latents, captions, "a")


def test_an_epoch_shows_every_image_as_often_as_its_folder_says():
    examples = [example(number, repeats=3 if number == 2 else 1) for number in range(6)]
    batches = epoch_batches(examples, 4, Key(0, "m"))
    assert Counter(flat(batches)) == {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 1}


def test_images_of_a_batch_share_a_bucket_and_batches_are_full():
    examples = [example(number, width=64 if number % 2 else 128) for number in range(7)]
    batches = epoch_batches(examples, 4, Key(0, "m"))
    assert {len(batch) for batch in batches} == {4}
    assert all(len({examples[index].crop.bucket for index in batch}) == 1 for batch in batches)
    assert set(flat(batches)) == set(range(7))


def test_rows_are_pure_whatever_was_asked_before():
    examples = [example(number) for number in range(5)]
    recipe = Recipe(batch=2, flip=True, seed=3)
    one, other = Batches("m", examples, recipe), Batches("m", examples, recipe)
    in_order = [one.rows(number) for number in range(12)]
    backwards = [other.rows(number) for number in reversed(range(12))][::-1]
    for mine, theirs in zip(flat(in_order), flat(backwards), strict=True):
        assert (mine.example, mine.caption, mine.u) == (theirs.example, theirs.caption, theirs.u)
        assert torch.equal(mine.noise, theirs.noise)
        assert torch.equal(mine.latents, theirs.latents)


def test_another_seed_or_member_draws_otherwise():
    examples = [example(number) for number in range(5)]
    noises = [
        Batches(member, examples, Recipe(seed=seed)).rows(0)[0].noise for member, seed in (("a", 0), ("a", 1), ("b", 0))
    ]
    assert not torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[0], noises[2])


def test_times_are_uniform_and_spread_within_a_batch():
    batches = Batches("m", [example(number) for number in range(4)], Recipe(batch=4))
    times = [sorted(row.u for row in batches.rows(number)) for number in range(300)]
    assert all(later - earlier == pytest.approx(0.25) for row in times for earlier, later in pairwise(row))
    share = sum(u < 0.3 for row in times for u in row) / 1200
    assert share == pytest.approx(
        0.3, abs=0.03
    )  # stratified: its deviation is far below that of 1,200 free draws, 0.013


def test_dropped_captions_and_mirrors_come_as_often_as_the_recipe_says():
    batches = Batches("m", [example(number) for number in range(4)], Recipe(batch=4, caption_dropout=0.25, flip=True))
    rows = [row for number in range(300) for row in batches.rows(number)]
    captions = Counter(row.caption for row in rows)
    assert captions[""] / 1200 == pytest.approx(0.25, abs=0.05)  # 4 standard deviations of 1,200 draws
    assert captions["a"] / 1200 == pytest.approx(0.375, abs=0.056)


def test_a_noise_offset_shifts_whole_channels():
    examples = [example(0)]
    plain = Batches("m", examples, Recipe(batch=1)).rows(0)[0].noise
    shifted = Batches("m", examples, Recipe(batch=1, noise_offset=0.5)).rows(0)[0].noise
    difference = shifted - plain
    assert difference.std((1, 2)).max() < 1e-6
    assert difference.mean((1, 2)).abs().min() > 1e-4
