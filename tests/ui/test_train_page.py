"""The page that teaches, in Chromium: images in, reviewed, chosen, queued; and what goes over the wire meanwhile."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorastyle import BadInput, Draft, Recipe
from tests.ui.conftest import CODE, Running, held

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=60_000)
Page = Any

INK = CODE / "sample_data" / "ink"
SERVER = re.compile("component_server")  # where widgets call their server functions
SOME = [INK / f"{name}{ending}" for name in ("cat", "owl", "fox") for ending in (".png", ".txt")]


@pytest.fixture
def draft(studio: Running) -> Iterator[Draft]:
    """A dataset of three drawings and a wide picture, which its crop cuts."""
    made = studio.workspace.area("me").new_dataset("Ink")
    wide = studio.workspace.root / "wide.png"
    Image.linear_gradient("L").resize((900, 100)).convert("RGB").save(wide)
    made.add([*SOME, wide])
    yield made
    made.delete()


def opened(page: Page, studio: Running, draft: Draft, step: str) -> Page:
    page.goto(f"{studio.address}/?data={draft.id}&step={step}")
    return page


def test_images_and_their_captions_are_taken_in_together(studio: Running, page: Page, tmp_path: Path) -> None:
    page.goto(studio.address)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    page.set_input_files(".drop .files", [*SOME, broken])
    expect(page.locator(".drop .result")).to_have_text("Added 3 images.")
    expect(page.locator(".drop .refused")).to_contain_text("broken.png")
    page.click("#to-review")
    expect(page.locator(".review article")).to_have_count(3)
    assert "step=review" in page.url
    captions = [row.caption for row in _last(studio).rows()]
    assert captions == [path.read_text().strip() for path in sorted(SOME) if path.suffix == ".txt"]
    _last(studio).delete()


def test_an_edit_sends_one_row(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "review")
    expect(page.locator(".review article")).to_have_count(4)
    with page.expect_response(lambda response: _asks(response.request, "set_caption")) as answer:
        caption = page.get_by_label("Caption of cat.png")
        caption.fill("a cat with a hat")
        caption.blur()
    told = json.loads(answer.value.body())
    assert [row["caption"] for row in told["rows"]] == ["a cat with a hat"]
    assert [row.caption for row in draft.rows() if row.name == "cat.png"] == ["a cat with a hat"]


def test_the_crop_follows_the_focus_point_by_mouse_and_by_keyboard(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "review")
    card = page.locator(".review article", has=page.get_by_label("Caption of wide.png"))
    expect(card).to_contain_text("the crop loses")
    expect(card.locator(".warnings")).not_to_be_empty()
    before = card.locator(".crop").bounding_box()
    box = card.locator(".pic").bounding_box()
    card.locator(".focus").hover()
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    expect(page.locator(".review .status")).to_have_text("Saved.")
    assert card.locator(".crop").bounding_box()["x"] > before["x"]
    assert _row(draft, "wide.png").focus[0] == pytest.approx(0.9, abs=0.02)
    with page.expect_response(lambda response: _asks(response.request, "set_focus")):
        card.locator(".focus").press("Home")
    assert _row(draft, "wide.png").focus == (0.5, 0.5)


def test_many_captions_are_changed_and_taken_back(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "review")
    page.get_by_text("Change many captions at once").click()
    page.get_by_label("Find", exact=True).fill("emoji")
    page.get_by_label("Replace with").fill("drawing")
    page.get_by_role("button", name="Replace in all captions").click()
    expect(page.locator(".review .status")).to_contain_text("3 images")
    expect(page.get_by_label("Caption of owl.png")).to_have_value("[trigger] drawing of an owl")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Caption of owl.png")).to_have_value("[trigger] emoji of an owl")


def test_selected_images_are_removed_and_brought_back(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "review")
    for name in ("fox.png", "owl.png"):
        page.get_by_label(f"Select {name}").check()
    page.get_by_label("Search captions").fill("fox")  # what is hidden stays
    page.get_by_role("button", name="Remove 1 selected").click()
    expect(page.locator(".review article")).to_have_count(3)
    expect(page.locator(".steps [data-step=images] small")).to_have_text("3 images")
    assert sorted(row.name for row in draft.rows()) == ["cat.png", "owl.png", "wide.png"]
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".review article")).to_have_count(4)
    expect(page.locator(".steps [data-step=images] small")).to_have_text("4 images")


def test_undo_brings_the_last_images_back_after_a_reload(studio: Running, page: Page, draft: Draft) -> None:
    draft.remove([row.id for row in draft.rows()])
    opened(page, studio, draft, "review")
    expect(page.locator(".review .nothing")).to_contain_text("Undo brings back")
    expect(page.locator("#to-choose")).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".review article")).to_have_count(4)
    expect(page.locator("#to-choose")).to_be_visible()


def test_the_address_brings_back_the_step_that_was_open(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "review")
    expect(page.locator(".review article")).to_have_count(4)
    page.locator(".steps [data-step=images]").click()
    expect(page.locator(".drop .into")).to_contain_text("“Ink”")
    expect(page).to_have_url(re.compile("step=images"))
    page.reload()
    expect(page.locator(".drop .into")).to_be_visible()
    page.locator("#to-review").click()
    expect(page.locator(".review article").first).to_be_visible()
    page.go_back()
    expect(page.locator(".drop .into")).to_be_visible()


def test_what_an_address_names_and_is_gone_is_said_once(studio: Running, page: Page, draft: Draft) -> None:
    page.goto(f"{studio.address}/?data={draft.id}&job=abcdefgh12345678&step=watch")
    expect(page.get_by_text("The training that this page's address named")).to_be_visible()
    expect(page).not_to_have_url(re.compile("job="))
    page.reload()
    expect(page.locator(".drop .into")).to_be_visible()
    expect(page.get_by_text("The training that this page's address named")).to_be_hidden()


def test_a_dataset_gets_another_name(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "images")
    page.get_by_role("button", name="Rename Ink").click()
    page.get_by_label("New name of Ink").fill("Pen and ink")
    page.get_by_label("New name of Ink").press("Enter")
    expect(page.locator(".drop .into")).to_contain_text("“Pen and ink”")
    assert draft.title == "Pen and ink"


def test_what_is_pasted_or_deleted_counts_too(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "choose")
    expect(page.locator("#main-steps")).to_be_visible()
    trigger = page.locator("#trigger input, #trigger textarea")
    trigger.focus()
    with _kept(page):
        page.keyboard.insert_text("inkpen")
    expect(page.locator(".remarks")).to_contain_text("3 pieces")
    page.reload()
    expect(trigger).to_have_value("inkpen")
    with _kept(page):
        trigger.fill("")
    expect(page.locator(".remarks")).to_contain_text("Without a trigger word")
    page.reload()
    expect(page.locator(".remarks")).to_contain_text("Without a trigger word")


def test_a_recipe_from_a_file_survives_a_reload(studio: Running, page: Page, draft: Draft, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(Recipe(purpose="object", trigger="inkmug", rank=8).to_toml())
    opened(page, studio, draft, "choose")
    expect(page.locator("#main-rank")).to_be_visible()
    with _kept(page):
        page.set_input_files("input[type=file][accept='.toml']", recipe)
        expect(page.locator("#main-rank")).to_have_value("8")
    page.reload()
    expect(page.locator("#main-rank")).to_have_value("8")
    expect(page.locator("#trigger input, #trigger textarea")).to_have_value("inkmug")
    expect(page.locator("#main-class_word")).to_be_visible()


def test_an_estimate_does_not_outlive_the_choice(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "choose")
    expect(page.locator("#main-steps")).to_be_visible()
    page.locator("#estimate").click()
    expect(page.get_by_text("a short probe trains a few steps")).to_be_visible()
    page.locator("#main-steps").fill("40")
    page.locator("#main-steps").blur()
    expect(page.get_by_text("estimate it again")).to_be_visible()
    page.locator("#main-steps").fill("")
    page.locator("#main-steps").blur()
    expect(page.get_by_text(re.compile("a short probe trains|It takes about"))).to_be_visible()  # if it is done by now
    for job in studio.workspace.jobs.list("me", task="probe"):
        with suppress(BadInput):  # it has ended
            studio.workspace.jobs.cancel(job.id)


def test_a_base_that_is_not_there_is_said_at_its_field(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "choose")
    expect(page.locator("#main-steps")).to_be_visible()
    page.locator("#base input").fill("pockett")
    page.locator("#base input").press("Enter")
    expect(page.locator(".remarks .doubt")).to_contain_text("pockett")
    expect(page.locator("#peek")).to_be_hidden()


def test_the_form_marks_what_differs_and_says_what_is_wrong(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "choose")
    rank = page.locator("#main-rank")
    rank.fill("8")
    rank.blur()
    setting = page.locator(".main-settings .setting", has=rank)
    expect(setting.locator(".mark")).to_be_visible()
    expect(setting).to_contain_text("Suggested: 16")
    rank.fill("many")
    rank.blur()
    expect(page.locator(".recipe .problem")).to_contain_text("whole number")
    page.get_by_role("button", name="Set How much it can hold back").click()
    expect(page.locator(".recipe .problem")).to_be_hidden()
    expect(setting.locator(".mark")).to_be_hidden()
    page.locator(".recipe .all > summary").click()
    page.locator(".recipe .search").fill("signal-to-noise")
    expect(page.locator(".groups .setting:visible")).to_have_count(1)


def test_choices_survive_a_reload_and_become_the_job_s_recipe(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "choose")
    with _kept(page):
        page.locator("#main-steps").fill("1000")
        page.locator("#main-steps").blur()
    page.reload()
    expect(page.locator("#main-steps")).to_have_value("1000")
    page.locator("#trigger input, #trigger textarea").press_sequentially("inkpen")
    expect(page.locator(".remarks")).to_contain_text("3 pieces")
    page.locator("#start").click()
    expect(page.locator(".watch h2")).to_have_text("Ink")
    job = studio.workspace.jobs.list("me", task="train")[0]
    expect(page).to_have_url(re.compile(f"job={job.id}"))
    assert job.settings["recipe"]["steps"] == 1000
    assert job.settings["recipe"]["trigger"] == "inkpen"
    page.reload()
    expect(page.locator(".watch h2")).to_have_text("Ink")
    page.locator("#job-cancel").click()
    expect(page.locator(".watch .state")).to_have_text("cancelled")
    assert studio.workspace.jobs.get(job.id).state == "cancelled"


def test_an_edit_that_waits_goes_to_its_own_dataset(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "review")
    caption = page.get_by_label("Caption of cat.png")
    with held(page, SERVER, lambda request: _asks(request, "set_caption")) as release:
        for text in ("first", "second"):  # the second one waits for the first
            caption.fill(text)
            caption.blur()
        page.click("#to-choose")  # where no dataset is under review
        expect(page.locator("#start")).to_be_visible()
        with page.expect_response(lambda response: _asks(response.request, "set_caption", "second")) as answer:
            release()
    assert "error" not in answer.value.json()
    assert _row(draft, "cat.png").caption == "second"


def test_a_focus_point_that_waits_outlives_a_caption(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "review")
    card = page.locator(".review article", has=page.get_by_label("Caption of wide.png"))
    with page.expect_response(lambda response: _asks(response.request, "set_focus")):
        card.locator(".focus").press("ArrowRight")
        card.locator("textarea").fill("a wide picture")
        card.locator("textarea").blur()
    assert _row(draft, "wide.png").focus == pytest.approx((0.52, 0.5))


def test_two_tabs_do_not_write_over_each_other_s_caption(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "review")
    caption, other = page.get_by_label("Caption of cat.png"), page.locator(".review .other:visible")
    for mine, button, stays in (("mine", "Keep mine", "mine"), ("again mine", "Take that", "theirs")):
        expect(caption).not_to_have_value("")
        draft.set_caption(_row(draft, "cat.png").id, "theirs")  # in another tab
        caption.fill(mine)
        caption.blur()
        expect(other).to_contain_text("theirs")
        expect(page.locator(".review .status")).to_contain_text("changed elsewhere")
        assert _row(draft, "cat.png").caption == "theirs"
        page.get_by_label("Select fox.png").check()
        page.get_by_role("button", name="Remove 1 selected").click()  # the list is drawn anew
        expect(page.locator(".review article")).to_have_count(3)
        expect(caption).to_have_value(mine)  # until that is decided
        page.get_by_role("button", name="Undo").click()
        expect(page.locator(".review article")).to_have_count(4)
        page.get_by_role("button", name=button).click()
        expect(other).to_have_count(0)
        expect(caption).to_have_value(stays)
        caption.press("End")
        with page.expect_response(lambda response: _asks(response.request, "set_caption", "!")):
            page.keyboard.insert_text("!")
        assert _row(draft, "cat.png").caption == f"{stays}!"


def test_a_caption_that_is_only_looked_at_shows_what_it_is_by_now(studio: Running, page: Page, draft: Draft) -> None:
    draft.set_caption(_row(draft, "cat.png").id, "")
    opened(page, studio, draft, "review")
    page.get_by_text("Change many captions at once").click()
    page.get_by_role("button", name="Write 2 missing captions").focus()
    with held(page, SERVER, lambda request: _asks(request, "describe")) as release:
        page.keyboard.press("Enter")
        page.get_by_label("Caption of cat.png").focus()
        release()
        expect(page.get_by_label("Caption of cat.png")).to_have_value("cat")
    page.get_by_label("Caption of owl.png").focus()
    with page.expect_response(lambda response: _asks(response.request, "set_caption")):
        page.get_by_label("Caption of owl.png").fill("an owl")
    assert _row(draft, "cat.png").caption == "cat"


HOLD_DRAWING = """
  const request = window.requestAnimationFrame.bind(window), held = [];
  window.requestAnimationFrame = (call) => String(call).includes("draw(turn)") ? held.push(call) : request(call);
  window.letGo = () => held.splice(0).forEach((call) => call(0));
