"""The pages for people who use a keyboard or a screen reader, in light and in dark.

axe-core finds most of what can be found by a machine. It is no part of this repository: the slow test fetches it with
npm, and is skipped where that cannot be done. What must always hold is checked by hand.
"""

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from lorastyle import Workspace
from tests.ui import seeding

pytest.importorskip("playwright.sync_api")

AXE = "axe-core@4.14.1"
SERIOUS = ("serious", "critical")
# The addresses of the pages, and something that stands on each once it is there.
PAGES = {
    "": ".drop",
    "compare": ".empty",
    "compare?job={grid}&cell=1": ".cell",
    "generate": ".picture",
    "library?adapter={adapter}": ".opened",
    "queue?job={failed}": ".facts",
    "settings": "table",
}
# Things that can be pressed or filled in, and have no name that could be read out.
NAMELESS = """() => [...document.querySelectorAll("#page :is(button, a, input, textarea, select)")].filter((one) => {
  if (one.type === "hidden" || one.type === "file" || !one.checkVisibility()) return false;
  const named = one.getAttribute("aria-label") || one.title || one.innerText || one.labels?.length || one.placeholder;
  return !named && !one.getAttribute("aria-labelledby") && !one.closest("label");
}).map((one) => one.outerHTML.slice(0, 200))"""
WIDER_THAN_THE_WINDOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of all pages of a studio in which something is to be seen, as `PAGES` has them."""
    workspace = Workspace(tmp_path_factory.mktemp("accessible"))
    jobs, root = workspace.jobs, workspace.root
    card = workspace.area().library().add(seeding.adapter(root / "ink.safetensors", "inkstyle"), "Ink")
    workspace.area().library().tag(card.id, ["black and white"])
    trained = seeding.training(jobs, root, "Ink, 28 pictures", (50, 100))
    seeding.drawing(jobs, "a cat face, inkstyle", 90, {str(card.path): 0.8})
    failed = seeding.stand(jobs, jobs.add("generate", {"prompts": ["a ship"]}), "failed", error="It went wrong. Retry.")
    running = jobs.add("train", {"data": str(root), "recipe": {}}, title="Bird")
    seeding.stand(jobs, running, "running", step=30, steps=400, seconds_left=90.0)
    ids = {"grid": seeding.grid(jobs, trained, [0.5, 1.0], ["a cat"]).id, "adapter": card.id, "failed": failed.id}
    with seeding.served(root) as address:
        yield {f"{address}/{page.format(**ids)}": there for page, there in PAGES.items()}


def _open(page: Any, address: str, there: str) -> None:
    page.goto(address)
    page.wait_for_selector(f"#page {there}")
    page.locator("h1").wait_for()  # which raises where there is more than one


def test_everything_that_can_be_used_has_a_name_and_fits(addresses: dict[str, str], page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for address, there in addresses.items():
        _open(page, address, there)
        assert page.evaluate(NAMELESS) == [], address
        assert page.evaluate(WIDER_THAN_THE_WINDOW) <= 0, address


def test_lists_can_be_used_with_the_keyboard(addresses: dict[str, str], page: Any) -> None:
    _open(page, next(address for address in addresses if "queue" in address), ".job")
    row = page.locator(".job", has_text="Bird")
    row.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".facts h2:has-text('Bird')")
    page.wait_for_url(lambda url: "job=" in url)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("axe")
    if npm is None:
        pytest.skip("npm, which axe-core comes with, is not installed")
    done = subprocess.run([npm, "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm could not fetch {AXE}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        held = archive.extractfile("package/axe.min.js")
        assert held is not None
        return held.read().decode()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(addresses: dict[str, str], browser: Any, axe: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    found = []
    for address, there in addresses.items():
        _open(page, address, there)
        page.evaluate(axe)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found += [
            (address.rpartition("/")[2], violation["id"], [node["html"][:160] for node in violation["nodes"]])
            for violation in result["violations"]
            if violation["impact"] in SERIOUS
        ]
    context.close()
    assert not found, "\n".join(map(str, found))
