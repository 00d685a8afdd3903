"""Whole files, under errors, other writers, and SIGKILL at every moment that matters."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lorastyle import files
from lorastyle.errors import BadFile

SIZE = 1_000_000  # bytes; large enough that one write is many pages

# A writer that dies at its n-th call on the disk, whatever the order of calls is.
KILLED_AT = """
import os, shutil, signal, sys
from pathlib import Path
from lorastyle import files

moment = int(sys.argv[2])

def counted(call):
    def counting(*arguments, **settings):
        global moment
        moment -= 1
        if moment == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **settings)
    return counting

for module, name in [(os, "open"), (os, "fsync"), (os, "replace"), (os, "mkdir"), (shutil, "rmtree")]:
    setattr(module, name, counted(getattr(module, name)))
"""
WRITE_FILE = KILLED_AT + "files.write_bytes(sys.argv[1], b'new' * 100_000)"
WRITE_FOLDER = (
    KILLED_AT
    + """
with files.new_folder(sys.argv[1]) as folder:
    (folder / "a").write_text("new")
    (folder / "b").write_text("new")
"""
)


@contextmanager
def _python(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _finishes(code: str, *arguments: object) -> bool:
    with _python(code, *arguments) as process:
        process.communicate()
    assert process.returncode in (0, -9)
    return process.returncode == 0


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_writes_and_replaces_without_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "a.json"
    files.write_json(path, {"name": "encre à la main", "steps": [1, 2]})
    files.write_json(path, {"name": "second"})
    assert files.read_json(path) == {"name": "second"}
    files.write_text(path, "grün")
    assert path.read_bytes() == "grün".encode()
    assert files.read_text(path) == "grün"
    files.write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [found.name for found in path.parent.iterdir()] == ["a.json"]


def test_names_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_text("a.txt", "here")
    with files.new_folder("run") as folder:
        (folder / "a.txt").write_text("inside")
    assert (tmp_path / "a.txt").read_text() == "here"
    assert (tmp_path / "run" / "a.txt").read_text() == "inside"


@pytest.mark.usefixtures("umask")
def test_modes_follow_the_umask(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "a")
    with files.new_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_json_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", float("nan"))
    assert files.read_json(tmp_path / "a.json") == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b"", "not valid JSON"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_json_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=said) as refused:
        files.read_json(path)
    assert refused.value.where == str(path)


def test_json_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert files.read_json(tmp_path / "a.json") == {"a": 1}


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(BadFile, match="cannot be read"):
        files.read_json(tmp_path)


def test_a_place_that_cannot_be_written_is_named_and_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").write_text("kept")
    with pytest.raises(BadFile, match="taken: cannot be written"):
        files.write_text(tmp_path / "taken", "a")
    with pytest.raises(BadFile, match="cannot be written"):
        files.write_text(tmp_path / "taken" / "inside" / "a.txt", "a")
    assert [found.name for found in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken" / "inside").read_text() == "kept"


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    files.write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadFile, match="No space left on device"):
        files.write_text(tmp_path / "a.txt", "new")
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_disk_that_is_full_while_a_folder_is_filled_keeps_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    full = pytest.raises(BadFile, match="run: cannot be written .No space left on device")
    with full, files.new_folder(tmp_path / "run") as folder:
        (folder / "half").touch()
        raise OSError(28, "No space left on device")
    assert [found.name for found in tmp_path.rglob("*")] == ["run"]


def test_new_folder_replaces_the_whole_folder(tmp_path: Path) -> None:
    for names in (["a", "b"], ["c"]):
        with files.new_folder(tmp_path / "run") as folder:
            assert folder.parent == tmp_path
            for name in names:
                (folder / "deep").mkdir(exist_ok=True)
                (folder / "deep" / name).write_text(name)
    assert [found.name for found in (tmp_path / "run" / "deep").iterdir()] == ["c"]
    assert [found.name for found in tmp_path.iterdir()] == ["run"]


def test_new_folder_vanishes_when_the_block_raises(tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "run") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), files.new_folder(tmp_path / "run") as folder:
        (folder / "a").write_text("new")
        raise ZeroDivisionError
    assert (tmp_path / "run" / "a").read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["run"]


def test_sweep_leaves_everything_else_alone(tmp_path: Path) -> None:
    names = [".hidden", "a.new", ".a.lorastyle.new", ".a.lorastyle-1-xyz.new", "a.lorastyle-1-0123abcd.new"]
    for name in names:
        (tmp_path / name).write_text("")
    assert files.sweep(tmp_path) == []
    assert sorted(found.name for found in tmp_path.iterdir()) == sorted(names)
    assert files.sweep(tmp_path / "missing") == []


def test_sweep_leaves_living_writers_alone(tmp_path: Path) -> None:
    code = """
