"""The whole way of an artist through the studio in Chromium, with everything killed in the middle of it.

A screenshot of each page, in light, in dark and as wide as a phone, is kept in build/studio; look at them.
"""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from lorastyle import Draft, Job
from tests.ui.conftest import CODE, Running, free_port, running

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
Page = Any

INK = CODE / "sample_data" / "ink"
SHOTS = CODE / "build" / "studio"
LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "has_touch": True},
}
LEARNS = 900_000  # milliseconds for what trains or draws; the machine may be busy
DRAWN = {  # what a page shows last
    "images": ".shelf article img",
    "review": ".review article img",
    "choose": ".recipe .setting",
    "watch": ".vega-embed svg, .vega-embed canvas",
    "grid": ".token",
    "generate": "[data-id] img",
    "library": "[data-id] img",
    "queue": "[data-id]",
    "settings": "table td",
}
# Pictures in the window are there.
SEEN = """() => [...document.images].every((image) =>
  !image.checkVisibility() || image.getBoundingClientRect().top > innerHeight || image.naturalWidth)"""
STEP = "Number((document.querySelector('.watch dl')?.textContent.match(/Step([\\d,]+)/) ?? [])[1]?.replace(',', ''))"


@pytest.mark.slow
def test_from_dropped_images_to_an_adapter_for_another_program(browser: Any, tmp_path: Path) -> None:
    port, root = free_port(), tmp_path / "studio"
    context = browser.new_context(**LOOKS["light"])
    page = context.new_page()
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    with running(root, port=port) as studio:
        draft = drop_28_images(page, studio)
        edit_a_caption(page, draft)
        move_a_focus_point(page, draft)
        job = train_a_style(page, studio)
        reload_in_the_middle(page)
        kill_everything(studio, job)
    with running(root, port=port) as studio:
        page = in_a_fresh_tab(page)
        pause_and_go_on(page, studio, job)
        finish(page, studio, job)
        compare_with_the_base(page, studio, job)
        keep_the_best_of_a_grid(page, studio, job)
        export_for_comfyui(page, studio)
        look_at_every_page(browser, studio, draft, job)
    context.close()


def drop_28_images(page: Page, studio: Running) -> Draft:
    page.goto(studio.address)
    page.set_input_files(".drop .files", sorted(path for path in INK.iterdir() if path.suffix in (".png", ".txt")))
    expect(page.locator(".drop .result")).to_have_text("Added 28 images.")
    page.click("#to-review")
    expect(page.locator(".review article")).to_have_count(28)
    (draft,) = studio.workspace.area("me").datasets()
    return draft


def edit_a_caption(page: Page, draft: Draft) -> None:
    caption = page.get_by_label("Caption of cat.png")
    caption.fill("[trigger] emoji of a cat that walks")
    caption.blur()
    expect(page.locator(".review .status")).to_have_text("Saved.")
    assert [row.caption for row in draft.rows() if row.name == "cat.png"] == ["[trigger] emoji of a cat that walks"]


def move_a_focus_point(page: Page, draft: Draft) -> None:
    focus = page.get_by_role("button", name="Focus point of owl.png")
    with page.expect_response(lambda response: "component_server" in response.url):
        focus.press("Shift+ArrowUp")
    assert [row.focus for row in draft.rows() if row.name == "owl.png"] == [(0.5, 0.4)]


def train_a_style(page: Page, studio: Running) -> Job:
    page.click("#to-choose")
    page.locator("#trigger input, #trigger textarea").press_sequentially("inkpen")
    expect(page.locator(".remarks")).to_contain_text("3 pieces")
    page.locator("#title input, #title textarea").fill("Ink")
    page.click("#start")
    expect(page.locator(".watch h2")).to_have_text("Ink")
    (job,) = studio.workspace.jobs.list("me", task="train")
    return job


def reload_in_the_middle(page: Page, step: int = 60) -> None:
    """After the checkpoint at a quarter of the 196 steps that the preset gives 28 images."""
    page.wait_for_function(f"{STEP} >= {step}", timeout=LEARNS)
    address = page.url
    page.reload()
    expect(page.locator(".watch h2")).to_have_text("Ink")
    page.wait_for_function(f"{STEP} >= {step}")
    assert page.url == address


def kill_everything(studio: Running, job: Job) -> None:
    """Server, worker and the training's own process, as the system does where memory runs out."""
    root = str(studio.workspace.root)
    mine = [process for process in psutil.process_iter(["cmdline"]) if root in (process.info["cmdline"] or [])]
    assert len(mine) >= 2, "the server and the worker"
    children = [child for process in mine for child in process.children(recursive=True)]
    for process in {*mine, *children}:
        with _gone_is_fine():
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs([*mine, *children], timeout=30)
    studio.process.wait()
    assert studio.workspace.jobs.get(job.id).state != "done"


