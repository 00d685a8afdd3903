"""Every kind survives every format: the report's own check, on a family of UNets and one with fused layers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lorastyle.bases.base import Base
from lorastyle.interchange.format import Format, formats
from tools.reports import exchange


@pytest.fixture(params=sorted(formats()))
def form(request: pytest.FixtureRequest) -> Format:
    return formats()[request.param]


@pytest.mark.parametrize("row", exchange.KINDS)
@pytest.mark.parametrize("family", ["sd1", "flux1"])
def test_every_change_is_the_same_there_and_back(
    family: str, row: str, form: Format, base_of: Callable[[str], Base], tmp_path: Path
) -> None:
    for direction, result in exchange.check(base_of(family), row, form, tmp_path).items():
        assert result.passed, (direction, result)
        assert result.how != "converted" or result.said.endswith("to have it converted to a LoRA.")


def test_what_can_be_held_is_not_converted(base_of: Callable[[str], Base], tmp_path: Path) -> None:
    held = {
        (row, name): exchange.check(base_of("sd1"), row, formats()[name], tmp_path)["export"].how
        for row, name in [("LoRA", "comfyui"), ("DoRA", "diffusers"), ("LoKr", "a1111"), ("OFT", "kohya")]
    }
    assert set(held.values()) == {"whole"}
