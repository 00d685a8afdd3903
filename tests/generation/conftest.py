"""A tiny base of each family, and adapters for it that change what it draws."""

from collections.abc import Callable

import pytest
import torch

from lorastyle import draws
from lorastyle.adapters.file import Adapter
from lorastyle.adapters.inject import inject
from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, families
from lorastyle.draws import Key
from lorastyle.recipe import Recipe

Make = Callable[[int], Adapter]


@pytest.fixture(params=sorted(families()), scope="session")
def family(request: pytest.FixtureRequest) -> Family:
    return families()[request.param]


@pytest.fixture
def base(family: Family) -> Base:
    return Base("tiny", family, family.tiny(0))


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
        for name, factors in adapter.factors.items():
            up = factors["up"]
            factors["up"] = torch.from_numpy(draws.normal(Key(seed), name, tuple(up.shape))) * 0.3
        return adapter

    return make
