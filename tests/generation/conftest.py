"""A tiny base that is guided by a second prediction and one that is told its guidance, and adapters that change what
they draw. (Every family draws in tests/families.)"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lorastyle import draws
from lorastyle.adapters.file import Adapter
from lorastyle.adapters.inject import inject
from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, families
from lorastyle.draws import Key
from lorastyle.recipe import Recipe

Make = Callable[[int], Adapter]


@pytest.fixture(params=["sd1", "flux1"], scope="session")
def family(request: pytest.FixtureRequest) -> Family:
    return families()[request.param]


@pytest.fixture
def base(family: Family) -> Base:
    return Base("tiny", family, family.tiny(0))


def moved(factors: Mapping[str, Tensor], key: Key, layer: str) -> dict[str, Tensor]:
    """Untrained factors change nothing; these have an `up` that is not zero."""
    up = draws.normal(key, layer, tuple(factors["up"].shape))
    return {**factors, "up": torch.from_numpy(up) * 0.3}


@pytest.fixture
def make(base: Base) -> Make:
    """Makes an adapter for every layer of the UNet and the text encoder that can have one."""

    def make(seed: int) -> Adapter:
        recipe = Recipe(targets="all", text_encoder_learning_rate=1e-5)
        injection = inject(base.models, base.target_patterns(recipe))
        try:
            injection.create("made", kind="lora", rank=2, alpha=2.0, rslora=False, key=Key(seed))
            adapter = injection.adapter("made")
        finally:
            injection.eject()
        factors = {layer: moved(held, Key(seed), layer) for layer, held in adapter.factors.items()}
        return replace(adapter, family=base.family.name, factors=factors)

    return make
