"""A studio in a folder of its own."""

from pathlib import Path

import pytest

from lorastyle import Area, Draft, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "studio")


@pytest.fixture
def area(workspace: Workspace) -> Area:
    return workspace.area()


@pytest.fixture
def draft(area: Area) -> Draft:
    return area.new_dataset("Ink")
