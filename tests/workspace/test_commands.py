"""`lorastyle dataset`, `library`, `settings` and `user`: the same workspace from the command line."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorastyle import Users, Workspace, cli
from tests.workspace.pictures import adapter, save

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json on a studio of its own; returns what it prints, or what it says where it fails."""
    monkeypatch.setenv("LORASTYLE_STUDIO", str(tmp_path / "studio"))

    def command(*words: str, fails: bool = False) -> Any:
        monkeypatch.setattr(sys, "argv", ["lorastyle", *words, "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert ended.value.code == (2 if fails else 0), err
        return err if fails else json.loads(out)

    return command


def test_a_dataset(run: Run, tmp_path: Path) -> None:
    save(tmp_path / "set" / "cat.png", 1, (300, 200))
    save(tmp_path / "set" / "dog.png", 2)
    (tmp_path / "set" / "broken.png").write_bytes(b"?")
    made = run("dataset", "add", str(tmp_path / "set"))
    assert (made["title"], made["images"], len(made["refused"])) == ("set", 2, 1)
    id = made["dataset"]
    assert run("dataset", "list")["datasets"] == [{"dataset": id, "title": "set", "images": 2}]
    cat, dog = run("dataset", "check", id, "--trigger", "sumi")["images"]
    assert (cat["name"], [doubt["code"] for doubt in cat["doubts"]]) == ("cat.png", ["caption-missing"])
    assert run("dataset", "caption", id, cat["id"], "a Cat")["caption"] == "a Cat"
    assert run("dataset", "replace", id, "cat", "bee")["changed"] == 1
    assert run("dataset", "prefix", id, "sumi")["changed"] == 2
    assert run("dataset", "undo", id) == {"taken_back": "words in front", "changed": 2}
    assert run("dataset", "suffix", id, "ink")["changed"] == 2
    assert run("dataset", "focus", id, cat["id"], "0.1", "0.9")["focus"] == [0.1, 0.9]
    assert run("dataset", "remove", id, dog["id"])["removed"] == 1
    (left,) = Workspace(tmp_path / "studio").area().dataset(id).rows()
    assert (left.caption, left.focus) == ("a bee, ink", (0.1, 0.9))
    assert "no such image" in run("dataset", "caption", id, "nothing", "x", fails=True)
    assert "no such dataset" in run("dataset", "check", id, "--user", "anna", fails=True)
    run("dataset", "remove", id, "--all")
    assert run("dataset", "list")["datasets"] == []
    assert "no image that can be used" in run("dataset", "add", str(tmp_path / "set" / "broken.png"), fails=True)
    assert run("dataset", "list")["datasets"] == []


def test_jobs_on_a_dataset(run: Run, tmp_path: Path) -> None:
    save(tmp_path / "set" / "red_cat.png", 1)
    id = run("dataset", "add", str(tmp_path / "set"))["dataset"]
    jobs = Workspace(tmp_path / "studio").jobs
    written = jobs.get(run("dataset", "describe", id)["id"])
    assert (written.task, written.settings["captioner"]) == ("caption", "file names")
    ink = run("library", "add", str(adapter(tmp_path / "ink.safetensors")))
    train = ("dataset", "train", id, "--purpose", "character", "--trigger", "p33p", "--steps", "20")
    job = jobs.get(run(*train, "--from", ink["id"], "--title", "Bird")["id"])
    assert (job.task, job.title, job.owner) == ("train", "Bird", "me")
    assert job.settings["start"] == ink["path"]
    assert job.settings["recipe"] == {"purpose": "character", "trigger": "p33p", "steps": 20}
    assert "no such dataset" in run(*train, "--user", "anna", fails=True)
    assert "no such adapter" in run(*train, "--from", "nothing", fails=True)


def test_settings(run: Run) -> None:
    assert run("settings")["limits"]["steps"] == 100_000
    assert run("settings", "limits.steps=200", "theme=dark")["limits"]["steps"] == 200
    assert run("settings")["theme"] == "dark"
    assert "no such setting" in run("settings", "nothing=1", fails=True)
    assert "has no '='" in run("settings", "theme", fails=True)


def test_the_library(run: Run, tmp_path: Path) -> None:
    id = run("library", "add", str(adapter(tmp_path / "ink.safetensors")))["id"]
    run("library", "rename", id, "Sumi ink")
    run("library", "note", id, "at 0.8")
    assert run("library", "tag", id, "black", "white")["tags"] == ["black", "white"]
    assert run("library", "prefer", id, "-0.5")["strength"] == -0.5
    published = run("library", "publish", id, "anna/sumi")
    assert Workspace(tmp_path / "studio").jobs.get(published["id"]).settings["private"]
    assert "repo" in run("library", "publish", id, "sumi", fails=True)
    (card,) = run("library", "list", "sumi")["adapters"]
    assert (card["title"], card["notes"], card["kind"]) == ("Sumi ink", "at 0.8", "lora")
    assert run("library", "delete", id)["binned"]
    assert run("library", "list")["adapters"] == []
    assert len(run("library", "list", "--bin")["adapters"]) == 1
    assert not run("library", "restore", id)["binned"]
    out = tmp_path / "out.zip"
    assert run("library", "bundle", id, "--out", str(out))["bundle"] == str(out)
    assert out.is_file()
    assert "is there already" in run("library", "bundle", id, "--out", str(out), fails=True)
    assert "no such job" in run("library", "keep", "nothing", fails=True)
    run("library", "delete", id)
    assert run("library", "empty-bin")["deleted"] == 1


def test_users(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(tmp_path / "auth.json")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a long password\n"))
    assert run("user", "add", "anna", "--auth-file", file) == {"user": "anna", "new": True}
    assert Users.from_file(file).check("anna", "a long password")
    monkeypatch.setattr(sys, "stdin", io.StringIO("short\n"))
    assert "password" in run("user", "add", "anna", "--auth-file", file, fails=True)
