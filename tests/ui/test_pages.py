"""The pages' buttons as endpoints: what they do to jobs, adapters and settings, and what they refuse, in sentences."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from lorastyle import BadInput, Card, Draft, Job, Workspace, shipped_facts, write_image
from tests.ui import seeding
from ui import files
from ui.pages.compare import sides
from ui.pages.generate import cancel_all

PROMPT = "a cat face, inkstyle"
NO_ADAPTERS = ("", 1.0) * 4


class Pages:
    """A studio without a worker: jobs stay as they were put into the queue."""

    def __init__(self, workspace: Workspace, address: str) -> None:
        self.workspace = workspace
        self.client = Client(address, verbose=False)
        self.ink = self._adapter("Ink", "inkstyle")
        self.bird = self._adapter("Bird", "p33p")
        self.trained = seeding.training(workspace.jobs, workspace.root, "Ink, 28 pictures", (50, 100))

    def _adapter(self, title: str, trigger: str) -> Card:
        path = seeding.adapter(self.workspace.root / f"{title}.safetensors", trigger)
        return self.workspace.area().library().add(path, title)

    def press(self, button: str, *values: Any) -> Any:
        """What the button's endpoint answers."""
        return self.client.predict(*values, api_name=f"/{button}")

    def refusal(self, button: str, *values: Any) -> str:
        with pytest.raises(AppError) as refused:
            self.press(button, *values)
        return str(refused.value)

    def paused(self, title: str) -> Job:
        """A job that waits and that nobody takes."""
        job = self.workspace.jobs.add("generate", {"prompts": [title]}, title=title)
        return self.workspace.jobs.pause(job.id)

    def waiting(self) -> list[str]:
        return [job.title for job in self.workspace.jobs.list("me", states=["queued", "paused"])]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    workspace = Workspace(tmp_path_factory.mktemp("pages"))
    with seeding.served(workspace.root) as address:
        yield Pages(workspace, address)


