"""Captions, focus points, removing, and taking it back."""

import multiprocessing
import threading
from pathlib import Path

import pytest

from lorastyle import BadInput, Draft, Workspace
from tests.workspace.pictures import save


@pytest.fixture
def filled(draft: Draft, tmp_path: Path) -> Draft:
    for number, text in enumerate(("a Cat, sitting", "a cat and a catfish", "")):
        (tmp_path / f"{number}.txt").write_text(text)
        save(tmp_path / f"{number}.png", number, (64, 32))
    draft.add([path for path in tmp_path.iterdir() if path.suffix in (".png", ".txt")])
    return draft


def captions(draft: Draft) -> list[str]:
    return [row.caption for row in draft.rows()]


def ids(draft: Draft) -> list[str]:
    return [row.id for row in draft.rows()]


def test_a_caption_is_one_line_and_its_writers(filled: Draft) -> None:
    id = ids(filled)[2]
    filled.set_caption(id, "  a bee\n on a\tflower ")
    assert filled.row(id).caption == "a bee on a flower"
    assert filled.row(id).by_person
    assert filled.last_edit() == "caption"
    assert filled.undo() == 1
    assert (filled.row(id).caption, filled.row(id).by_person) == ("", False)


def test_what_was_changed_since_it_was_seen_is_not_written_over(filled: Draft, workspace: Workspace) -> None:
    id, other = ids(filled)[0], workspace.area().dataset(filled.id)
    other.set_caption(id, "by another hand")
    other.set_focus(id, 0.25, 0.5)
    last = filled.last_edit()
    with pytest.raises(BadInput, match="changed elsewhere"):
        filled.set_caption(id, "by mine", seen="a Cat, sitting")
    with pytest.raises(BadInput, match="changed elsewhere"):
        filled.set_focus(id, 1, 1, seen=(0.5, 0.5))
    assert (filled.row(id).caption, filled.row(id).focus) == ("by another hand", (0.25, 0.5))
    assert filled.last_edit() == last
    filled.set_caption(id, "by another hand", seen="a Cat, sitting")  # both want the same
    filled.set_focus(id, 0.25, 0.5, seen=(0.5, 0.5))
    filled.set_caption(id, "by mine", seen="by another hand")
    filled.set_focus(id, 1, 1, seen=(0.25, 0.5))
    assert (filled.row(id).caption, filled.row(id).focus) == ("by mine", (1, 1))


def test_find_and_replace(filled: Draft) -> None:
    before = captions(filled)
    assert filled.replace("cat", r"\1 dog", case=True) == 1
    assert captions(filled)[1] == r"a \1 dog and a \1 dogfish"
    assert filled.replace("A C", "the c") == 1
    assert captions(filled)[0] == "the cat, sitting"
    assert filled.replace("nowhere", "x") == 0
    assert (filled.undo(), filled.undo(), filled.undo()) == (1, 1, 0)
    assert captions(filled) == before
    with pytest.raises(BadInput, match="find"):
        filled.replace("", "x")


def test_prefix_and_suffix(filled: Draft) -> None:
    assert filled.prefix("ink") == 3
    assert captions(filled) == ["ink, a Cat, sitting", "ink, a cat and a catfish", "ink"]
    assert filled.suffix(" at night") == 3
    assert captions(filled)[0] == "ink, a Cat, sitting at night"
    filled.undo()
    filled.undo()
    filled.prefix("picture of ")
    assert captions(filled)[:2] == ["picture of a Cat, sitting", "picture of a cat and a catfish"]
    filled.suffix("ink")
    assert captions(filled)[2] == "picture of, ink"


def test_automatic_captions_fill_only_empty_ones(filled: Draft) -> None:
    first, _, last = ids(filled)
    assert [image.id for image in filled.uncaptioned()] == [last]
    assert filled.offer_captions({first: "a machine's words", last: "a machine's words", "gone": "x"}) == 1
    row = filled.row(last)
    assert (row.caption, row.by_person) == ("a machine's words", False)
    assert filled.offer_captions({last: "others"}) == 0
    filled.set_caption(last, "by hand")
    assert filled.row(last).by_person
    assert filled.offer_captions({last: "others"}) == 0
    filled.set_caption(last, "")
    assert filled.offer_captions({last: "again"}) == 1


