"""Light and dark: what the settings say holds in every browser; its own switch holds there until they say otherwise."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ui import seeding
from tests.ui.conftest import Running

expect = pytest.importorskip("playwright.sync_api").expect

IS_DARK = "document.body.classList.contains('dark')"


@pytest.fixture
def studio(studio: Running) -> Iterator[Running]:
    yield studio
    studio.workspace.save_settings({"theme": "system"})


def dark(page: Any, studio: Running, theme: str = "") -> bool:
    if theme:
        studio.workspace.save_settings({"theme": theme})
    page.goto(f"{studio.address}/queue")
    page.locator("#header .mode").wait_for()
    assert "__theme" not in page.url
    return bool(page.evaluate(IS_DARK))


def test_the_saved_theme_holds_in_a_browser_that_was_never_there(studio: Running, page: Any) -> None:
    page.emulate_media(color_scheme="light")
    assert dark(page, studio, "dark")
    assert not dark(page, studio, "light")
    page.emulate_media(color_scheme="dark")
    assert not dark(page, studio)
    assert dark(page, studio, "system")


def test_a_switch_holds_in_its_browser_until_the_settings_change(studio: Running, page: Any) -> None:
    page.emulate_media(color_scheme="light")
    assert not dark(page, studio, "system")
    page.locator("#header .mode").click()
    assert page.evaluate(IS_DARK)
    assert dark(page, studio)
    assert not dark(page, studio, "light")


def test_charts_follow_the_switch(studio: Running, page: Any, tmp_path: Path) -> None:
    job = seeding.training(studio.workspace.jobs, tmp_path, "Ink", (1,))
    row = {"loss": 0.5, "smoothed": 0.4, "learning_rate": 1e-3}
    with (job.run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step} | row) + "\n" for step in (1, 2))
    page.emulate_media(color_scheme="light")
    page.goto(f"{studio.address}/?job={job.id}")
    axis = page.locator(".vega-embed svg .role-axis-label text").first
    axis.wait_for()
    before = axis.evaluate("node => getComputedStyle(node).fill")
    page.locator("#header .mode").click()
    assert page.evaluate(IS_DARK)
    expect(axis).not_to_have_css("fill", before)  # dark letters would not be seen any more
