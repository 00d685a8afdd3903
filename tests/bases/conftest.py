"""Tiny bases of the real classes, one of each family, in memory and as a diffusers folder."""

from pathlib import Path

import pytest

from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, families


@pytest.fixture(params=sorted(families()), scope="session")
def family(request: pytest.FixtureRequest) -> Family:
    return families()[request.param]


@pytest.fixture
def base(family: Family) -> Base:
    return Base("tiny", family, family.tiny(0))


@pytest.fixture(scope="session")
def folder(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as diffusers writes it. It is shared: copy it before you change it."""
    path = tmp_path_factory.mktemp(family.name) / "tiny"
    family.pipeline(family.tiny(0)).save_pretrained(path)
    return path