"""


def test_what_is_changed_before_its_card_is_drawn_was_not_changed_elsewhere(
    studio: Running, page: Page, draft: Draft, tmp_path: Path
) -> None:
    for number in range(60):  # as many as are drawn at once, beside those that are there
        Image.new("RGB", (64, 64), (number, 0, 0)).save(tmp_path / f"{number}.png")
    draft.add([tmp_path])
    page.add_init_script(HOLD_DRAWING)
    opened(page, studio, draft, "review")
    expect(page.locator(".review article")).to_have_count(60)
    page.get_by_text("Change many captions at once").click()
    page.locator(".review .around [name=words]").fill("ink")
    page.locator(".review .around button").first.click()
    expect(page.locator(".review .status")).to_contain_text("Added to the caption of 64 images")
    page.evaluate("letGo()")
    expect(page.locator(".review article")).to_have_count(64)
    expect(page.locator(".review .other:visible")).to_have_count(0)
    assert {row.caption.partition(",")[0] for row in draft.rows()} == {"ink"}


def test_two_tabs_do_not_write_over_each_other_s_focus_point(studio: Running, page: Page, draft: Draft) -> None:
    opened(page, studio, draft, "review")
    focus = page.locator(".review article", has=page.get_by_label("Caption of wide.png")).locator(".focus")
    expect(focus).to_have_attribute("aria-label", re.compile("50% from the left"))
    draft.set_focus(_row(draft, "wide.png").id, 0.25, 0.5)  # in another tab
    focus.press("ArrowRight")
    expect(page.locator(".review .status")).to_contain_text("changed elsewhere")
    expect(focus).to_have_attribute("aria-label", re.compile("25% from the left"))
    assert _row(draft, "wide.png").focus == (0.25, 0.5)
    with page.expect_response(lambda response: _asks(response.request, "set_focus")):
        focus.press("ArrowRight")
    assert _row(draft, "wide.png").focus == pytest.approx((0.27, 0.5))


def test_undo_comes_after_what_was_typed_before_it(studio: Running, page: Page, draft: Draft) -> None:
    draft.set_caption(_row(draft, "cat.png").id, "a cat with a hat")
    opened(page, studio, draft, "review")
    with held(page, SERVER, lambda request: _asks(request, "set_caption")) as release:
        page.get_by_label("Caption of owl.png").fill("a mistake")
        page.get_by_role("button", name="Undo").click()
        page.evaluate("() => new Promise(requestAnimationFrame)")  # time enough for an undo that does not wait
        with page.expect_response(lambda response: _asks(response.request, "undo")):
            release()
    expect(page.get_by_label("Caption of owl.png")).to_have_value("[trigger] emoji of an owl")
    assert _row(draft, "owl.png").caption == "[trigger] emoji of an owl"
    assert _row(draft, "cat.png").caption == "a cat with a hat"


def test_what_was_refused_is_told_until_it_was_read(studio: Running, page: Page, draft: Draft, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    draft.add([tmp_path / "broken.png"])
    opened(page, studio, draft, "review")
    told = page.locator(".review .refused")
    expect(told.locator("li")).to_have_text(draft.refused())
    told.get_by_role("button").click()
    expect(told).to_be_hidden()
    assert draft.refused() == []
    page.reload()
    expect(page.locator(".review article")).to_have_count(4)
    expect(told).to_be_hidden()


def _asks(request: Any, call: str, text: str = "") -> bool:
    """Whether a request calls that server function, with that text."""
    sent = request.post_data or ""
    return "component_server" in request.url and f'"{call}"' in sent and text in sent


@contextmanager
def _kept(page: Page) -> Iterator[None]:
    """Wait at the end until the browser has stored what was chosen."""
    stored = "localStorage.getItem('lorastyle-choice')"
    page.wait_for_function(f"{stored} !== null")  # the page itself stores an empty choice when it opens
    before = page.evaluate(stored)
    yield
    page.wait_for_function(f"before => {stored} !== before", arg=before)


def _last(studio: Running) -> Draft:
    return max(studio.workspace.area("me").datasets(), key=lambda draft: draft.created)


def _row(draft: Draft, name: str) -> Any:
    return next(row for row in draft.rows() if row.name == name)
