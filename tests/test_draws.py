"""Draws are promises: the same key and purpose give these very numbers, in every version of lorastyle."""

import itertools
import math

import numpy as np
import pytest

from lorastyle.draws import Key, normal, permutation, uniform

KEY = Key(seed=7, member="ink", step=42, position=3)
UNIFORM = 0.06583328882268513
UNIFORM_OF_ZERO = 0.04567361942702297
NORMAL = [
    [-0.22491372, -0.38424373, -1.0118016],
    [0.91984582, 0.087769613, 1.008967],
]
PERMUTATION = [4, 8, 1, 6, 0, 2, 3, 7, 9, 5]


def test_uniform_is_what_it_always_was() -> None:
    assert uniform(KEY, "timestep") == UNIFORM
    assert uniform(Key(0), "timestep") == UNIFORM_OF_ZERO


def test_normal_is_what_it_always_was() -> None:
    # 1e-6: numpy may round the last bit differently where the compiler fuses a multiplication and an addition.
    np.testing.assert_allclose(normal(KEY, "noise", (2, 3)), NORMAL, rtol=1e-6)


def test_permutation_is_what_it_always_was() -> None:
    assert permutation(KEY, "order", 10) == PERMUTATION


def test_draws_depend_on_nothing_else() -> None:
    before = uniform(KEY, "a")
    uniform(KEY, "b"), normal(KEY, "a", (5,)), np.random.random()
    assert uniform(Key(7, "ink", 42, 3), "a") == before
    assert uniform(Key(np.int64(7), "ink", np.int64(42), np.int32(3)), "a") == before  # type: ignore[arg-type]


def test_a_longer_draw_begins_with_the_shorter() -> None:
    assert np.array_equal(normal(KEY, "noise", (4, 2)).ravel()[:3], normal(KEY, "noise", (3,)))


def test_every_part_of_the_key_and_the_purpose_count() -> None:
    keys = [Key(*parts) for parts in itertools.product((0, 1, 11), ("", "1", "11"), (0, 1, 11), (0, 1, 11))]
    drawn = {uniform(key, purpose) for key in keys for purpose in ("", "1", "noise")}
    assert len(drawn) == len(keys) * 3


@pytest.mark.parametrize("other", [Key(8, "ink", 42, 3), Key(7, "pen", 42, 3), Key(7, "ink", 43, 3), Key(7, "ink", 42)])
def test_neighbouring_keys_are_independent(other: Key) -> None:
    n = 20_000
    correlation = float(np.mean(normal(KEY, "noise", (n,)) * normal(other, "noise", (n,))))
    assert abs(correlation) < 5 / math.sqrt(n)  # five standard errors of independent numbers


def test_purposes_are_independent() -> None:
    n = 20_000
    correlation = float(np.mean(normal(KEY, "noise", (n,)) * normal(KEY, "offset", (n,))))
    assert abs(correlation) < 5 / math.sqrt(n)


def test_normal_is_standard_normal_in_float32() -> None:
    n = 100_000
    drawn = normal(KEY, "noise", (10, n // 10))
    assert drawn.dtype == np.float32
    assert drawn.shape == (10, n // 10)
    # Five standard errors of mean, variance and fourth moment: 1, 2 and 96 over n, in variance.
    assert abs(drawn.mean()) < 5 * math.sqrt(1 / n)
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs((drawn.astype(np.float64) ** 4).mean() - 3) < 5 * math.sqrt(96 / n)


def test_uniform_fills_its_interval_evenly_across_steps() -> None:
    n = 4_000
    drawn = np.array([uniform(Key(0, "ink", step), "timestep") for step in range(n)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    chi_squared = float(((counts - n / 20) ** 2 / (n / 20)).sum())
    assert (
        chi_squared < 43.8
    )  # 99.9th percentile for 19 degrees of freedom; the draws are fixed, so this never flickers


def test_permutations_hold_every_number_once_and_favour_no_place() -> None:
    n, count = 3_000, 5
    orders = np.array([permutation(Key(0, step=step), "order", count) for step in range(n)])
    assert (np.sort(orders, axis=1) == np.arange(count)).all()
    seen = np.stack([(orders == number).sum(axis=0) for number in range(count)])
    assert np.abs(seen - n / count).max() < 5 * math.sqrt(n / count * (1 - 1 / count))  # five standard deviations


def test_empty_draws() -> None:
    assert permutation(KEY, "order", 0) == []
    assert normal(KEY, "noise", (0, 3)).shape == (0, 3)
