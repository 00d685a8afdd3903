"""Who may log in."""

import json
import os
from pathlib import Path

import pytest

from lorastyle import BadFile, BadInput, Users

PASSWORD = "correct horse battery"


def test_logging_in(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    assert Users.add(path, "anna", PASSWORD)
    assert Users.add(path, "ben", "ünïcödé pässwörd")
    users = Users.from_file(path)
    assert users.names == ["anna", "ben"]
    assert users.check("anna", PASSWORD)
    assert users.check("ben", "ünïcödé pässwörd")
    for name, password in (("anna", ""), ("anna", PASSWORD + " "), ("ben", PASSWORD), ("carl", PASSWORD), ("", "")):
        assert not users.check(name, password)
    assert PASSWORD not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert not Users.add(path, "anna", "another password")
    assert Users.from_file(path).check("anna", "another password")
    assert not Users.from_file(path).check("anna", PASSWORD)


def test_nobody_else_can_ever_read_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen, put = tmp_path / "auth.json", [], os.replace

    def seeing(new: Path, place: Path) -> None:
        seen.append(new.stat().st_mode & 0o777)
        put(new, place)

    monkeypatch.setattr(os, "replace", seeing)
    for name in ("anna", "ben"):
        Users.add(path, name, PASSWORD)
        path.chmod(0o644)  # by somebody's copy or editor
    assert seen == [0o600, 0o600]


def test_equal_passwords_have_different_hashes(tmp_path: Path) -> None:
    for name in ("anna", "ben"):
        Users.add(tmp_path / "auth.json", name, PASSWORD)
    users = json.loads((tmp_path / "auth.json").read_text())["users"]
    assert users["anna"]["hash"] != users["ben"]["hash"]


@pytest.mark.parametrize(
    ("name", "password"), [("Anna", PASSWORD), ("../x", PASSWORD), ("anna", "short"), ("anna", "x" * 2000)]
)
def test_what_cannot_be_used(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(BadInput):
        Users.add(tmp_path / "auth.json", name, password)
    assert not (tmp_path / "auth.json").exists()


@pytest.mark.parametrize("change", ["hash", "salt", "cost", "dear", "none", "list", "name"])
def test_a_damaged_file(tmp_path: Path, change: str) -> None:
    path = tmp_path / "auth.json"
    Users.add(path, "anna", PASSWORD)
    table = json.loads(path.read_text())
    anna = table["users"]["anna"]
    if change in ("hash", "salt"):
        anna[change] = "no base64!"
    elif change == "cost":
        anna["scrypt"]["n"] = 1000
    elif change == "dear":
        anna["scrypt"]["n"] = 2**40
    elif change == "name":
        table["users"]["../x"] = anna
    else:
        table = {"users": {}} if change == "none" else []
    path.write_text(json.dumps(table))
    with pytest.raises(BadInput):
        Users.from_file(path)
    with pytest.raises(BadFile, match="no such file"):
        Users.from_file(tmp_path / "gone.json")
