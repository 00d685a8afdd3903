"""Publishing on a hub that is on this machine: what comes to it, and what is said where it takes nothing."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lorastyle import BadInput, Job, Redaction, Workspace
from lorastyle.jobs.tasks import checked
from lorastyle.jobs.worker.bases import WarmBase
from lorastyle.jobs.worker.executors import Work, execute
from lorastyle.jobs.worker.log import logged
from tests.jobs.conftest import kill_all, wait_until
from tests.jobs.hub import Hub, hub_on_this_machine
from tests.jobs.test_executors import Watcher
from tests.workspace.pictures import adapter, save

TOKEN = "hf_notforanyoneseyes"
Publish = Callable[..., Mapping[str, Any]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import close_session, constants

    with hub_on_this_machine() as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its servers are not the hub
        yield hub
        close_session()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "studio")


@pytest.fixture
def queued(workspace: Workspace, tmp_path: Path) -> Callable[..., Job]:
    """Adds the publishing of an adapter that has a card and two previews."""
    library = workspace.area().library()
    card = library.add(adapter(tmp_path / "Ink.safetensors", strings={"lorastyle.trigger": "sumi"}))
    for number in range(2):
        save(library.folder / card.id / "previews" / f"{number}.png", number)
    return lambda repo="maria/ink", private=True: workspace.area().publish(card.id, repo, private)


@pytest.fixture
def publish(workspace: Workspace, queued: Callable[..., Job], tmp_path: Path) -> Publish:
    """Does it, as the process of a worker does, with the log in log.txt."""

    def do(**settings: Any) -> Mapping[str, Any]:
        job = queued(**settings)
        work = Work(workspace.root, job.folder, "me", WarmBase(), Watcher())
        with logged(tmp_path / "log.txt", Redaction()):
            return execute(checked(job.task, job.settings), work)

    return do


def test_all_of_a_bundle_comes_to_the_hub(workspace: Workspace, publish: Publish, hub: Hub) -> None:
    told = publish()
    assert told == {"repo": "maria/ink", "address": f"{hub.address}/maria/ink"}
    (card,) = workspace.area().library().cards()
    assert hub.files == {
        "maria/ink/Ink.safetensors": card.path.read_bytes(),
        "maria/ink/README.md": card.readme().encode(),
        **{f"maria/ink/previews/{path.name}": path.read_bytes() for path in card.previews},
    }
    assert len(card.previews) == 2
    assert f"Bearer {TOKEN}" in hub.tokens


@pytest.mark.parametrize(("private", "seen_by"), [(True, "private"), (False, "public")])
def test_who_may_see_it(publish: Publish, hub: Hub, private: bool, seen_by: str) -> None:
    publish(private=private)
    assert hub.repos == {"maria/ink": seen_by}


def test_it_can_be_published_again(publish: Publish, hub: Hub) -> None:
    publish()
    published = dict(hub.files)
    hub.files.clear()
    assert publish()["repo"] == "maria/ink"
    assert hub.files == published


def test_what_is_private_goes_nowhere_that_everybody_can_see(publish: Publish, hub: Hub) -> None:
    hub.repos["maria/ink"] = "public"
    with pytest.raises(BadInput, match="everybody can see maria/ink"):
        publish(private=True)
    assert hub.files == hub.stored == {}
    publish(private=False)
    assert hub.files


@pytest.mark.parametrize(
    ("part", "status", "said"),
    [
        ("/api/", 401, "the hub does not know the token. Set HF_TOKEN to one that is valid"),
        ("/repos/create", 403, "the token may not write to maria/ink. Choose a name that begins with your own"),
        ("/preupload/", 403, "the token may not write to maria/ink"),
        ("/preupload/", 404, "the hub has no place for maria/ink"),
        (".git/info/lfs", 403, "the token may not write to maria/ink"),
        ("/lfs/", 403, "the token may not write to maria/ink"),
        ("/commit/", 403, "the token may not write to maria/ink"),
        ("/commit/", 413, r"the hub did not take it \(status 413\)"),
        ("/validate-yaml", 400, r"the hub did not take it \(status 400\)"),
        ("/repos/create", 409, "the hub did not take it"),  # not because it is there
    ],
)
def test_what_the_hub_refuses_is_told_in_a_sentence(
    publish: Publish, hub: Hub, part: str, status: int, said: str, tmp_path: Path
) -> None:
    hub.refusals[part] = (status, f"No, not with {TOKEN}")
    with pytest.raises(BadInput, match=said) as refused:
        publish()
    assert hub.files == {}
    log = (tmp_path / "log.txt").read_text()
    assert "The hub: " in log
    assert TOKEN not in log + str(refused.value)


def test_without_a_network_it_says_so(publish: Publish, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    with pytest.raises(BadInput, match="the hub cannot be reached. Check the connection, then retry"):
        publish()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="the hub cannot be reached"):
        publish()


def test_it_needs_a_token(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(BadInput, match="no token"):
        publish()


def test_a_worker_publishes_and_tells_nobody_the_token(
    workspace: Workspace, queued: Callable[..., Job], hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    jobs = workspace.jobs
    done = queued()
    hub.repos["ben/ink"] = "public"
    failed = queued("ben/ink")
    try:
        jobs.ensure_worker()
        wait_until(lambda: all(jobs.get(job.id).state.ended for job in (done, failed)))
    finally:
        kill_all(workspace.root)
    assert (jobs.get(done.id).state, jobs.get(failed.id).state) == ("done", "failed")
    assert {name.partition("/ink/")[2] for name in hub.files} == {
        "Ink.safetensors", "README.md", "previews/0.png", "previews/1.png"
    }  # fmt: skip
    assert "everybody can see ben/ink" in jobs.get(failed.id).error
    for path in workspace.root.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path