@pytest.fixture(autouse=True)
def _empty_queue(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    pages = request.getfixturevalue("pages")
    for job in pages.workspace.jobs.list("me", states=["queued", "paused", "running"]):
        pages.workspace.jobs.cancel(job.id)


# Queue


def test_jobs_change_places(pages: Pages) -> None:
    first, second, third = (pages.paused(title) for title in ("first", "second", "third"))
    pages.press("queue_earlier", third.id)
    assert pages.waiting() == ["first", "third", "second"]
    pages.press("queue_later", first.id)
    assert pages.waiting() == ["third", "first", "second"]
    pages.press("queue_earlier", third.id)
    pages.press("queue_later", second.id)
    assert pages.waiting() == ["third", "first", "second"]


def test_a_job_goes_through_its_states(pages: Pages) -> None:
    job = pages.paused("a fox")
    assert pages.press("queue_resume", job.id)["state"] == "queued"
    assert pages.press("queue_pause", job.id)["state"] == "paused"
    assert pages.press("queue_cancel", job.id)["state"] == "cancelled"
    assert pages.press("queue_retry", job.id)["state"] == "queued"
    assert pages.press("queue_clone", job.id)["id"] != job.id
    assert "not over yet" in pages.refusal("queue_remove", job.id)
    pages.press("queue_cancel", job.id)
    pages.press("queue_remove", job.id)
    assert "no such job" in pages.refusal("queue_cancel", job.id)


def test_captions_that_are_written_meanwhile_can_be_stopped(pages: Pages) -> None:
    done = seeding.drawing(pages.workspace.jobs, "over", 10)
    assert pages.press("review_stop", {"job": done.id}) == {"state": "done"}


def test_what_cannot_be_done_to_a_job_is_told(pages: Pages) -> None:
    assert "no training" in pages.refusal("queue_sample", pages.paused("a fox").id)
    assert "no such job" in pages.refusal("queue_cancel", "nothing")
    others = pages.workspace.jobs.add("generate", {"prompts": ["mine"]}, owner="ann")
    assert "no such job" in pages.refusal("queue_cancel", others.id)
    assert pages.workspace.jobs.get(others.id).state == "queued"


def test_a_job_is_told_without_a_path_of_the_server(pages: Pages) -> None:
    assert str(pages.workspace.root) not in str(pages.press("queue_clone", pages.trained.id))


# Review


@pytest.fixture
def draft(pages: Pages, tmp_path: Path) -> Iterator[Draft]:
    """A dataset of one picture of 600 pixels."""
    made = pages.workspace.area().new_dataset("Review")
    made.add([seeding.picture(tmp_path / "cat.png", 10, 600)])
    yield made
    made.delete()


def seen(pages: Pages, draft: Draft, base: str) -> tuple[set[str], str]:
    """What there is to be said of the pictures as that base would train them, and of the crops."""
    told = pages.press("review_rows", {"data": draft.id, "base": base})
    return {one["code"] for row in told["rows"] for one in row["warnings"]}, told["crops"]


def test_the_review_goes_on_with_a_base_that_is_mistyped(pages: Pages, draft: Draft) -> None:
    codes, crops = seen(pages, draft, "mistyped")
    assert "small" in codes  # for the 1024 pixels that most bases have
    assert crops == ""
    asked = {"data": draft.id, "base": "mistyped", "id": draft.rows()[0].id, "text": "a cat"}
    assert [row["caption"] for row in pages.press("review_set_caption", asked)["rows"]] == ["a cat"]


def test_a_training_that_is_longer_by_itself_than_the_studio_allows_is_not_queued(pages: Pages, draft: Draft) -> None:
    chosen = (draft.id, "pocket", "style", "inkpen", {"set": {}}, "Ink")
    usual = pages.workspace.settings.limits.steps
    pages.workspace.save_settings({"limits.steps": 10})  # not by the server itself, as from the command line
    assert "more than the 10 steps allowed here" in pages.refusal("train", *chosen)
    pages.workspace.save_settings({"limits.steps": usual})
    assert pages.workspace.jobs.get(pages.press("train", *chosen)).state == "queued"


def test_crops_are_those_of_the_base_once_a_job_has_looked_at_it(pages: Pages, draft: Draft) -> None:
    codes, crops = seen(pages, draft, "someone/sd")
    assert "small" in codes
    assert "someone/sd are not known yet" in crops
    jobs = pages.workspace.jobs
    facts = shipped_facts()["pocket"].as_json() | {"resolution": 512, "divisor": 64}
    seeding.stand(jobs, jobs.add("describe", {"base": "someone/sd"}), "done", result={"facts": facts})
    codes, crops = seen(pages, draft, "someone/sd")
    assert "small" not in codes
    assert crops == ""


# Generate


def draw(pages: Pages, *, prompt: str = PROMPT, seed: int = 7, keep: bool = True, pictures: int = 1,
         adapters: tuple[Any, ...] = NO_ADAPTERS) -> Any:  # fmt: skip
    details = ("blurred", 12, 4.5, 64, 64)
    return pages.press("generate_draw", prompt, "pocket", seed, keep, pictures, *details, *adapters)


def test_each_picture_is_a_job_with_a_seed_of_its_own(pages: Pages) -> None:
    ids, seed = draw(pages, pictures=3, adapters=(pages.ink.id, 0.6, pages.bird.id, -0.5, *NO_ADAPTERS[4:]))
    jobs = [pages.workspace.jobs.get(id) for id in ids]
    assert seed == 7
    assert [job.settings["seed"] for job in jobs] == [7, 8, 9]
    asked = jobs[0].settings
    assert asked["prompts"] == [PROMPT]
    assert asked["adapters"] == {str(pages.ink.path): 0.6, str(pages.bird.path): -0.5}
    assert [asked[name] for name in ("negative", "steps", "guidance", "width", "height")] == [
        "blurred",
        12,
        4.5,
        64,
        64,
    ]


def test_a_seed_that_is_not_kept_is_a_new_one_and_is_told(pages: Pages) -> None:
    ids, seed = draw(pages, keep=False)
    assert pages.workspace.jobs.get(ids[0]).settings["seed"] == seed
    assert draw(pages, keep=False)[1] != seed


def test_pictures_give_their_settings_back(pages: Pages) -> None:
    ids, _ = draw(pages, adapters=(pages.ink.id, 0.6, *NO_ADAPTERS[2:]))
    again = str(pages.press("generate_reuse", ids[0]))
    for part in (PROMPT, pages.ink.id, "blurred"):
        assert part in again


def test_a_picture_of_a_file_gives_its_settings_back(pages: Pages, tmp_path: Path) -> None:
    drawn = picture_with(tmp_path, [{"name": pages.ink.path.stem, "strength": 0.35}])
    again = str(pages.press("generate_read", handle_file(drawn)))
    for part in ("a far island", "123454321", pages.ink.id, "0.35"):
        assert part in again
    write_image(tmp_path / "plain.png", Image.new("RGB", (8, 8)))
    assert "say how it was drawn" in pages.refusal("generate_read", handle_file(tmp_path / "plain.png"))


def test_adapters_of_one_title_are_told_apart(pages: Pages, tmp_path: Path) -> None:
    library = pages.workspace.area().library()
    first, second = (
        library.add(seeding.adapter(tmp_path / f"{rank}.safetensors", "twin", rank), "Twin") for rank in (2, 3)
    )
    ids, _ = draw(pages, adapters=(first.id, 0.6, second.id, -0.4, *NO_ADAPTERS[4:]))
    again = str(pages.press("generate_reuse", ids[0]))
    assert all(part in again for part in (first.id, second.id, "-0.4"))
    drawn = picture_with(tmp_path, [{"name": "Twin", "strength": 0.35, "hash": _hash(second)}])
    told = str(pages.press("generate_read", handle_file(drawn)))
    assert f"'value': '{second.id}'" in told
    assert f"'value': '{first.id}'" not in told
    nameless = picture_with(tmp_path, [{"name": "Twin", "strength": 0.35}])
    assert "several" in pages.refusal("generate_read", handle_file(nameless))


def picture_with(folder: Path, adapters: list[dict[str, Any]]) -> Path:
    """A picture whose file says that it was drawn with these adapters."""
    image = Image.new("RGB", (8, 8))
    image.info["lorastyle"] = json.dumps({"prompt": "a far island", "seed": 123454321, "adapters": adapters})
    write_image(folder / "drawn.png", image)
    return folder / "drawn.png"


def _hash(card: Card) -> str:
    """As the file of a picture has it."""
    return hashlib.sha256(card.path.read_bytes()).hexdigest()[:10]


def test_drawing_stops(pages: Pages) -> None:
    ids, _ = draw(pages, pictures=2)
    assert sorted(pages.press("generate_stop")) == sorted(ids)
    assert {pages.workspace.jobs.get(id).state for id in ids} == {"cancelled"}


def test_drawing_stops_although_a_picture_is_done_meanwhile(pages: Pages) -> None:
    ids, _ = draw(pages, pictures=3)
    jobs = pages.workspace.jobs
    found = [jobs.get(id) for id in ids]
    seeding.stand(jobs, found[0], "done")
    assert cancel_all(jobs, found) == ids[1:]
    assert [jobs.get(id).state for id in ids] == ["done", "cancelled", "cancelled"]


def test_what_cannot_be_drawn_is_told(pages: Pages) -> None:
    values = ("pocket", 0, True, 1, "", 20, None, None, None)
    assert "describe in a few words" in pages.refusal("generate_draw", " ", *values, *NO_ADAPTERS).lower()
    twice = (pages.ink.id, 1.0, pages.ink.id, 0.5, *NO_ADAPTERS[4:])
    assert "chosen twice" in pages.refusal("generate_draw", PROMPT, *values, *twice)
    unknown = ("no-such-adapter", 1.0, *NO_ADAPTERS[2:])
    assert "no such adapter" in pages.refusal("generate_draw", PROMPT, *values, *unknown)


def test_refusals_are_text_and_not_html(pages: Pages) -> None:
    values = ("<i>base</i>", 0, True, 1, "", 20, None, None, None)
    assert "<i>" not in pages.refusal("generate_draw", PROMPT, *values, *NO_ADAPTERS)


# Compare


def test_both_sides_have_the_same_prompt_and_seed(pages: Pages) -> None:
    pair = pages.press("compare_draw", "base", f"adapter:{pages.ink.id}", 1.0, 0.8, PROMPT, 3)
    left, right = (pages.workspace.jobs.get(id).settings for id in pair)
    assert (left["prompts"], left["seed"]) == (right["prompts"], right["seed"]) == ([PROMPT], 3)
    assert left["adapters"] == {}
    assert right["adapters"] == {str(pages.ink.path): 0.8}


def test_what_was_drawn_already_is_not_drawn_again(pages: Pages) -> None:
    asked = ("base", f"adapter:{pages.ink.id}", 1.0, 0.8, PROMPT, 4)
    assert pages.press("compare_draw", *asked) == pages.press("compare_draw", *asked)
    assert pages.press("compare_draw", *asked[:-1], 5) != pages.press("compare_draw", *asked)


def test_any_two_checkpoints_can_be_compared(pages: Pages) -> None:
    sides = (f"checkpoint:{pages.trained.id}:50", f"checkpoint:{pages.trained.id}:100")
    pair = pages.press("compare_draw", *sides, 0.5, 1.0, PROMPT, 0)
    left, right = (pages.workspace.jobs.get(id).settings for id in pair)
    assert "step-000050" in left["checkpoints"][0]
    assert "step-000100" in right["checkpoints"][0]
    assert (left["strengths"], right["strengths"]) == ([0.5], [1.0])


def test_sides_are_known_again_after_a_reload(pages: Pages) -> None:
    here, asked = pages.workspace.area(), (f"adapter:{pages.ink.id}", f"checkpoint:{pages.trained.id}:50")
    pair = pages.press("compare_draw", *asked, 0.6, 0.4, PROMPT, 8)
    again = [sides.side_of(pages.workspace.jobs.get(id), here) for id in pair]
    assert again == [(asked[0], 0.6), (asked[1], 0.4)]


def test_an_adapter_and_a_checkpoint_of_one_folder_are_of_one_base(pages: Pages, tmp_path: Path) -> None:
    workspace, here = pages.workspace, pages.workspace.area()
    (tmp_path / "mine.v1").mkdir()
    (tmp_path / "mine.v1" / "model_index.json").write_text("{}")
    workspace.save_settings({"model_folders": [str(tmp_path)]})
    at = str(tmp_path / "mine.v1")
    trained = seeding.training(workspace.jobs, workspace.root, "Mine", (50,), base=at)
    card = here.library().add(seeding.adapter(tmp_path / "a.safetensors", base="mine.v1"), "Mine")
    pair = (f"adapter:{card.id}", f"checkpoint:{trained.id}:50")
    assert sides.base_of(workspace, here, pair) == at
    assert sides.base_of(workspace, here, (sides.BASE, pair[0])) == at
    with pytest.raises(BadInput, match=r"different bases, pocket and mine\.v1"):
        sides.base_of(workspace, here, (f"adapter:{pages.ink.id}", pair[1]))


def test_settings_that_are_used_again_call_a_base_by_its_name(pages: Pages, tmp_path: Path) -> None:
    (tmp_path / "mine.v2").mkdir()
    (tmp_path / "mine.v2" / "model_index.json").write_text("{}")
    pages.workspace.save_settings({"model_folders": [str(tmp_path)]})
    again = str(pages.press("generate_reuse", pages.workspace.area().generate("mine.v2", [PROMPT], {}).id))
    assert "mine.v2" in again
    assert str(tmp_path) not in again


def test_a_picture_that_was_sent_is_compared_under_its_own_settings(pages: Pages) -> None:
    sent = seeding.drawing(pages.workspace.jobs, "a tall ship", 5, {str(pages.ink.path): 0.7})
    pair = pages.press("compare_draw", "base", f"picture:{sent.id}", 1.0, 1.0, "something else", 99)
    left = pages.workspace.jobs.get(pair[0]).settings
    assert pair[1] == sent.id
    assert (left["prompts"], left["seed"], left["adapters"]) == (["a tall ship"], 5, {})


def test_a_grid_is_one_job_of_all_cells(pages: Pages) -> None:
    id = pages.press("compare_grid", pages.trained.id, [50, 100], [0.5, 1.0], "a cat\n\n a ship ", 2)
    asked = pages.workspace.jobs.get(id).settings
    assert [Path(path).parent.name for path in asked["checkpoints"]] == ["step-000050", "step-000100"]
    assert (asked["strengths"], asked["prompts"], asked["seed"]) == ([0.5, 1.0], ["a cat", "a ship"], 2)
    assert "choose the prompts" in pages.refusal("compare_grid", pages.trained.id, [50], [1.0], " ", 0).lower()


def test_what_was_typed_and_is_not_there_is_told(pages: Pages) -> None:
    assert "'the last' is no step" in pages.refusal("compare_grid", pages.trained.id, ["the last"], [1.0], "a cat", 0)
    for side in (f"checkpoint:{pages.trained.id}:last", "my Ink", None):
        assert "from the list" in pages.refusal("compare_draw", "base", side, 1.0, 1.0, PROMPT, 0)


def test_the_cell_that_is_kept_is_published_with_its_strength(pages: Pages) -> None:
    library = pages.workspace.area().library()
    for checkpoint in pages.workspace.jobs.checkpoints(pages.trained.id):
        seeding.adapter(checkpoint["path"], rank=checkpoint["step"] // 50)
    drawn = seeding.grid(pages.workspace.jobs, pages.trained, [0.5, 0.75], [PROMPT])
    card = library.card(pages.press("compare_keep", drawn.id, "1", ""))
    assert (card.title, card.strength, card.rank, card.step) == (pages.trained.title, 0.75, 1, 50)
    beside = library.card(pages.press("compare_keep", drawn.id, "2", "Beside"))
    assert (beside.title, beside.rank) == ("Beside", 2)
    assert library.card(card.id) == card
    asked = ("base", f"adapter:{card.id}", 1.0, 1.0, PROMPT, 12)
    before = pages.press("compare_draw", *asked)
    again = library.card(pages.press("compare_keep", drawn.id, "2", ""))
    assert (again.id, again.strength, again.rank) == (card.id, 0.5, 2)
    after = pages.press("compare_draw", *asked)
    assert after[0] == before[0]  # of the base
    assert after[1] != before[1]  # which shows the former checkpoint
    assert files.card(again) != files.card(card)
    assert "like best" in pages.refusal("compare_keep", drawn.id, "", "")


# Library


def test_names_tags_notes_and_strength_are_kept(pages: Pages) -> None:
    pages.press("library_save", pages.bird.id, "A bird", "small, blue , ", 0.65, "Best with clouds.")
    card = pages.workspace.area().library().card(pages.bird.id)
    assert (card.title, card.tags, card.strength, card.notes) == (
        "A bird",
        ("small", "blue"),
        0.65,
        "Best with clouds.",
    )


def test_what_is_deleted_comes_back(pages: Pages) -> None:
    library = pages.workspace.area().library()
    for back in ("library_undo", "library_restore"):
        pages.press("library_delete", pages.bird.id)
        assert pages.bird.id not in [card.id for card in library.cards()]
        pages.press(back, pages.bird.id)
        assert pages.bird.id in [card.id for card in library.cards()]


def test_the_bin_is_emptied_for_good(pages: Pages) -> None:
    library = pages.workspace.area().library()
    lost = library.add(pages.bird.path, "Lost")
    pages.press("library_delete", lost.id)
    pages.press("library_empty_bin")
    assert library.cards(binned=True) == []
    assert "no such adapter" in pages.refusal("library_restore", lost.id)


def test_exports_mixes_and_merges_become_jobs(pages: Pages) -> None:
    jobs, both = pages.workspace.jobs, (pages.ink.id, 0.5, pages.bird.id, 0.25, *NO_ADAPTERS[4:])
    paths = {str(pages.ink.path): 0.5, str(pages.bird.path): 0.25}
    export = jobs.get(pages.press("library_export", pages.ink.id, "comfyui", "fp16", None)).settings
    assert (export["adapter"], export["to"], export["dtype"]) == (str(pages.ink.path), "comfyui", "fp16")
    mix = jobs.get(pages.press("library_mix", "Both", 8, *both))
    assert (mix.title, mix.settings["adapters"], mix.settings["rank"]) == ("Both", paths, 8)
    merge = jobs.get(pages.press("library_merge", "pocket", "Whole", *both))
    assert (merge.title, merge.settings["base"], merge.settings["adapters"]) == ("Whole", "pocket", paths)
    assert "at least two" in pages.refusal("library_mix", "One", None, pages.ink.id, 1.0, *NO_ADAPTERS[2:])
    assert pages.press("library_cancel", mix.id) == mix.id
    assert jobs.get(mix.id).state == "cancelled"


def test_an_adapter_is_brought_in(pages: Pages) -> None:
    file = seeding.adapter(pages.workspace.root / "from elsewhere.safetensors", "foreign")
    job = pages.workspace.jobs.get(pages.press("library_import", handle_file(file), "pocket"))
    assert (job.task, job.settings["family"]) == ("import", "pocket")
    assert (job.folder / "upload" / file.name).read_bytes() == file.read_bytes()


# Settings


def test_settings_are_changed_and_checked(pages: Pages, tmp_path: Path) -> None:
    limits = pages.workspace.settings.limits.model_dump()
    shown = [value / 2**30 if name.endswith("bytes") else value for name, value in limits.items()]
    shown[list(limits).index("rank")] = 64
    pages.press("settings_save", "pocket", "fp32", f"{tmp_path}\n", "dark", *shown)
    now = pages.workspace.settings
    assert (now.theme, now.model_folders) == ("dark", [str(tmp_path)])
    assert now.limits.model_dump() == limits | {"rank": 64}
    assert "no such folder" in pages.refusal("settings_save", "pocket", "fp32", "/no/such", "dark", *shown)


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("steps", -5, "The longest training: -5 cannot be used. Give a whole number, 1 or more."),
        ("steps", 2.5, "The longest training: 2.5 cannot be used. Give a whole number, 1 or more."),
        ("upload_bytes", -5, "The largest file that can be added: -5 cannot be used. Give more than 0."),
        ("rank", None, "The highest rank of an adapter: it is empty. Give a number."),
        ("pixels", 10**9, "Pixels: 1000000000 cannot be used. Give at most 100,000,000."),
    ],
)
def test_a_limit_that_cannot_be_used_is_called_by_its_name(pages: Pages, limit: str, value: Any, said: str) -> None:
    limits = pages.workspace.settings.limits.model_dump()
    shown = {name: round(value / 2**30, 3) if name.endswith("bytes") else value for name, value in limits.items()}
    assert said in pages.refusal("settings_save", "pocket", "fp32", "", "dark", *(shown | {limit: value}).values())


def test_limits_that_are_shown_rounded_stay_as_they_are(pages: Pages) -> None:
    workspace = pages.workspace
    workspace.save_settings({"limits.upload_bytes": 2**30 + 12_345, "limits.unpacked_bytes": 500_000})
    limits = workspace.settings.limits.model_dump()
    shown = [round(value / 2**30, 3) if name.endswith("bytes") else value for name, value in limits.items()]
    shown[list(limits).index("rank")] = 32
    shown[list(limits).index("disk_bytes")] = 0.5
    pages.press("settings_save", "pocket", "fp32", "", "dark", *shown)
    assert workspace.settings.limits.model_dump() == limits | {"rank": 32, "disk_bytes": 2**29}
    shown[list(limits).index("rank")] = None
    assert "give a number" in pages.refusal("settings_save", "pocket", "fp32", "", "dark", *shown).lower()
