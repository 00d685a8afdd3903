"""The worker and its processes, really started and really killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import lorastyle
from lorastyle import Job, Jobs
from tests.jobs.conftest import kill, kill_all, processes_of, wait_until

Add = Callable[..., Job]
Start = Callable[[], psutil.Process]
RUNNER = "lorastyle.jobs.worker.runner"


@pytest.fixture
def captioning(jobs: Jobs, images: Path) -> Callable[[], Job]:
    """Adds a job that needs no torch and is done in no time."""
    return lambda: jobs.add("caption", {"images": _all(images)})


def _all(images: Path) -> dict[str, str]:
    (images / "old_barn.png").write_bytes(b"")
    return {path.name: str(path) for path in images.glob("*.png")}


def over(jobs: Jobs, *added: Job) -> Callable[[], bool]:
    return lambda: all(jobs.get(job.id).state.ended for job in added)


def test_a_quick_job_is_done_by_a_process_that_stays(jobs: Jobs, captioning: Callable[[], Job], worker: Start) -> None:
    first = captioning()
    worker()
    wait_until(over(jobs, first))
    done = jobs.get(first.id)
    assert (done.state, done.error) == ("done", "")
    captions = json.loads(Path(done.result["captions"]).read_text())
    assert captions["old_barn.png"] == "old barn"
    assert done.progress == 1.0
    assert [what for _, what in jobs.history(first.id)] == ["queued", "running", "done"]
    assert "Done." in jobs.log(first.id)[0]
    (process,) = processes_of(jobs.root, RUNNER)
    wait_until(over(jobs, captioning()))
    assert processes_of(jobs.root, RUNNER) == [process]


def test_one_worker_is_enough(jobs: Jobs, worker: Start) -> None:
    first = worker()
    assert not jobs.ensure_worker()
    command = [sys.executable, "-m", "lorastyle.cli", "worker", "--root", str(jobs.root)]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert second.returncode == 0
    assert "Another worker" in second.stderr
    assert first.is_running()


def test_a_job_that_cannot_be_done_fails_with_a_sentence(
    jobs: Jobs, captioning: Callable[[], Job], worker: Start
) -> None:
    job = captioning()
    changed = {"task": "caption", "settings": {"images": {"a": "b"}, "speed": 1}}
    (job.folder / "settings.json").write_text(json.dumps(changed))
    worker()
    wait_until(over(jobs, job))
    failed = jobs.get(job.id)
    assert failed.state == "failed"
    assert failed.error.startswith("caption.speed: there is no such setting. The settings are")
    assert failed.error in jobs.log(job.id)[0]


def test_logs_and_errors_say_nothing_of_places_and_secrets(
    jobs: Jobs, captioning: Callable[[], Job], worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_notforanyoneseyes")
    job = captioning()
    (job.folder / "settings.json").write_text("not JSON with hf_notforanyoneseyes")
    worker()
    wait_until(over(jobs, job))
    said = jobs.get(job.id).error + jobs.log(job.id)[0]
    assert "settings.json" in said
    assert "Traceback" in said
    for hidden in (str(jobs.root), sys.prefix, str(Path(lorastyle.__file__).parents[1]), "notforanyoneseyes"):
        assert hidden not in said


def test_after_all_were_killed_the_true_state_is_back(
    jobs: Jobs, training: Add, hold: Callable[..., "subprocess.Popen[str]"], worker: Start
) -> None:
    job = training()
    holder = hold(step=3)
    jobs.pause(job.id)
    worker().kill()
    kill(holder)
    wait_until(lambda: not jobs.worker_alive())
    assert jobs.get(job.id).state == "pausing"
    worker()
    wait_until(lambda: jobs.get(job.id).state == "paused")


def test_a_cancelled_job_leaves_nothing_running(
    jobs: Jobs, training: Add, hold: Callable[..., "subprocess.Popen[str]"], worker: Start
) -> None:
    job = training()
    holder = hold()
    worker()
    assert jobs.cancel(job.id).state == "cancelled"
    wait_until(lambda: holder.poll() is not None)
    assert [what for _, what in jobs.history(job.id)] == ["queued", "running", "cancelled"]


def test_a_worker_that_is_told_to_stop_lets_its_processes_stop(
    jobs: Jobs, captioning: Callable[[], Job], worker: Start
) -> None:
    first = worker()
    wait_until(over(jobs, captioning()))
    (process,) = processes_of(jobs.root, RUNNER)
    first.send_signal(signal.SIGTERM)
    wait_until(lambda: not jobs.worker_alive())
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# a whole training


RECIPE = {
    "steps": 20, "batch": 1, "rank": 4, "trigger": "zorvex", "resolution": 64, "checkpoint_every": 4, "seed": 3,
    "preview_steps": 1, "preview_prompts": ["zorvex cat"], "held_out": 0.0, "preservation": 0.0,
}  # fmt: skip


def test_a_training_is_paused_killed_and_asked_and_has_the_bytes_of_one_left_alone(
    jobs: Jobs, pictures: Path, worker: Start, tmp_path: Path
) -> None:
    job = jobs.add("train", {"data": str(pictures), "recipe": RECIPE})
    alone = lorastyle.train(
        lorastyle.load_base("pocket"), lorastyle.Dataset.open(pictures), lorastyle.Recipe(**RECIPE),
        out=tmp_path / "alone" / "run",
    )  # fmt: skip
    worker()
    wait_until(lambda: jobs.get(job.id).step >= 2)
    jobs.pause(job.id)
    wait_until(lambda: jobs.get(job.id).state != "pausing")
    paused = jobs.get(job.id)
    assert paused.state == "paused"
    assert 2 <= paused.step < 20
    jobs.set_prompts(job.id, ["a dog"])
    jobs.ask(job.id, "sample")
    jobs.resume(job.id)
    wait_until(lambda: jobs.get(job.id).step > paused.step)
    kill_all(jobs.root)
    worker()
    wait_until(over(jobs, job))
    done = jobs.get(job.id)
    assert (done.state, done.step, done.steps, done.error) == ("done", 20, 20, "")
    assert Path(done.result["adapter"]).read_bytes() == alone.adapter.read_bytes()
    assert [what for _, what in jobs.history(job.id)].count("done") == 1
    (preview,) = jobs.previews(job.id)
    assert preview["prompt"] == "a dog"
    assert preview["step"] >= paused.step
    assert jobs.checkpoints(job.id)[-1]["step"] == 20
    assert [row["step"] for row in jobs.metrics(job.id)] == list(range(1, 21))
