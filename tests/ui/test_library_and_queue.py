"""Library and Queue in Chromium: what is asked before it is lost, what stays in sight, what the address says."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lorastyle import Jobs, Workspace
from tests.ui import seeding
from tests.ui.conftest import held

IN_SIGHT = """(selector) => {
  const box = document.querySelector(selector)?.getBoundingClientRect();
  return box && box.top >= 0 && box.top < innerHeight / 2;
}"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("pages"))
    for number in range(12):
        title = f"Ink {number}"
        made.area().library().add(seeding.adapter(made.root / f"{title}.safetensors", "inkstyle"), title)
    return made


@pytest.fixture(scope="module")
def jobs(workspace: Workspace) -> Jobs:
    for number in range(25):
        seeding.drawing(workspace.jobs, f"a ship, {number}", number)
    return workspace.jobs


@pytest.fixture(scope="module")
def address(workspace: Workspace) -> Iterator[str]:
    with seeding.served(workspace.root) as address:
        yield address


def test_a_job_is_deleted_when_that_was_asked(jobs: Jobs, address: str, page: Any) -> None:
    job = seeding.drawing(jobs, "a fox", 40)
    page.goto(f"{address}/queue?job={job.id}")
    really = page.get_by_role("button", name="Really delete?")
    page.get_by_role("button", name="Delete", exact=True).click()
    really.wait_for()
    page.get_by_role("button", name="a ship, 3").click()
    really.wait_for(state="hidden")
    page.get_by_role("button", name="a fox").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    really.click()
    page.get_by_role("button", name="a fox").wait_for(state="detached")
    assert job.id not in [one.id for one in jobs.list()]
    page.wait_for_url(lambda url: "job=" not in url)


def test_a_copy_is_what_the_address_names(jobs: Jobs, address: str, page: Any) -> None:
    job = seeding.drawing(jobs, "an owl", 41)
    page.goto(f"{address}/queue?job={job.id}")
    page.get_by_role("button", name="Make a copy").click()
    page.wait_for_url(lambda url: "job=" in url and job.id not in url)
    (waiting,) = jobs.list("me", states=["queued"])
    assert waiting.id in page.url
    jobs.cancel(waiting.id)


def test_what_is_open_stays_in_sight(jobs: Jobs, address: str, page: Any) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{address}/queue")
    page.get_by_role("button", name="a ship, 2 ").last.click()
    page.wait_for_selector(".facts")
    assert page.evaluate("scrollY") > 0
    page.wait_for_function(IN_SIGHT, arg=".facts")


def test_a_search_follows_all_that_changes_it(address: str, page: Any) -> None:
    page.goto(f"{address}/library")
    cards, search = page.locator(".adapter"), page.get_by_label("Search")
    cards.nth(11).wait_for()
    search.focus()
    page.keyboard.insert_text("Ink 11")
    page.wait_for_function("document.querySelectorAll('.adapter').length === 1")
    page.keyboard.press("Backspace")
    page.wait_for_function("document.querySelectorAll('.adapter').length === 3")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.wait_for_function("document.querySelectorAll('.adapter').length === 12")
    search.press_sequentially("Ink 7", delay=5)
    page.wait_for_function("document.querySelectorAll('.adapter').length === 1")


def test_a_list_of_an_older_search_has_not_the_last_word(jobs: Jobs, address: str, page: Any) -> None:
    job = seeding.stand(jobs, seeding.drawing(jobs, "a bee", 60), "running")
    asks = re.compile("queue/join")

    def looks_for(search: str) -> Callable[[Any], bool]:
        told = f'"data":["{job.id}","","{search}","newest"]'
        return lambda request: bool(asks.search(request.url)) and told in (request.post_data or "")

    cards = page.locator(".adapter")
    page.goto(f"{address}/library?job={job.id}")
    cards.nth(11).wait_for()
    with held(page, asks, looks_for("")) as let_go:
        with page.expect_request(looks_for("")):
            pass
        seeding.stand(jobs, job, "done")  # its adapter would be among the cards
        page.get_by_label("Search").fill("Ink 11")
        with page.expect_request(looks_for("Ink 11")):
            let_go()
    page.wait_for_function("document.querySelectorAll('.adapter').length === 1")


def test_what_is_made_is_told_in_sight(workspace: Workspace, address: str, page: Any) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    card = workspace.area().library().cards()[-1]
    page.goto(f"{address}/library?adapter={card.id}")
    page.get_by_role("button", name="Use it in another program").click()
    button = page.get_by_role("button", name="Export", exact=True)
    page.evaluate("scrollTo({ top: document.body.scrollHeight })")
    button.click()
    page.wait_for_selector(".job-strip")
    page.wait_for_function("scrollY === 0")
    page.wait_for_function(IN_SIGHT, arg=".job-strip")
    (job,) = workspace.jobs.list("me", task="export")
    workspace.jobs.cancel(job.id)


def test_what_was_deleted_can_be_taken_back_in_sight(workspace: Workspace, address: str, page: Any) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    card = workspace.area().library().cards()[-1]
    page.goto(f"{address}/library?adapter={card.id}")
    page.get_by_role("button", name="Name, tags and notes").click()
    button = page.get_by_role("button", name="Move to the bin")
    button.wait_for()
    page.evaluate("scrollTo({ top: document.body.scrollHeight })")
    button.click()
    undo = page.get_by_role("button", name="Undo: take it out of the bin")
    undo.wait_for()
    page.wait_for_function("scrollY === 0")
    undo.click()
    undo.wait_for(state="hidden")
    assert card.id in [one.id for one in workspace.area().library().cards()]
