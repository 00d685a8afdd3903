"""What people do with jobs."""

import json
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lorastyle import BadInput, Job, Jobs
from lorastyle.jobs.tasks import Limits
from tests.jobs.conftest import kill

Add = Callable[..., Job]
Hold = Callable[..., "subprocess.Popen[str]"]


def titles(jobs: Jobs, **which: object) -> list[str]:
    return [job.title for job in jobs.list(**which)]  # type: ignore[arg-type]


def test_a_job_is_added_with_checked_settings_in_a_file(jobs: Jobs, images: Path) -> None:
    job = jobs.add("train", {"data": str(images), "recipe": {"rank": 8}}, title="  Ink\n  style ")
    assert (job.state, job.title, job.owner, job.task) == ("queued", "Ink style", "me", "train")
    stored = json.loads((job.folder / "settings.json").read_text())
    assert stored == {"task": "train", "settings": dict(job.settings)}
    assert job.settings["base"] == "pocket"
    assert job.run == job.folder / "run"
    assert jobs.get(job.id) == job


def test_ids_cannot_be_counted_or_guessed_and_are_no_options(jobs: Jobs, training: Add) -> None:
    ids = {training().id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(id) >= 20 and id[0].isalpha() for id in ids)


@pytest.mark.parametrize(
    ("task", "settings", "where"),
    [
        ("trian", {}, "task"),
        ("generate", {"prompts": []}, "generate.prompts"),
        ("generate", {"prompts": ["a"], "seed": -1}, "generate.seed"),
        ("generate", {"prompts": ["a"], "size": 3}, "generate.size"),
        ("generate", {"prompts": ["a"], "width": 4096}, "generate.width"),
        ("generate", {"prompts": ["a" * 3000]}, "generate.prompts"),
        ("generate", {"prompts": ["a"], "adapters": {"gone.safetensors": 1.0}}, "generate.adapters"),
        ("grid", {"prompts": ["a"] * 30, "checkpoints": ["c"] * 30}, "grid.checkpoints"),
        ("train", {"recipe": {}}, "train.data"),
        ("train", {"data": "gone"}, "train.data"),
        ("train", {"data": "IMAGES", "recipe": {"rank": 0}}, "recipe.rank"),
        ("train", {"data": "IMAGES", "recipe": {"rnak": 1}}, "recipe.rnak"),
        ("train", {"data": "IMAGES", "recipe": {"steps": 200_000}}, "recipe.steps"),
        ("train", {"data": "IMAGES", "recipe": {"resolution": 4096}}, "recipe.resolution"),
        ("publish", {"bundle": "IMAGES", "repo": "../x"}, "publish.repo"),
        ("publish", {"bundle": "IMAGES", "repo": "maria/ink--style"}, "publish.repo"),
        ("publish", {"bundle": "IMAGES", "repo": "maria/ink.git"}, "publish.repo"),
        ("publish", {"bundle": "IMAGES", "repo": "maria/" + "i" * 97}, "publish.repo"),
    ],
)
def test_what_cannot_be_done_is_refused_when_it_is_added(
    jobs: Jobs, images: Path, task: str, settings: dict[str, object], where: str
) -> None:
    told = {name: str(images) if value == "IMAGES" else value for name, value in settings.items()}
    with pytest.raises(BadInput) as refused:
        jobs.add(task, told)
    assert refused.value.where == where
    assert jobs.list() == []
    assert list((jobs.root / "jobs").glob("*")) == []