def in_a_fresh_tab(page: Page) -> Page:
    """What the tab shows in another: it reloads by itself when its server is back, which breaks off a reload."""
    fresh = page.context.new_page()
    fresh.set_default_timeout(60_000)
    fresh.goto(page.url)
    page.close()
    return fresh


def pause_and_go_on(page: Page, studio: Running, job: Job, checkpoint: int = 49) -> None:
    expect(page.locator(".watch h2")).to_have_text("Ink")
    page.wait_for_function(f"{STEP} >= {checkpoint}", timeout=LEARNS)  # where its checkpoint is, not the beginning
    page.click("#job-pause")
    expect(page.locator(".watch .state")).to_have_text("paused", timeout=LEARNS)
    assert studio.workspace.jobs.get(job.id).state == "paused"
    page.click("#job-resume")


def finish(page: Page, studio: Running, job: Job) -> None:
    expect(page.locator(".watch .state")).to_have_text("done", timeout=LEARNS)
    expect(page.locator(".previews .step")).not_to_have_count(0)
    ended = [what for _, what in studio.workspace.jobs.history(job.id) if what in ("done", "failed", "cancelled")]
    assert ended == ["done"]


def compare_with_the_base(page: Page, studio: Running, job: Job) -> None:
    page.get_by_role("link", name="Compare", exact=True).last.click()
    page.get_by_role("tab", name="Side by side").click()
    page.get_by_label("Prompt", exact=True).fill("inkpen emoji of a snowman")
    page.get_by_role("button", name="Draw both").click()
    expect(page.locator(".slider-wrap")).to_be_visible(timeout=LEARNS)
    for look in LOOKS:
        _shoot(page, f"compare-{look}", look)


def keep_the_best_of_a_grid(page: Page, studio: Running, job: Job) -> None:
    page.goto(f"{studio.address}/compare?training={job.id}")
    page.get_by_label("Prompts").fill("inkpen emoji of a snowman\ninkpen emoji of a tree")
    page.get_by_role("button", name="Draw the grid").click()
    cells = page.locator("table [data-id]")
    expect(cells.first).to_be_visible(timeout=LEARNS)
    cells.last.click()
    page.get_by_role("button", name="Keep this one").click()
    page.get_by_role("link", name="in your library").click()
    kept = studio.workspace.area("me").library().cards()
    assert kept
    assert kept[0].trigger == "inkpen"


def export_for_comfyui(page: Page, studio: Running) -> None:
    expect(page.get_by_role("heading", name="Library")).to_be_visible()
    page.get_by_text("Use it in another program").click()
    page.get_by_label("ComfyUI").check()
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.get_by_text("Exported and proven")).to_be_visible(timeout=LEARNS)
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("Download .*safetensors")).first.click()
    assert Path(download.value.path()).stat().st_size > 1000


def look_at_every_page(browser: Any, studio: Running, draft: Draft, job: Job) -> None:
    """Shoot each page in each look; none may be wider than its window or say something went wrong."""
    steps = {step: f"?data={draft.id}&step={step}" for step in ("images", "review", "choose")}
    addresses = steps | {"watch": f"?data={draft.id}&job={job.id}&step=watch", "grid": f"compare?training={job.id}"}
    addresses |= {page: page for page in ("generate", "library", "queue", "settings")}
    for look, settings in LOOKS.items():
        context = browser.new_context(**settings)
        page = context.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error, failures=failures: failures.append(str(error)))
        for name, address in addresses.items():
            page.goto(f"{studio.address}/{address}")
            expect(page.locator("h1").first).to_be_visible()
            expect(page.locator(DRAWN[name]).first).to_be_visible()
            page.wait_for_function(SEEN)
            _shoot(page, f"{name}-{look}", look)
            assert page.evaluate("document.documentElement.scrollWidth") <= settings["viewport"]["width"], (name, look)
        assert not failures
        context.close()


def _shoot(page: Page, name: str, look: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size(LOOKS[look]["viewport"])
    page.emulate_media(color_scheme=LOOKS[look]["color_scheme"])
    page.evaluate("scrollTo(0, 0)")  # or the header lies across the whole page's picture
    page.screenshot(path=SHOTS / f"{name}.png", full_page=not name.startswith("review"))


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return
