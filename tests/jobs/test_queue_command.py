"""`lorastyle queue`: the same store from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lorastyle import BadInput, Jobs
from lorastyle.cli import app


@pytest.fixture(autouse=True)
def _studio(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORASTYLE_STUDIO", str(jobs.root))


def run(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["queue", *words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_training_goes_through_the_queue_by_commands(jobs: Jobs, images: Path) -> None:
    added = run("add", str(images), "--trigger", "sumi", "--set", "rank=8", "--steps", "9", "--title", "Ink")
    job = jobs.get(added["id"])
    assert job.title == "Ink"
    assert job.settings["data"] == str(images)
    assert job.settings["recipe"] == {"trigger": "sumi", "rank": 8, "steps": 9}
    assert run("pause", job.id)["state"] == "paused"
    assert run("resume", job.id)["state"] == "queued"
    other = run("clone", job.id)
    assert run("move", other["id"], "--before", job.id)["place"] == 1
    assert [one["id"] for one in run("list")["jobs"]] == [other["id"], job.id]
    assert run("prompts", job.id, "a cat", "a dog")["prompts"] == ["a cat", "a dog"]
    assert run("cancel", job.id)["state"] == "cancelled"
    assert run("retry", job.id)["state"] == "queued"
    (job.folder / "log.txt").write_text("one\ntwo\n")
    assert run("logs", job.id)["log"] == "one\ntwo\n"
    run("cancel", job.id)
    run("remove", job.id)
    assert [one["id"] for one in run("list")["jobs"]] == [other["id"]]


def test_any_task_can_be_added_from_a_file(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text(json.dumps({"task": "generate", "settings": {"prompts": ["a [cat]"]}}))
    added = run("add", "--task", str(file))
    assert jobs.get(added["id"]).settings["prompts"] == ["a [cat]"]
    shown = CliRunner().invoke(app, ["queue", "list"], env={"COLUMNS": "200"})
    assert added["id"] in shown.stdout


def test_what_is_wrong_is_said(images: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for words, where in (
        (["pause", "nobody"], "job"),
        (["add"], "queue add"),
        (["add", str(images), "--task", str(broken)], "queue add"),
        (["add", "--task", str(broken)], "--task"),
        (["add", str(images), "--steps", "900000"], "recipe.steps"),
    ):
        refused = CliRunner().invoke(app, ["queue", *words])
        assert isinstance(refused.exception, BadInput)
        assert refused.exception.where == where
