"""Random numbers as pure functions of what they are for.

There is no generator and so no state to save: the same :class:`Key` and purpose give the same numbers in any
order, in any process, on any machine. Each draw hashes key and purpose into the key of a Philox counter-based
generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Key:
    """Names one place in one run: the run's `seed`, the `member` trained (by its stable name, never by its place
    in the cohort), the training `step` and the `position` in that member's batch."""

    seed: int
    member: str = ""
    step: int = 0
    position: int = 0


def uniform(key: Key, purpose: str) -> float:
    """One number in [0, 1), with 53 random bits."""
    return float(_philox(key, purpose).random_raw() >> 11) * 2.0**-53


def normal(key: Key, purpose: str, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Independent standard normal numbers, float32, of the given shape."""
    return np.random.Generator(_philox(key, purpose)).standard_normal(tuple(shape), dtype=np.float32)


def permutation(key: Key, purpose: str, count: int) -> list[int]:
    """The numbers 0 to count - 1 in random order, every order equally likely."""
    return np.argsort(_philox(key, purpose).random_raw(count), kind="stable").tolist()


def _philox(key: Key, purpose: str) -> np.random.Philox:
    name = json.dumps([int(key.seed), key.member, int(key.step), int(key.position), purpose])
    digest = hashlib.blake2b(name.encode(), digest_size=16, person=b"lorastyle.draws").digest()
    return np.random.Philox(key=int.from_bytes(digest, "little"))
