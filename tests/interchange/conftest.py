"""Tiny bases of several families, and random adapters for them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from lorastyle.adapters.file import Adapter, save
from lorastyle.bases.base import Base
from lorastyle.bases.family import families
from tools.reports import exchange


@cache
def tiny(family: str) -> Base:
    return Base("tiny", families()[family], families()[family].tiny(0))


@pytest.fixture
def base_of() -> Callable[[str], Base]:
    """The tiny base of a family, the same object each time: leave it as it is."""
    return tiny


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[str, str], tuple[Path, Adapter]]:
    """Write a random adapter of a family and a row of the report; gives the file and the adapter."""

    def write(family: str, row: str = "LoRA") -> tuple[Path, Adapter]:
        adapter = exchange.sample(tiny(family), row)
        save(tmp_path / "ink.safetensors", adapter)
        return tmp_path / "ink.safetensors", adapter

    return write
