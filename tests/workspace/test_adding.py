"""What people drop: images, captions, folders, zips, good and bad."""

import io
import os
import stat
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lorastyle import Area, BadInput, Draft, Workspace
from lorastyle.data.images import pixel_hash
from tests.workspace.pictures import drawing, save


def captions(draft: Draft) -> dict[str, str]:
    return {row.name: row.caption for row in draft.rows()}


def png(number: int = 0) -> bytes:
    data = io.BytesIO()
    drawing(number).save(data, "PNG")
    return data.getvalue()


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def leftovers(area: Area) -> list[Path]:
    return list((area.folder / "uploads").iterdir())


def test_images_with_captions_in_the_order_of_their_names(draft: Draft, area: Area, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("a bee,\n  sitting")
    added = draft.add([save(tmp_path / "b.png", 1), tmp_path / "b.txt", save(tmp_path / "a.jpg", 2)])
    assert (len(added.added), added.refused) == (2, ())
    assert captions(draft) == {"a.jpg": "", "b.png": "a bee, sitting"}
    assert [row.by_person for row in draft.rows()] == [False, True]
    assert leftovers(area) == []


def test_a_folder_with_folders_and_metadata(draft: Draft, tmp_path: Path) -> None:
    for number, name in enumerate(("cat.png", "sub/dog.png", "5_sks person/me.png")):
        save(tmp_path / "set" / name, number)
    (tmp_path / "set" / "metadata.jsonl").write_text(
        '{"file_name": "cat.png", "text": "a cat", "focus": [0.25, 1]}\n{"file_name": "sub/dog.png", "text": "a dog"}\n'
    )
    draft.add([tmp_path / "set"])
    assert captions(draft) == {"5_sks person/me.png": "sks person", "cat.png": "a cat", "sub/dog.png": "a dog"}
    assert draft.rows()[1].focus == (0.25, 1)


def test_captions_before_and_after_their_images(draft: Draft, tmp_path: Path) -> None:
    (tmp_path / "early.txt").write_text("came early")
    (tmp_path / "late.txt").write_text("came late")
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "late.png", "text": "not this"}\n{"file_name": "third.png", "text": "of the table"}\n'
    )
    draft.add([tmp_path / "early.txt"])
    assert draft.waiting() == ["early.txt"]
    draft.add([save(tmp_path / "early.png", 1), save(tmp_path / "late.png", 2)])
    added = draft.add([tmp_path / "late.txt", tmp_path / "metadata.jsonl"])
    assert len(added.captioned) == 1
    assert draft.waiting() == ["metadata.jsonl"]
    draft.add([save(tmp_path / "third.png", 3)])
    assert captions(draft) == {"early.png": "came early", "late.png": "came late", "third.png": "of the table"}
    assert draft.waiting() == []


def test_a_caption_file_never_overwrites(draft: Draft, tmp_path: Path) -> None:
    (id,) = draft.add([save(tmp_path / "cat.png")]).added
    draft.set_caption(id, "by hand")
    (tmp_path / "cat.txt").write_text("from a file")
    added = draft.add([tmp_path / "cat.txt"])
    assert draft.row(id).caption == "by hand"
    assert "cat.txt: its image has another caption already" in added.refused[0]


def test_equal_names_are_kept_apart(draft: Draft, tmp_path: Path) -> None:
    for number, folder in enumerate("xyz"):
        save(tmp_path / folder / "1.png", number)
        (tmp_path / folder / "1.txt").write_text(folder)
    draft.add([tmp_path / folder / name for folder in "xyz" for name in ("1.png", "1.txt")])
    assert [(row.name, row.caption) for row in draft.rows()] == [("1.png", "x"), ("1.png", "y"), ("1.png", "z")]


def test_what_cannot_be_used_is_said_and_the_rest_goes_on(draft: Draft, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(png()[:200])
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "odd.txt").write_bytes("ärger".encode("latin-1"))
    (tmp_path / "metadata.jsonl").write_text("{")
    paths = [tmp_path / name for name in ("broken.png", "page.png", "odd.txt", "metadata.jsonl", "gone.png")]
    added = draft.add([*paths, save(tmp_path / "odd.png")])
    assert captions(draft) == {"odd.png": ""}
    assert sorted(sentence.split(":")[0] for sentence in added.refused) == [
        "broken.png", "gone.png", "metadata.jsonl", "odd.txt", "page.png",
    ]  # fmt: skip
    assert set(draft.refused()) == set(added.refused)
    assert not any(str(tmp_path) in sentence for sentence in added.refused)
    draft.forget_refused()
    assert draft.refused() == []


def test_a_zip(draft: Draft, area: Area, tmp_path: Path) -> None:
    path = zipped(tmp_path / "set.zip", {"in/cat.png": png(1), "in/cat.txt": b"a cat", "__MACOSX/in/._cat.png": b"junk",
                                         "in\\dog.png": png(2)})  # fmt: skip
    assert draft.add([path]).refused == ()
    assert captions(draft) == {"in/cat.png": "a cat", "in/dog.png": ""}
    stored = [path.name for path in (area.folder / "datasets" / draft.id / "images").iterdir()]
    assert all("cat" not in name and "dog" not in name for name in stored)


