"""The pages that draw and compare, in a browser: what a reload shows again, what lists offer, what stays in sight."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from lorastyle import Card, Job, Workspace
from tests.ui import seeding
from tests.ui.conftest import held

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=60_000)

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

PHONE = {"width": 390, "height": 844}


class Drawing:
    """A studio without a worker, with two adapters, a training, and a picture that was drawn with both adapters."""

    def __init__(self, workspace: Workspace, address: str) -> None:
        self.workspace, self.address = workspace, address
        self.ink, self.bird = self.adapter("Ink", 0.7), self.adapter("Bird", 1.3)
        self.trained = seeding.training(workspace.jobs, workspace.root, "Ink, 28 pictures", (50, 100, 150, 200))
        asked = {str(self.ink.path): 0.6, str(self.bird.path): -0.4}
        self.picture = seeding.drawing(workspace.jobs, "a tall ship", 77, asked)

    def adapter(self, title: str, strength: float, base: str = "pocket") -> Card:
        library = self.workspace.area().library()
        made = library.add(seeding.adapter(self.workspace.root / f"{title}.safetensors", base=base), title)
        return library.prefer(made.id, strength)


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawing]:
    workspace = Workspace(tmp_path_factory.mktemp("drawing"))
    with seeding.served(workspace.root) as address:
        yield Drawing(workspace, address)


def test_a_reload_asks_for_the_open_picture_again(drawing: Drawing, page: "Page") -> None:
    page.goto(f"{drawing.address}/generate?job={drawing.picture.id}")
    expect(page.get_by_label("What should it show?")).to_have_value("a tall ship")
    for row, (title, strength) in enumerate((("Ink", "0.6"), ("Bird", "-0.4"))):
        mixed = page.locator(".mixture-row").nth(row)
        expect(mixed.get_by_role("combobox")).to_have_value(title)
        expect(mixed.get_by_role("spinbutton")).to_have_value(strength)
    expect(page.get_by_label("Keep this seed")).not_to_be_checked()


def test_an_adapter_made_meanwhile_is_offered_at_its_own_strength(drawing: Drawing, page: "Page") -> None:
    page.goto(f"{drawing.address}/generate")
    first = page.locator(".mixture-row").first
    expect(first.get_by_role("spinbutton")).to_have_value("1")
    expect(page.get_by_label("Seed", exact=False).first).not_to_have_value("0")  # the page has been filled
    drawing.adapter("Late", 0.35, "pocket-flux")
    first.get_by_role("combobox").click()
    page.get_by_role("option", name="Late").click()
    expect(first.get_by_role("spinbutton")).to_have_value("0.35")
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_label("Base")).to_have_value("pocket-flux")  # which it was taught on


def test_a_look_that_knew_less_has_not_the_last_word(drawing: Drawing, page: "Page") -> None:
    jobs = drawing.workspace.jobs
    slow = seeding.stand(jobs, seeding.drawing(jobs, "a slow picture", 10), "running")
    asks, other = re.compile("queue/join"), seeding.drawing(jobs, "an owl", 20)

    def looks_at(job: Job) -> Callable[["Request"], bool]:
        return lambda request: bool(asks.search(request.url)) and f'"data":["{job.id}"]' in (request.post_data or "")

    stage = page.locator("figcaption")
    with held(page, asks, looks_at(slow)) as let_go:
        with page.expect_request(looks_at(slow)):
            page.goto(f"{drawing.address}/generate?job={slow.id}")
        expect(stage).to_contain_text("a slow picture")
        seeding.stand(jobs, slow, "done")  # nothing is under way, and nothing would be looked at again
        page.get_by_role("button", name="an owl").click()
        page.wait_for_url(f"**job={other.id}")
        with page.expect_request(looks_at(other)):
            let_go()
    expect(stage).to_contain_text("an owl")


def test_a_picture_that_is_a_side_has_its_own_prompt(drawing: Drawing, page: "Page") -> None:
    page.goto(f"{drawing.address}/compare?picture={drawing.picture.id}")
    prompt, right = page.get_by_label("Prompt").first, page.get_by_label("Right", exact=True)
    expect(right).to_have_value("The picture with Ink at 0.6 and Bird at -0.4")
    expect(prompt).to_have_value("a tall ship")
    expect(prompt).to_be_disabled()
    expect(page.get_by_label("number input for Strength on the right")).to_be_disabled()
    right.click()
    page.get_by_role("option", name="Bird", exact=True).click()
    expect(prompt).to_be_enabled()
    expect(page.get_by_label("number input for Strength on the right")).to_have_value("1.3")


def test_a_comparison_is_there_again_after_a_reload(drawing: Drawing, page: "Page") -> None:
    page.goto(f"{drawing.address}/compare?training={drawing.trained.id}")
    expect(page.get_by_role("tab", name="Grid")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Side by side").click()
    page.get_by_label("Prompt", exact=True).fill("a cat")
    page.get_by_role("button", name="Draw both").click()
    page.wait_for_url("**/compare?left=*")
    page.reload()
    expect(page.get_by_role("tab", name="Side by side")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_label("Prompt").first).to_have_value("a cat")
    base = seeding.drawing(drawing.workspace.jobs, "a tall ship", 77)
    page.goto(f"{drawing.address}/compare?left={base.id}&right={drawing.picture.id}")
    expect(page.get_by_label("Right", exact=True)).to_have_value("The picture with Ink at 0.6 and Bird at -0.4")


def test_a_tab_that_is_chosen_before_the_page_is_filled_stays_open(drawing: Drawing, page: "Page") -> None:
    with held(page, "**/run/predict*") as fill:
        page.goto(f"{drawing.address}/compare?training={drawing.trained.id}")
        expect(page.get_by_role("tab", name="Grid")).to_have_attribute("aria-selected", "true")
        page.get_by_role("tab", name="Side by side").click()
        fill()
        expect(page.get_by_label("Left", exact=True)).to_have_value("The base alone")
        expect(page.get_by_label("Prompt", exact=True)).to_be_visible()


def test_checkpoints_made_meanwhile_are_offered(drawing: Drawing, page: "Page") -> None:
    trained = seeding.training(drawing.workspace.jobs, drawing.workspace.root, "Growing", (50, 100))
    page.goto(f"{drawing.address}/compare?training={trained.id}")
    taken = page.get_by_role("button", name=re.compile(r"Remove \d"))  # as Gradio calls those of a list
    expect(taken).to_have_count(2)
    seeding.checkpoint(trained, 150)
    page.get_by_label("Checkpoints").click()
    page.get_by_role("option", name="150").click()
    expect(taken).to_have_count(3)  # what was chosen stays
    page.get_by_label("Prompts").fill("a cat")
    page.get_by_role("button", name="Draw the grid").click()
    page.wait_for_url("**job=*")
    (job,) = drawing.workspace.jobs.list("me", task="grid", states=["queued"])
    assert len(job.settings["checkpoints"]) == 3
    drawing.workspace.jobs.cancel(job.id)


def test_the_button_that_keeps_is_in_sight_of_every_picture(drawing: Drawing, page: "Page") -> None:
    page.set_viewport_size(PHONE)
    job = seeding.grid(drawing.workspace.jobs, drawing.trained, [0.5, 0.75, 1.0], ["a cat", "a ship", "a fox"])
    page.goto(f"{drawing.address}/compare?job={job.id}")
    for place in (1, 17):
        page.locator(".cell").nth(place).click()
        expect(page.locator(".cell").nth(place)).to_have_attribute("aria-current", "true")
        expect(page.get_by_role("button", name="Keep this one")).to_be_in_viewport()
    assert page.locator(".wide").first.evaluate("wide => wide.scrollWidth <= wide.clientWidth")


def test_typing_into_a_list_looks_for_an_entry(drawing: Drawing, page: "Page") -> None:
    page.goto(f"{drawing.address}/generate")
    first = page.locator(".mixture-row").first
    adapter = first.get_by_role("combobox")
    expect(page.get_by_label("Seed", exact=False).first).not_to_have_value("0")  # the page has been filled
    with page.expect_request(lambda request: "queue/join" in request.url):  # its answer, nothing new, may come late
        adapter.click()
    page.wait_for_function("document.getSelection().toString() === 'None'")
    page.keyboard.type("Bir")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(adapter).to_have_value("Bird")
    expect(first.get_by_role("spinbutton")).to_have_value("1.3")