def test_limits_can_be_chosen(tmp_path: Path, images: Path) -> None:
    jobs = Jobs(tmp_path / "strict", lambda: Limits(rank=4, queued=1))
    with pytest.raises(BadInput, match="rank"):
        jobs.add("train", {"data": str(images), "recipe": {"rank": 8}})
    jobs.add("train", {"data": str(images), "recipe": {"rank": 4}})
    with pytest.raises(BadInput, match="1 jobs are waiting"):
        jobs.add("train", {"data": str(images), "recipe": {"rank": 4}})
    jobs.add("train", {"data": str(images), "recipe": {"rank": 4}}, owner="somebody else")
    exactly = Jobs(tmp_path / "strict", lambda: Limits(pictures=2, prompt_characters=3))
    exactly.add("generate", {"prompts": ["a", "b"], "negative": "bad"}, owner="ana")
    with pytest.raises(BadInput, match="more than the 3 characters"):
        exactly.add("generate", {"prompts": ["a", "b"], "negative": "blurred"}, owner="ana")
    jobs.add("train", {"data": str(images)}, owner="who leaves the rank to the base, which the worker knows")


@pytest.mark.parametrize(
    ("task", "settings", "where"),
    [
        ("train", {"data": "IMAGES", "recipe": {"ranks": {"to_q": 8}}}, "recipe.ranks"),
        ("export", {"adapter": "IMAGES", "to": "kohya", "rank": 8}, "export.rank"),
        ("mix", {"adapters": {"IMAGES": 1.0}, "rank": 8}, "mix.rank"),
    ],
)
def test_the_rank_is_limited_wherever_one_is_asked_for(
    tmp_path: Path, images: Path, task: str, settings: dict[str, Any], where: str
) -> None:
    jobs = Jobs(tmp_path / "strict", lambda: Limits(rank=4))
    told = json.loads(json.dumps(settings).replace("IMAGES", str(images)))
    with pytest.raises(BadInput, match="8 is more than the 4 dimensions of rank") as refused:
        jobs.add(task, told)
    assert refused.value.where == where


def test_a_folder_is_filled_before_anyone_sees_it(jobs: Jobs) -> None:
    def fill(folder: Path) -> None:
        assert jobs.list() == []
        (folder / "data").mkdir()
        (folder / "data" / "a.png").write_bytes(b"x")

    job = jobs.add("train", {"data": "data"}, fill=fill)
    assert (job.folder / "data" / "a.png").read_bytes() == b"x"
    copy = jobs.clone(job.id)
    assert (copy.folder / "data" / "a.png").read_bytes() == b"x"
    assert (copy.settings, copy.title, copy.run) == (job.settings, job.title, copy.folder / "run")
    assert copy.id != job.id


def test_other_owners_jobs_are_not_there(jobs: Jobs, training: Add) -> None:
    job = training(owner="ana")
    assert jobs.list("ben") == []
    with pytest.raises(BadInput) as unknown:
        jobs.get("nonsense")
    calls = [
        *(partial(call, job.id, "ben") for call in (jobs.get, jobs.pause, jobs.resume, jobs.cancel, jobs.retry)),
        *(partial(call, job.id, "ben") for call in (jobs.clone, jobs.remove, jobs.history)),
        *(partial(call, job.id, owner="ben") for call in (jobs.log, jobs.metrics, jobs.previews, jobs.checkpoints)),
        partial(jobs.ask, job.id, "sample", owner="ben"),
        partial(jobs.move, job.id, None, owner="ben"),
        partial(jobs.set_prompts, job.id, ["a"], owner="ben"),
    ]
    for call in calls:
        with pytest.raises(BadInput) as refused:
            call()
        assert str(refused.value) == str(unknown.value)
    assert jobs.get(job.id, "ana") == job


def test_the_queue_is_in_order_and_what_is_over_stands_newest_first(jobs: Jobs, training: Add) -> None:
    first, second, *_ = (training(title) for title in "abcd")
    jobs.cancel(first.id)
    jobs.cancel(second.id)
    assert titles(jobs) == ["c", "d", "b", "a"]
    assert titles(jobs, states=["cancelled"]) == ["b", "a"]
    assert titles(jobs, task="generate") == []