def with_link(archive: zipfile.ZipFile) -> None:
    link = zipfile.ZipInfo("shadow.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(link, "/etc/shadow")


EVIL: dict[str, tuple[Callable[[zipfile.ZipFile], None], str]] = {
    "climbs": (lambda archive: archive.writestr("../../x.png", png()), "leads out of the zip"),
    "climbs as windows does": (lambda archive: archive.writestr("a\\..\\..\\x.png", png()), "leads out of the zip"),
    "absolute": (lambda archive: archive.writestr("/etc/x.png", png()), "leads out of the zip"),
    "drive": (lambda archive: archive.writestr("C:/x.png", png()), "leads out of the zip"),
    "link": (with_link, "a link"),
    "many": (lambda archive: [archive.writestr(f"{at}.txt", b"x") for at in range(60)], "62 entries"),  # type: ignore[dict-item, return-value]
    "bomb": (lambda archive: archive.writestr("zeros.png", bytes(3_000_000)), "unpacks to more"),
    "too large a file": (lambda archive: archive.writestr("zeros.png", bytes(1_200_000)), "has a file of more"),
}


@pytest.mark.parametrize("evil", EVIL)
def test_a_bad_zip_is_refused_whole(workspace: Workspace, evil: str, tmp_path: Path) -> None:
    small = {"archive_entries": 50, "unpacked_bytes": 2_000_000, "upload_bytes": 1_000_000}
    if evil == "bomb":
        small["upload_bytes"] = 5_000_000
    workspace.save_settings({f"limits.{name}": value for name, value in small.items()})
    draft = workspace.area().new_dataset("Ink")
    put, said = EVIL[evil]
    with zipfile.ZipFile(tmp_path / "evil.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.png", png())
        archive.writestr("good.txt", "a good one")
        put(archive)
    added = draft.add([tmp_path / "evil.zip"])
    assert added.added == ()
    assert said in added.refused[0]
    assert len(draft) == 0
    assert leftovers(workspace.area()) == []


def test_a_zip_that_lies_about_its_size(draft: Draft, workspace: Workspace, tmp_path: Path) -> None:
    path = zipped(tmp_path / "lie.zip", {"a.png": png(), "b.png": bytes(100_000)})
    data = path.read_bytes()
    path.write_bytes(data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert "cannot be unpacked" in draft.add([path]).refused[0]
    assert len(draft) == 0


@pytest.mark.parametrize("entries", [{"a.txt": b"only words"}, {"a.png": b"no picture"}, {}])
def test_a_zip_without_an_image(draft: Draft, tmp_path: Path, entries: dict[str, bytes]) -> None:
    added = draft.add([zipped(tmp_path / "empty.zip", entries)])
    assert "has no image in it" in added.refused[0]
    assert len(added.refused) == 1 + ("a.png" in entries)
    assert draft.waiting() == []  # the captions in it are refused, too


UNREADABLE = {"a.png": b"", "in/b.jpg": b"<html>", "in/c.png": png()[:200], "in/c.txt": b"a cut off one"}
REASONS = {"a.png": "is empty", "in/b.jpg": "is a web page", "in/c.png": "cannot be decoded"}


@pytest.mark.parametrize("packed", [True, False], ids=["zip", "folder"])
@pytest.mark.parametrize("also", [{}, {"good.png": png()}], ids=["alone", "beside a good one"])
@pytest.mark.parametrize("names", [("a.png", "in/b.jpg"), ("a.png", "in/b.jpg", "in/c.png", "in/c.txt")])
def test_of_each_picture_that_cannot_be_read_it_is_said_why(
    draft: Draft, tmp_path: Path, packed: bool, also: dict[str, bytes], names: tuple[str, ...]
) -> None:
    entries = {name: UNREADABLE[name] for name in names} | also
    for name, data in entries.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    added = draft.add([zipped(tmp_path / "set.zip", entries) if packed else tmp_path / "set"])
    assert len(added.added) == len(also)
    told = dict(sentence.split(": ", 1) for sentence in added.refused)
    for name in set(names) & REASONS.keys():
        assert REASONS[name] in told[name]
    assert set(draft.refused()) == set(added.refused)


def test_limits_are_kept(workspace: Workspace, tmp_path: Path) -> None:
    large = png(3)
    limits = {"upload_bytes": len(large) - 1, "pixels": 300 * 300, "dataset_files": 2}
    workspace.save_settings({f"limits.{name}": value for name, value in limits.items()})
    draft = workspace.area().new_dataset("Ink")
    (tmp_path / "heavy.png").write_bytes(large)
    Image.new("RGB", (400, 300), "red").save(tmp_path / "wide.png")
    flat = []
    for number in range(3):
        flat.append(tmp_path / f"flat{number}.png")
        Image.new("RGB", (64, 64), (number, 0, 0)).save(flat[-1])
    added = draft.add([tmp_path / "heavy.png", tmp_path / "wide.png", *flat])
    assert len(added.added) == len(draft) == 2
    said = " ".join(added.refused)
    for words in ("heavy.png: is larger than", "wide.png: has 400 x 300 pixels", "it has 2 images, and more are not"):
        assert words in said
    assert len(list((draft.folder / "images").iterdir())) == 2


def test_the_disk_of_a_person_is_counted(workspace: Workspace, tmp_path: Path) -> None:
    draft = workspace.area().new_dataset("Ink")
    draft.add([save(tmp_path / "a.png", 1)])
    workspace.save_settings({"limits.disk_bytes": workspace.area().usage() + 100})
    draft = workspace.area().dataset(draft.id)
    added = draft.add([save(tmp_path / "b.png", 2)])
    assert (len(draft), "used up" in added.refused[0]) == (1, True)
    workspace.save_settings({"limits.disk_bytes": 1})
    with pytest.raises(BadInput, match="used up"):
        workspace.area().train(draft, "pocket", {})


def test_metadata_of_photographs_does_not_reach_thumbnails(draft: Draft, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "somebody's secret"
    exif[0x0112] = 6
    image = Image.new("RGB", (600, 300), "red")
    image.paste("blue", (0, 0, 300, 300))
    image.save(tmp_path / "a.jpg", exif=exif)
    (id,) = draft.add([tmp_path / "a.jpg"]).added
    row = draft.row(id)
    assert (row.width, row.height) == (300, 600)
    path = draft.thumbnail(id)
    assert b"secret" not in path.read_bytes()
    with Image.open(path) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("WEBP", (160, 320))
        assert thumbnail.getpixel((80, 20))[2] > 200  # upright: blue on top
    path.unlink()
    assert draft.thumbnail(id).is_file()


def test_progress_is_told(draft: Draft, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    draft.add([save(tmp_path / f"{number}.png", number) for number in range(3)], lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_many_add_at_once(draft: Draft, tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.png", number, (32, 32)) for number in range(12)]
    threads = [threading.Thread(target=draft.add, args=([path],)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(draft) == 12


def test_nothing_can_be_added_to_a_dataset_that_is_gone(draft: Draft, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    draft.add([path])
    draft.delete()
    assert not draft.folder.exists()
    with pytest.raises(BadInput, match="no such dataset"):
        draft.add([path])


def test_a_large_image_is_looked_at_like_a_small_one(draft: Draft, tmp_path: Path) -> None:
    image = drawing(1, (4000, 2500))
    image.save(tmp_path / "large.png")
    Image.new("RGBA", (4000, 2500)).save(tmp_path / "clear.png")
    added = draft.add([tmp_path / "large.png", tmp_path / "clear.png"])
    (row,) = draft.rows()
    assert (row.width, row.height, row.version) == (4000, 2500, pixel_hash(image)[:8])
    assert "clear.png: is transparent everywhere" in added.refused[0]
    with Image.open(draft.thumbnail(row.id)) as thumbnail:
        assert thumbnail.size == (320, 200)


def test_what_a_killed_intake_left_is_swept(workspace: Workspace) -> None:
    uploads = workspace.area().folder / "uploads"
    for name in ("999999999-left", f"{os.getpid()}-left", f"{os.getppid()}-at-work", "somebody-elses"):
        (uploads / name).mkdir(parents=True)
    Workspace(workspace.root).area()
    assert sorted(path.name for path in uploads.iterdir()) == [f"{os.getppid()}-at-work", "somebody-elses"]


def test_captions_that_are_too_long_are_left_out_and_it_is_said(workspace: Workspace, tmp_path: Path) -> None:
    workspace.save_settings({"limits.caption_characters": 10})
    draft = workspace.area().new_dataset("Ink")
    (tmp_path / "a.txt").write_text("x" * 11)
    (tmp_path / "b.txt").write_text("y" * 11)
    added = draft.add([save(tmp_path / "a.png", 1), tmp_path / "a.txt", save(tmp_path / "b.png", 2)])
    assert "a.png: its caption has 11 characters" in added.refused[0]
    assert "b.png: its caption has 11 characters" in draft.add([tmp_path / "b.txt"]).refused[0]
    assert captions(draft) == {"a.png": "", "b.png": ""}


@pytest.mark.slow
def test_a_thousand_files(draft: Draft, tmp_path: Path) -> None:
    entries: dict[str, bytes] = {}
    for number in range(500):
        data = io.BytesIO()
        drawing(number, (96, 64)).save(data, "PNG")
        entries |= {f"set/{number:03}.png": data.getvalue(), f"set/{number:03}.txt": f"number {number}".encode()}
    added = draft.add([zipped(tmp_path / "many.zip", entries)])
    assert (len(added.added), added.refused) == (500, ())
    assert captions(draft) == {f"set/{number:03}.png": f"number {number}" for number in range(500)}
    for number in range(500):
        save(tmp_path / "more" / f"{number:03}.jpg", 500 + number, (96, 64))
    assert len(draft.add([tmp_path / "more"]).added) == 500
    assert len({row.id for row in draft.rows()}) == 1000
