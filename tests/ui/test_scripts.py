"""Scripts in captions, names, titles, prompts and logs: they are shown as what they are, and never run."""

from pathlib import Path
from typing import Any

import pytest

from tests.ui import seeding
from tests.ui.conftest import Running

RUNS = "window.lorastyleRan = true"
SCRIPT = f'<img src="nowhere" onerror="{RUNS}"><script>{RUNS}</script>'
NAME = "<img src=nowhere onerror=window.lorastyleRan=true>.png"  # a file's name has no slash
IS_TOLD = """() => {
  const fields = [...document.querySelectorAll("input, textarea")].map((one) => one.value);
  return [document.body.innerText, ...fields].some((text) => text.includes("lorastyleRan"));
}"""


@pytest.fixture(scope="module")
def addresses(studio: Running, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A page's address for each place where somebody's words are shown."""
    folder = tmp_path_factory.mktemp("hostile")
    area, jobs = studio.workspace.area(), studio.workspace.jobs
    draft = area.new_dataset(SCRIPT[:100])
    draft.add([seeding.picture(folder / NAME, 10)])
    draft.set_caption(draft.rows()[0].id, SCRIPT)
    trained = seeding.training(jobs, folder, SCRIPT, (10, 20))
    (trained.folder / "log.txt").write_text(f"{SCRIPT}\n")
    failed = seeding.training(jobs, folder, SCRIPT, (10,))
    seeding.stand(jobs, failed, "failed", error=SCRIPT, message=SCRIPT)
    drawing = seeding.drawing(jobs, SCRIPT, 30)
    grid = seeding.grid(jobs, trained, [1.0], [SCRIPT])
    library = area.library()
    card = library.add(seeding.adapter(folder / "hostile.safetensors", trigger=SCRIPT), "hostile")
    library.rename(card.id, SCRIPT[:100])
    library.note(card.id, SCRIPT)
    library.tag(card.id, [SCRIPT[:30]])
    return {
        "shelf": "/",
        "review": f"/?data={draft.id}&step=review",
        "watch": f"/?job={trained.id}&step=watch",
        "failed": f"/?job={failed.id}&step=watch",
        "grid": f"/compare?job={grid.id}",
        "picture": f"/generate?job={drawing.id}",
        "library": f"/library?adapter={card.id}",
        "queue": f"/queue?job={failed.id}",
    }


@pytest.mark.parametrize("place", ["shelf", "review", "watch", "failed", "grid", "picture", "library", "queue"])
def test_scripts_are_shown_and_never_run(studio: Running, addresses: dict[str, str], page: Any, place: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(studio.address + addresses[place])
    page.wait_for_function(IS_TOLD)
    assert page.evaluate("window.lorastyleRan") is None
    assert page.locator('img[src="nowhere"]').count() == 0  # nor has it become a part of the page
    assert [
        url for url in asked if not url.startswith((studio.address, "data:", "blob:"))
    ] == []  # and all is from here


def test_the_policy_stops_scripts_that_somebody_forgot_to_escape(studio: Running, page: Any) -> None:
    page.goto(studio.address + "/settings")
    page.wait_for_selector("#header")
    with page.expect_event("console", lambda message: "Content Security Policy" in message.text):
        page.evaluate("(script) => document.body.insertAdjacentHTML('beforeend', script)", SCRIPT)
    assert page.locator('img[src="nowhere"]').count() == 1
    assert page.evaluate("window.lorastyleRan") is None


def test_an_address_is_no_way_to_run_scripts(studio: Running, page: Any) -> None:
    page.goto(f"{studio.address}/?data={SCRIPT}&job={SCRIPT}&step={SCRIPT}")
    page.wait_for_selector("#header")
    assert page.evaluate("window.lorastyleRan") is None
    assert page.locator('img[src="nowhere"]').count() == 0


def test_the_browser_keeps_other_sites_from_reading(studio: Running, page: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    other.write_text("<p>another site</p>")
    page.goto(other.as_uri())
    read = "(url) => fetch(url).then((answer) => answer.text(), () => 'refused')"
    assert page.evaluate(read, f"{studio.address}/config") == "refused"