def test_captions_of_one_captioning_are_taken_back_together(filled: Draft) -> None:
    filled.set_caption(ids(filled)[0], "")
    for id in ids(filled):
        filled.offer_captions({id: "automatic"})
    assert filled.undo() == 2
    assert captions(filled) == ["", "a cat and a catfish", ""]


def test_what_was_changed_since_is_not_taken_back(filled: Draft, workspace: Workspace) -> None:
    filled.prefix("ink")
    other = workspace.area().dataset(filled.id)
    id = ids(filled)[0]
    other.set_caption(id, "by another hand")
    filled.undo()
    assert captions(filled)[0] == "ink, a Cat, sitting"
    other.set_caption(id, "by another hand")
    other.undo()
    assert filled.undo() == 3


def test_focus_points(filled: Draft) -> None:
    id = ids(filled)[0]
    assert filled.row(id, 64, 64).crop == (16, 0, 48, 32)
    filled.set_focus(id, 1, 0.5)
    row = filled.row(id, 64, 64)
    assert (row.focus, row.bucket, row.crop) == ((1, 0.5), (64, 64), (32, 0, 64, 32))
    assert row.lost == 0.5
    filled.undo()
    assert filled.row(id).focus == (0.5, 0.5)
    for wrong in ((1.1, 0), (0, -0.1), (float("nan"), 0)):
        with pytest.raises(BadInput, match="outside"):
            filled.set_focus(id, *wrong)


def test_removing_and_bringing_back(filled: Draft) -> None:
    first, second, _ = ids(filled)
    assert filled.remove([first, second]) == 2
    assert len(filled) == 1
    with pytest.raises(BadInput, match="no such image"):
        filled.row(first)
    assert filled.undo() == 2
    assert ids(filled)[:2] == [first, second]
    assert filled.thumbnail(first).is_file()


def test_removed_images_leave_the_disk_when_nothing_can_bring_them_back(filled: Draft) -> None:
    first, second, _ = ids(filled)
    filled.remove([first])
    assert len(list((filled.folder / "images").iterdir())) == 3
    for number in range(100):
        filled.set_caption(second, f"{number}")
    filled.remove([second])
    assert len(list((filled.folder / "images").iterdir())) == 2


@pytest.mark.parametrize("id", ["nothing", "../../x", ""])
def test_images_that_are_not_there(filled: Draft, id: str) -> None:
    for act in (
        lambda: filled.set_caption(id, "x"),
        lambda: filled.set_focus(id, 0, 0),
        lambda: filled.remove([ids(filled)[0], id]),
        lambda: filled.thumbnail(id),
        lambda: filled.row(id),
    ):
        with pytest.raises(BadInput, match="no such image"):
            act()
    assert len(filled) == 3


def test_captions_have_a_limit(workspace: Workspace, filled: Draft) -> None:
    workspace.save_settings({"limits.caption_characters": 20})
    draft = workspace.area().dataset(filled.id)
    with pytest.raises(BadInput, match="more than the 20 allowed"):
        draft.set_caption(ids(draft)[0], "x" * 21)
    before = captions(draft)
    with pytest.raises(BadInput, match=r"0\.png"):
        draft.prefix("in ink")
    assert captions(draft) == before


def test_sixteen_writers_lose_nothing(draft: Draft, workspace: Workspace, tmp_path: Path) -> None:
    draft.add([save(tmp_path / f"{number:02}.png", number, (16, 16)) for number in range(16)])
    mine = ids(draft)

    def write(number: int) -> None:
        own = workspace.area().dataset(draft.id)
        for time in range(10):
            own.set_caption(mine[number], f"{number} {time}")
            own.set_focus(mine[number], time / 10, number / 16)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert captions(draft) == [f"{number} 9" for number in range(16)]
    assert [row.focus for row in draft.rows()] == [(0.9, number / 16) for number in range(16)]


def _append(root: Path, id: str, word: str) -> None:
    draft = Workspace(root).area().dataset(id)
    for _ in range(20):
        draft.suffix(word)


def test_writers_in_several_processes_build_on_each_other(draft: Draft, workspace: Workspace, tmp_path: Path) -> None:
    draft.add([save(tmp_path / "a.png")])
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(workspace.root, draft.id, word)) for word in ("x", "y")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(captions(draft)[0].split(", ")) == ["x"] * 20 + ["y"] * 20
