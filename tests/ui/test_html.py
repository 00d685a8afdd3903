"""What people wrote is text on the pages, wherever HTML is made of it; and what the HTML says."""

from dataclasses import replace
from pathlib import Path

import pytest

from lorastyle import Card, Job, Jobs, Workspace
from tests.ui import seeding
from ui.pages.compare import table
from ui.pages.generate import pictures
from ui.pages.library import cards, results
from ui.pages.queue import rows
from ui.widgets.words import duration, size

HOSTILE = """</b><img src=x onerror="alert(1)"> ${alert(2)} {{3}} '"""
RAW = ("<img src=x", 'onerror="')


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Workspace(tmp_path).jobs


def card(tmp_path: Path) -> Card:
    library = Workspace(tmp_path).area().library()
    made = library.add(seeding.adapter(tmp_path / "ink.safetensors", HOSTILE), HOSTILE)
    library.note(made.id, HOSTILE)
    return library.tag(made.id, ['<img src=x onerror="1">'])


def failed(jobs: Jobs, error: str = HOSTILE) -> Job:
    job = jobs.add("generate", {"prompts": [HOSTILE]}, title=HOSTILE)
    return seeding.stand(jobs, job, "failed", error=error, message=HOSTILE)


def test_jobs_are_escaped(jobs: Jobs) -> None:
    job = failed(jobs)
    running = replace(job, state="running", steps=10)
    told = (rows.listing([job, running], job.id), rows.facts(job), rows.facts(running), results.told(job, None))
    for html in (*told, rows.log(HOSTILE)):
        assert not any(part in html for part in RAW)


def test_pictures_are_escaped(jobs: Jobs) -> None:
    drawn = seeding.drawing(jobs, HOSTILE, 1)
    named = replace(drawn, settings=dict(drawn.settings) | {"adapters": {"/a.safetensors": 1.0}, "negative": HOSTILE})
    titles = {"/a.safetensors": HOSTILE}
    for html in (pictures.stage(named, titles), pictures.stage(failed(jobs), {}), pictures.history([drawn], drawn.id)):
        assert not any(part in html for part in RAW)


def test_adapters_are_escaped(tmp_path: Path) -> None:
    hostile = card(tmp_path)
    for html in (cards.grid([hostile], hostile.id, ""), cards.facts(hostile)):
        assert not any(part in html for part in RAW)


def test_grids_are_escaped(jobs: Jobs, tmp_path: Path) -> None:
    drawn = seeding.grid(jobs, seeding.training(jobs, tmp_path, "Ink", (5,)), [1.0], [HOSTILE])
    assert not any(part in table.tables(drawn, "0") for part in RAW)


def test_a_picture_tells_what_it_was_drawn_with_and_no_path(jobs: Jobs, tmp_path: Path) -> None:
    path = str(seeding.adapter(tmp_path / "ink.safetensors"))
    drawn = seeding.drawing(jobs, "a cat", 77, {path: 0.6})
    html = pictures.stage(drawn, {path: "My ink"})
    assert "My ink 0.6" in html
    assert "77" in html
    assert str(tmp_path) not in html + pictures.stage(drawn, {})


def test_the_queue_is_in_three_groups(jobs: Jobs) -> None:
    waiting, done = jobs.add("generate", {"prompts": ["a"]}, title="one"), seeding.drawing(jobs, "two", 1)
    html = rows.listing([waiting, done], "")
    assert "Waiting (1)" in html
    assert "Finished (1)" in html
    assert "At work" not in html
    assert rows.listing([], "") == rows.EMPTY


def test_an_export_shows_its_proof(jobs: Jobs, tmp_path: Path) -> None:
    adapter = seeding.adapter(tmp_path / "ink.safetensors")
    job = jobs.add("export", {"adapter": str(adapter), "to": "comfyui"})
    result = {"file": str(job.folder / "ink-comfyui.safetensors"), "layers": 128, "worst_relative_error": 3.1e-8,
              "worst_layer": "unet.mid"}  # fmt: skip
    html = results.told(seeding.stand(jobs, job, "done", result=result), None)
    for part in ("128", "3.1e-08", "unet.mid", "ink-comfyui.safetensors"):
        assert part in html
    assert str(tmp_path) not in html


def test_a_merge_tells_under_which_name_it_is_a_base(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.add("merge", {"adapters": {str(seeding.adapter(tmp_path / "ink.safetensors")): 1.0}}, title="Inked <b>")
    done = seeding.stand(jobs, job, "done", result={"merged": str(job.folder / "Inked-b")})
    assert "it is called <b>Inked &lt;b&gt;</b>" in results.told(done, None)
    assert "See the result" in rows.facts(done)


def test_a_training_that_was_held_back_has_not_begun(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.pause(jobs.add("train", {"data": str(tmp_path), "recipe": {}}).id)
    assert "not begun yet" in rows.listing([job], "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 second"), (40, "40 seconds"), (150, "2 minutes"), (4800, "80 minutes"), (9000, "2 h 30 min")],
)
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 bytes"), (999, "999 bytes"), (4_404_019, "4.2 MB"), (50 * 2**30, "50 GB")]
)
def test_sizes_are_said_as_people_do(count: int, said: str) -> None:
    assert size(count) == said


def test_a_job_that_waits_tells_once_when_it_was_added(jobs: Jobs) -> None:
    waiting = jobs.add("generate", {"prompts": ["a cat"]}, title="A cat")
    assert rows.facts(waiting).count("just now") == 1
