"""What the page that watches a training is told: all at first, and afterwards only what is new."""

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from lorastyle import Job, Workspace
from tests.ui import seeding
from ui.pages.train.watch import ACTIONS, looks

SKIPPED = gr.skip()
CARD, AFTER, LOSSES, PREVIEWS, PROMPTS = 0, len(ACTIONS) + 1, len(ACTIONS) + 3, len(ACTIONS) + 5, len(ACTIONS) + 7
LOG = PROMPTS + 1


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "studio")


@pytest.fixture
def job(workspace: Workspace, tmp_path: Path) -> Job:
    (tmp_path / "data").mkdir()
    job = seeding.training(workspace.jobs, tmp_path / "data", "Ink <b>", (10, 20))
    measure(job, range(1, 21))
    (job.folder / "log.txt").write_text("first line\n")
    return seeding.stand(workspace.jobs, job, "running", step=20, steps=40, speed=2.0, seconds_left=10.0)


def measure(job: Job, steps: range) -> None:
    row = {"loss": 0.5, "smoothed": 0.4, "learning_rate": 1e-3, "memory_bytes": 5 * 2**29}
    with (job.run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step} | row) + "\n" for step in steps)


def test_at_first_everything_is_told(workspace: Workspace, job: Job) -> None:
    told = looks(workspace, "me", job.id, {})
    assert told[CARD]["title"] == "Ink <b>"  # the widget puts it in as text
    facts = dict(told[CARD]["facts"])
    assert facts["Step"] == "20 of 40"
    assert facts["Speed"] == "2 steps/s"
    assert facts["Memory"] == "2.5 GB"
    assert facts["Learning rate"] == "0.001"
    assert len(told[LOSSES]) == 40
    assert [row["step"] for row in told[PREVIEWS]["rows"]] == [20, 10]
    assert told[LOG] == "first line\n"


def test_afterwards_only_what_is_new(workspace: Workspace, job: Job) -> None:
    seen = looks(workspace, "me", job.id, {})[-1]
    again = looks(workspace, "me", job.id, seen)
    assert [again[place] for place in (AFTER, LOSSES, PREVIEWS, PROMPTS, LOG)] == [SKIPPED] * 5
    measure(job, range(21, 31))
    with (job.folder / "log.txt").open("a") as log:
        log.write("second line\n")
    new = looks(workspace, "me", job.id, again[-1])
    assert len(new[LOSSES]) == 60
    assert new[LOG] == "first line\nsecond line\n"
    assert new[PREVIEWS] == SKIPPED


def test_buttons_show_what_can_be_done(workspace: Workspace, job: Job) -> None:
    def shown(state: str) -> set[str]:
        seeding.stand(workspace.jobs, job, state)
        buttons: list[Any] = looks(workspace, "me", job.id, {})[1 : len(ACTIONS) + 1]
        return {action.name for action, button in zip(ACTIONS, buttons, strict=True) if button.visible}

    assert shown("running") == {"pause", "sample", "save", "cancel"}
    assert shown("paused") == {"resume", "cancel"}
    assert shown("failed") == {"retry"}
    assert shown("done") == set()


def test_another_person_s_training_is_not_there(workspace: Workspace, job: Job) -> None:
    assert "not there any more" in looks(workspace, "somebody", job.id, {})[AFTER]
    assert job.title not in str(looks(workspace, "somebody", job.id, {}))


def test_what_becomes_of_a_training_elsewhere_is_seen(workspace: Workspace, job: Job, page: Any) -> None:
    jobs = workspace.jobs
    seeding.stand(jobs, job, "failed", error="The disk is full. Make room, and try again.")
    with seeding.served(workspace.root) as address:
        page.goto(f"{address}/?job={job.id}&step=watch")
        page.get_by_text("The disk is full").wait_for()
        again = page.get_by_role("button", name="Try again")
        again.wait_for()
        jobs.retry(job.id)
        page.get_by_text("Waiting for its turn").wait_for()
        again.wait_for(state="hidden")
        page.get_by_text("The disk is full").wait_for(state="hidden")
        jobs.pause(job.id)
        page.get_by_text("Paused; everything is saved.").wait_for()
        jobs.resume(job.id)
        page.get_by_text("Waiting for its turn").wait_for()
        jobs.cancel(job.id)
        again.wait_for()
        workspace.area().remove_job(job.id)
        page.get_by_text("This training is not there any more").wait_for()
        again.wait_for(state="hidden")
        assert page.get_by_role("alert").count() == 0
