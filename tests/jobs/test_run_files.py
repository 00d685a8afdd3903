"""What pages poll while a job runs."""

import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from PIL import Image

from lorastyle import Job, Jobs, write_image

Add = Callable[..., Job]


@pytest.fixture
def job(training: Add) -> Job:
    job = training()
    job.run.mkdir()
    return job


def write_metrics(job: Job, steps: int, tail: str = "") -> None:
    lines = [json.dumps({"step": step, "loss": 1 / step}) for step in range(1, steps + 1)]
    (job.run / "metrics.jsonl").write_text("\n".join(lines) + "\n" * bool(lines) + tail)


def steps(jobs: Jobs, job: Job, **which: int) -> list[int]:
    return [row["step"] for row in jobs.metrics(job.id, **which)]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 400])
def test_few_rows_come_all(jobs: Jobs, job: Job, count: int) -> None:
    write_metrics(job, count)
    assert steps(jobs, job) == list(range(1, count + 1))


def test_only_newer_rows_come(jobs: Jobs, job: Job) -> None:
    write_metrics(job, 100)
    for after in (0, 1, 50, 98, 99, 100, 1000):
        assert steps(jobs, job, after=after) == list(range(after + 1, 101))


@pytest.mark.parametrize("points", [1, 2, 10, 399])
def test_many_rows_are_thinned_evenly_and_the_last_is_there(jobs: Jobs, job: Job, points: int) -> None:
    write_metrics(job, 10_000)
    found = steps(jobs, job, points=points, after=2_000)
    assert found == sorted(set(found))
    assert found[-1] == 10_000
    assert points - 1 <= len(found) <= points
    gaps = [after - before for before, after in pairwise(found)]
    assert all(gap < 2.1 * 8_000 / points for gap in gaps)
    assert points == 1 or found[0] == 2_001


def test_a_line_that_is_being_written_is_no_row(jobs: Jobs, job: Job) -> None:
    write_metrics(job, 3, tail='{"step": 4, "lo')
    assert steps(jobs, job) == [1, 2, 3]
    write_metrics(job, 0, tail='{"step": 1')
    assert steps(jobs, job) == []


def test_a_job_that_has_not_begun_has_nothing_to_show(jobs: Jobs, training: Add) -> None:
    job = training()
    assert (jobs.metrics(job.id), jobs.previews(job.id), jobs.checkpoints(job.id)) == ([], [], [])
    assert jobs.log(job.id) == ("", 0)


def test_logs_come_in_whole_lines(jobs: Jobs, job: Job) -> None:
    log = job.folder / "log.txt"
    log.write_text("one\ntwö\nthr", encoding="utf-8")
    text, offset = jobs.log(job.id)
    assert text == "one\ntwö\n"
    assert jobs.log(job.id, offset) == ("", offset)
    log.write_text("one\ntwö\nthree\n", encoding="utf-8")
    assert jobs.log(job.id, offset)[0] == "three\n"
    assert jobs.log(job.id, 10_000) == ("", 10_000)
    assert jobs.log(job.id, -5)[0] == "one\ntwö\nthree\n"


def test_a_long_log_comes_in_parts_of_whole_lines(jobs: Jobs, job: Job) -> None:
    lines = "".join(f"line {number}\n" for number in range(20_000))
    (job.folder / "log.txt").write_text(lines)
    parts, offset = [], 0
    while (answer := jobs.log(job.id, offset))[0]:
        parts.append(answer[0])
        offset = answer[1]
    assert "".join(parts) == lines
    assert len(parts) > 1
    assert all(part.endswith("\n") for part in parts)


def test_previews_and_checkpoints_come_oldest_first(jobs: Jobs, training: Add) -> None:
    job = training(preview_prompts=["a cat", "a dog"])
    told = Image.new("RGB", (8, 8))
    told.info["lorastyle"] = json.dumps({"prompt": "a bird"})
    write_image(job.run / "samples" / "step-000100-0.png", Image.new("RGB", (8, 8)))
    write_image(job.run / "samples" / "step-000020-1.png", Image.new("RGB", (8, 8)))
    write_image(job.run / "samples" / "step-1000000-0.png", told)
    for step in (2, 10):
        (job.run / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
    found = [(row["step"], row["number"], row["prompt"]) for row in jobs.previews(job.id)]
    assert found == [(20, 1, "a dog"), (100, 0, "a cat"), (1_000_000, 0, "a bird")]
    assert [row["step"] for row in jobs.checkpoints(job.id)] == [2, 10]
    assert jobs.checkpoints(job.id)[0]["path"].name == "adapter.safetensors"
