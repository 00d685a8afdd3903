"""Datasets from folders: what is found, what is refused, splits, remarks."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorastyle.data.dataset import Dataset
from lorastyle.data.images import pixel_hash
from lorastyle.errors import BadFile, BadInput


def save(path: Path, colour: Any = None, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Save a picture of one colour, by default one that follows from the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = sum(path.name.encode()) * 7919 + len(str(path.name))
    image = Image.new("RGB", size, colour or (number % 256, number // 256 % 256, number // 65536 % 256))
    image.save(path)
    return image


def names(dataset: Dataset) -> list[str]:
    return [sample.name for sample in dataset.samples]


def test_a_folder_with_captions(tmp_path: Path) -> None:
    image = save(tmp_path / "cat.png")
    (tmp_path / "cat.txt").write_text("a cat, [trigger]")
    dataset = Dataset.from_folder(tmp_path)
    (sample,) = dataset.samples
    assert (sample.name, sample.caption, sample.repeats) == ("cat.png", "a cat, [trigger]", 1)
    assert (sample.width, sample.height) == image.size
    assert sample.hash == pixel_hash(image)
    assert sample.notes == ()
    assert np.array_equal(np.asarray(sample.picture()), np.asarray(image))
    assert dataset.refused == ()
    assert dataset.notes == ()
    assert dataset.name == tmp_path.name
    assert len(dataset) == 1


def test_nested_folders_in_the_order_of_their_names(tmp_path: Path) -> None:
    made = ["b/2.png", "b/10.png", "a/z.png", "c.png", "B.png", "b/a/x.png"]
    for name in made:
        save(tmp_path / name)
    assert names(Dataset.from_folder(tmp_path)) == sorted(made)


def test_what_is_no_image_is_listed_and_not_skipped(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "c.psd").write_bytes(b"8BPS\0\1" + bytes(40))
    (tmp_path / "d.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "notes.docx").write_bytes(b"PK\x03\x04" + bytes(40))
    dataset = Dataset.from_folder(tmp_path)
    assert names(dataset) == ["a.png"]
    assert [file.name for file in dataset.refused] == ["b.png", "c.psd", "d.eps", "sub/notes.docx"]
    assert str(dataset.refused[1]) == (
        "c.psd: is a Photoshop document, which lorastyle does not read. "
        "Save it as one of JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC, or remove it."
    )


def test_hidden_files_and_the_papers_of_a_dataset_are_not_in_question(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / ".hidden" / "x.png")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "README.md", "readme.txt", "LICENSE", "LICENSE-CC0.txt"):
        (tmp_path / name).write_text("words")
    dataset = Dataset.from_folder(tmp_path)
    assert names(dataset) == ["a.png"]
    assert dataset.refused == ()
    assert dataset.notes == ()


def test_an_image_with_a_papers_name_is_an_image(tmp_path: Path) -> None:
    save(tmp_path / "license.png")
    assert names(Dataset.from_folder(tmp_path)) == ["license.png"]


def test_an_unreadable_caption_refuses_its_image_by_name(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    (tmp_path / "b.txt").write_bytes("grün".encode("latin-1"))
    dataset = Dataset.from_folder(tmp_path)
    assert names(dataset) == ["a.png"]
    assert [(file.name, file.what) for file in dataset.refused] == [
        ("b.png", "its caption b.txt is not UTF-8 text (byte 3)")
    ]


def test_links_are_followed_to_files_and_nowhere_else(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    save(elsewhere / "real.png")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "link.png").symlink_to(elsewhere / "real.png")
    (folder / "folder").symlink_to(elsewhere)
    (folder / "broken.png").symlink_to(elsewhere / "gone.png")
    os.mkfifo(folder / "pipe.png")
    dataset = Dataset.from_folder(folder)
    assert names(dataset) == ["link.png"]
    assert [(file.name, file.what.split(",")[0]) for file in dataset.refused] == [
        ("broken.png", "is a link to a file that does not exist"),
        ("folder", "is a link to a folder"),
        ("pipe.png", "is not a regular file"),
    ]


def test_a_name_that_is_not_utf_8_is_refused_and_can_be_printed(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("the file system has no such names")
    (refused,) = Dataset.from_folder(tmp_path).refused
    assert str(refused).encode("utf-8").startswith(b"\\xff.png: has a name that is not UTF-8")


def test_the_same_picture_twice_is_noted(tmp_path: Path) -> None:
    save(tmp_path / "a.png", "red")
    save(tmp_path / "b.bmp", "red")
    save(tmp_path / "c.png", "blue")
    first, second, third = Dataset.from_folder(tmp_path).samples
    assert not any("same pixels" in note for note in (*first.notes, *third.notes))
    assert "has the same pixels as a.png, so that picture counts twice" in second.notes


def test_nothing_usable_lists_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no images"):
        Dataset.from_folder(tmp_path)
    for number in range(12):
        (tmp_path / f"{number:02}.png").write_bytes(b"")
    with pytest.raises(BadInput) as caught:
        Dataset.from_folder(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "00.png is empty; 01.png is empty" in caught.value.what
    assert caught.value.what.endswith("and 2 more")


def test_a_path_that_is_no_dataset_gets_a_sentence(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(BadInput, match="there is no such folder"):
        Dataset.from_folder(tmp_path / "gone")
    with pytest.raises(BadInput, match="there is no such file"):
        Dataset.open(tmp_path / "gone")
    with pytest.raises(BadInput, match="is not a folder"):
        Dataset.from_folder(tmp_path / "a.png")
    with pytest.raises(BadFile, match="is neither a folder nor a zip"):
        Dataset.open(tmp_path / "a.png")
    with pytest.raises(BadInput, match="is not a file"):
        Dataset.from_zip(tmp_path)
    assert names(Dataset.open(str(tmp_path))) == ["a.png"]


def test_the_background_is_the_datasets(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.save(tmp_path / "a.png")
    white, red = Dataset.from_folder(tmp_path).samples[0], Dataset.from_folder(tmp_path, "#ff0000").samples[0]
    assert white.picture().getpixel((1, 0)) == (255, 255, 255)
    assert red.picture().getpixel((1, 0)) == (255, 0, 0)
    assert white.hash != red.hash
    with pytest.raises(BadInput, match="not a colour"):
        Dataset.from_folder(tmp_path, "mauve-ish")


def test_a_file_that_changed_meanwhile_is_found_out(tmp_path: Path) -> None:
    save(tmp_path / "a.png", "red")
    (sample,) = Dataset.from_folder(tmp_path).samples
    save(tmp_path / "a.png", "blue")
    with pytest.raises(BadFile, match="has changed since the dataset was read"):
        sample.picture()
    (tmp_path / "a.png").unlink()
    with pytest.raises(BadFile, match="cannot be opened"):
        sample.picture()


def plain(count: int, folder: Path) -> Dataset:
    for number in range(count):
        save(folder / f"{number:03}.png", (number, 255 - number, 7), size=(4, 4))
    return Dataset.from_folder(folder)


@pytest.mark.parametrize(("share", "held"), [(0.0, 0), (0.01, 2), (0.1, 2), (0.2, 4), (0.5, 10), (0.95, 19)])
def test_a_split_holds_out_its_share_and_at_least_two(tmp_path: Path, share: float, held: int) -> None:
    dataset = plain(20, tmp_path)
    training, kept = dataset.split(share, seed=1)
    assert len(kept) == held
    assert sorted([*training, *kept], key=lambda sample: sample.name) == list(dataset.samples)
    assert [sample.name for sample in training] == sorted(sample.name for sample in training)


def test_a_split_follows_the_pictures_and_the_seed(tmp_path: Path) -> None:
    dataset = plain(30, tmp_path)
    kept = {sample.hash for sample in dataset.split(0.2, seed=1)[1]}
    renamed = replace(dataset, samples=tuple(reversed([replace(sample, name="x") for sample in dataset.samples])))
    assert {sample.hash for sample in renamed.split(0.2, seed=1)[1]} == kept
    assert {sample.hash for sample in dataset.split(0.2, seed=2)[1]} != kept
    grown = plain(31, tmp_path)
    assert len({sample.hash for sample in grown.split(0.2, seed=1)[1]} & kept) >= len(kept) - 1


def test_a_picture_that_is_there_twice_is_on_one_side(tmp_path: Path) -> None:
    for number in range(10):
        for copy in "ab":
            save(tmp_path / f"{number}{copy}.png", (number, 0, 0), size=(4, 4))
    training, kept = Dataset.from_folder(tmp_path).split(0.3)
    assert len(kept) == 6
    assert not {sample.hash for sample in training} & {sample.hash for sample in kept}


def test_a_split_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="leave none to train on") as caught:
        plain(2, tmp_path).split(0.1)
    assert caught.value.where == "recipe.held_out"


def test_remarks_say_everything_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        save(tmp_path / f"{name}.png", size=(64, 64))
        (tmp_path / f"{name}.txt").write_text("words")
    save(tmp_path / "long name.png", size=(1280, 128))
    (tmp_path / "empty.png").touch()
    (tmp_path / "lost.txt").write_text("words")
    dataset = Dataset.from_folder(tmp_path)
    assert dataset.remarks() == [
        "empty.png: is empty. Copy it again or remove it.",
        "lost.txt: no image has that name, so the caption is not used.",
        "long name.png: has no caption, so its file name serves.",
    ]
    assert dataset.remarks(128, 8)[2:] == [
        "a.png, b.png, c.png and 2 more: is enlarged 2.0 times, to 128 x 128 pixels.",
        "long name.png: has no caption, so its file name serves.",
        "long name.png: loses 60% of its area to the crop to 256 x 64.",
    ]