def test_jobs_are_moved_among_the_places_of_their_owner(jobs: Jobs, training: Add) -> None:
    a, other, b, c = training("a"), training("other", owner="ben"), training("b"), training("c")
    jobs.move(c.id, a.id, "me")
    assert titles(jobs) == ["c", "other", "a", "b"]
    jobs.move(c.id, None, "me")
    assert titles(jobs) == ["a", "other", "b", "c"]
    jobs.move(a.id, a.id)
    assert titles(jobs) == ["other", "b", "c", "a"]
    with pytest.raises(BadInput):
        jobs.move(b.id, other.id, "me")
    jobs.cancel(b.id)
    with pytest.raises(BadInput, match="does not wait"):
        jobs.move(b.id, None)


def test_waiting_jobs_are_paused_resumed_cancelled_and_retried(jobs: Jobs, training: Add) -> None:
    a, _ = training("a"), training("b")
    assert jobs.pause(a.id).state == jobs.pause(a.id).state == "paused"
    assert jobs.resume(a.id).state == "queued"
    assert titles(jobs) == ["a", "b"]
    cancelled = jobs.cancel(a.id)
    assert cancelled.state == "cancelled"
    assert cancelled.ended is not None
    assert jobs.cancel(a.id) == cancelled
    for act in (jobs.pause, jobs.resume):
        with pytest.raises(BadInput, match="it is cancelled"):
            act(a.id)
    again = jobs.retry(a.id)
    assert (again.state, again.ended) == ("queued", None)
    assert titles(jobs) == ["b", "a"]
    assert [what for _, what in jobs.history(a.id)] == ["queued", "paused", "queued", "cancelled", "queued"]


def test_what_is_over_can_be_deleted(jobs: Jobs, training: Add) -> None:
    a, b = training("a"), training("b")
    with pytest.raises(BadInput, match="it is not over yet"):
        jobs.remove(a.id)
    jobs.cancel(a.id)
    assert jobs.remove(a.id).title == "a"
    assert titles(jobs) == ["b"]
    assert list((jobs.root / "jobs").iterdir()) == [b.folder]
    with pytest.raises(BadInput, match="no such job"):
        jobs.history(a.id)


def test_a_job_that_a_process_still_holds_is_not_deleted(jobs: Jobs, training: Add, hold: Hold) -> None:
    job, process = training(), hold()
    jobs.cancel(job.id)
    with pytest.raises(BadInput, match="its process is just ending"):
        jobs.remove(job.id)
    kill(process)
    assert job.folder.is_dir()
    jobs.remove(job.id)
    assert not job.folder.exists()


def test_only_trainings_that_are_not_over_can_be_asked(jobs: Jobs, training: Add) -> None:
    job, picture = training(), jobs.add("generate", {"prompts": ["a"]})
    assert jobs.set_prompts(job.id, ["a  cat\n", " "]).prompts == ("a cat",)
    jobs.ask(job.id, "save")
    with pytest.raises(BadInput):
        jobs.set_prompts(job.id, ["  "])
    with pytest.raises(BadInput, match="characters"):
        jobs.set_prompts(job.id, ["a" * 3000])
    jobs.cancel(job.id)
    for id in (job.id, picture.id):
        with pytest.raises(BadInput, match="no training, or it is over"):
            jobs.ask(id, "sample")


def test_many_threads_and_stores_lose_nothing(jobs: Jobs, training: Add) -> None:
    other = Jobs(jobs.root)
    ids = [training(str(number)).id for number in range(8)]
    failures: list[BadInput] = []

    def play(store: Jobs, id: str) -> None:
        try:
            for _ in range(10):
                store.pause(id)
                store.move(id, None)
                store.resume(id)
            store.cancel(id)
        except BadInput as error:  # two stores fight over the first four, and one finds a job cancelled
            failures.append(error)

    threads = [threading.Thread(target=play, args=(store, id)) for store in (jobs, other) for id in ids[:4]]
    threads += [threading.Thread(target=play, args=(jobs, id)) for id in ids[4:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) <= 4
    for id in ids:
        assert [what for _, what in jobs.history(id)].count("cancelled") == 1