import sys
from lorastyle import files
with files.new_folder(sys.argv[1]) as folder:
    (folder / "a").write_text("theirs")
    print("writing", flush=True)
    sys.stdin.read()
"""
    with _python(code, tmp_path / "theirs") as process, files.new_folder(tmp_path / "ours") as folder:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        (folder / "a").write_text("ours")
        assert files.sweep(tmp_path) == []
        process.communicate("")
    assert (tmp_path / "theirs" / "a").read_text() == "theirs"
    assert (tmp_path / "ours" / "a").read_text() == "ours"


def test_sweep_knows_leftovers_under_its_own_process_number(tmp_path: Path) -> None:
    leftover = tmp_path / "deep" / f".a.txt.lorastyle-{os.getpid()}-0123abcd.new"
    leftover.parent.mkdir()
    leftover.write_text("from a process that had this number before")
    assert files.sweep(tmp_path) == [leftover]
    assert list(leftover.parent.iterdir()) == []


def test_a_file_is_whole_wherever_its_writer_is_killed(tmp_path: Path) -> None:
    path, old, new = tmp_path / "a", b"old" * 100_000, b"new" * 100_000
    moment, seen = 1, set()
    path.write_bytes(old)
    while not _finishes(WRITE_FILE, path, moment):
        assert path.read_bytes() in (old, new)
        seen.add(path.read_bytes())
        files.sweep(tmp_path)
        assert [found.name for found in tmp_path.iterdir()] == ["a"]
        path.write_bytes(old)
        moment += 1
    assert seen == {old, new}  # killed before and after the rename
    assert path.read_bytes() == new


def test_a_folder_is_whole_wherever_its_writer_is_killed(tmp_path: Path) -> None:
    path, old, new = tmp_path / "run", {"a": "old"}, {"a": "new", "b": "new"}
    moment, seen, restored = 1, [], False
    _fill(path, old)
    while not _finishes(WRITE_FOLDER, path, moment):
        restored |= not path.exists()
        files.sweep(tmp_path)
        seen.append({found.name: found.read_text() for found in path.iterdir()})
        assert seen[-1] in (old, new)
        assert [found.name for found in tmp_path.iterdir()] == ["run"]
        _fill(path, old)
        moment += 1
    assert restored  # one of the kills fell between the two renames
    assert old in seen
    assert new in seen


def _fill(folder: Path, texts: dict[str, str]) -> None:
    with files.new_folder(folder) as new:
        for name, text in texts.items():
            (new / name).write_text(text)


def test_readers_never_see_part_of_a_file_while_writers_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    code = """
import itertools, sys
from lorastyle import files
for i in itertools.count():
    files.write_json(sys.argv[1], {"n": i, "filling": "x" * int(sys.argv[2])})
    print(i, flush=True)
"""
    kills = 3
    for kill in range(kills):
        with _python(code, path, SIZE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"
            for _ in range(10 + kill):  # the number of reads decides the moment, so that no kill falls like another
                assert len(json.loads(path.read_bytes())["filling"]) == SIZE
        assert process.returncode == -9
        assert len(files.read_json(path)["filling"]) == SIZE
        files.sweep(tmp_path)
        assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("moment", [1, 2, 3, 99])
def test_a_folder_killed_while_removed_is_whole_or_gone(tmp_path: Path, moment: int) -> None:
    folder = tmp_path / "step"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text("old")
    with _python(KILLED_AT + "files.remove_folder(sys.argv[1])", folder, moment) as process:
        killed = process.wait() != 0
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else None
    assert names == (["a", "b"] if moment == 1 else None)
    assert killed == (moment < 99)
    files.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == (["step"] if moment == 1 else [])


def test_a_file_written_piece_by_piece_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    with pytest.raises(ZeroDivisionError), files.new_file(path) as file:
        file.write(b"half")
        _ = 1 / 0
    assert list(path.parent.iterdir()) == []
    with files.new_file(path) as file:
        file.write(b"one ")
        assert not path.exists()
        file.write(b"two")
    assert path.read_bytes() == b"one two"


def test_a_link_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    files.link(tmp_path / "a", tmp_path / "b" / "a")
    assert (tmp_path / "b" / "a").samefile(tmp_path / "a")

    def refused(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refused)
    files.link(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "a"
    assert not (tmp_path / "c").samefile(tmp_path / "a")
    with pytest.raises(BadFile, match="cannot be written"):
        files.link(tmp_path / "gone", tmp_path / "d")
