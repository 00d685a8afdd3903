"""Where captions come from, and which one wins."""

import json
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from lorastyle.data.dataset import Dataset, Sample
from lorastyle.data.sidecars import words_of_name
from lorastyle.errors import BadFile

SERVES = "has no caption, so its file name serves"


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (sum(path.name.encode()) % 256, len(path.name), 0)).save(path)


def sample(folder: Path, name: str = "cat.png") -> Sample:
    return next(sample for sample in Dataset.from_folder(folder).samples if sample.name == name)


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


SOURCES = {
    "pets/cat.txt": "from txt",
    "pets/cat.caption": "from caption",
    "pets/metadata.jsonl": jsonl({"file_name": "cat.png", "text": "from near jsonl"}),
    "pets/metadata.csv": "file_name,text\ncat.png,from near csv\n",
    "metadata.jsonl": jsonl({"file_name": "pets/cat.png", "text": "from far jsonl"}),
    "metadata.csv": "file_name,text\npets/cat.png,from far csv\n",
}


@pytest.mark.parametrize("first", range(len(SOURCES)))
def test_the_order_of_the_sources(tmp_path: Path, first: int) -> None:
    save(tmp_path / "pets" / "cat.png")
    present = dict(list(SOURCES.items())[first:])
    for name, text in present.items():
        (tmp_path / name).write_text(text)
    found = sample(tmp_path, "pets/cat.png")
    best, *others = present
    assert found.caption == "from " + found.caption.removeprefix("from ")
    assert found.caption in present[best]
    assert list(found.notes) == [f"the caption in {other} is not used, {best} has another" for other in others]


def test_a_second_source_that_agrees_is_no_news(tmp_path: Path) -> None:
    save(tmp_path / "cat.png")
    (tmp_path / "cat.txt").write_text("a cat\n")
    (tmp_path / "cat.caption").write_text("a  cat")
    assert sample(tmp_path).notes == ()


def test_written_captions_come_before_folder_names_and_these_before_file_names(tmp_path: Path) -> None:
    folder = tmp_path / "10_sks dog"
    save(folder / "one.png")
    save(folder / "two.png")
    (folder / "one.txt").write_text("a dog asleep")
    one, two = Dataset.from_folder(tmp_path).samples
    assert (one.caption, one.repeats, one.notes) == ("a dog asleep", 10, ())
    assert (two.caption, two.repeats, two.notes) == ("sks dog", 10, ())


def test_the_folder_name_may_be_the_datasets_own(tmp_path: Path) -> None:
    save(tmp_path / "5_sks_dog" / "one.png")
    found = sample(tmp_path / "5_sks_dog", "one.png")
    assert (found.caption, found.repeats) == ("sks dog", 5)


def test_the_nearest_folder_name_counts(tmp_path: Path) -> None:
    save(tmp_path / "2_a cat" / "3_a dog" / "plain" / "x.png")
    found = sample(tmp_path, "2_a cat/3_a dog/plain/x.png")
    assert (found.caption, found.repeats) == ("a dog", 3)


@pytest.mark.parametrize("folder", ["2024_holiday", "0_skip", "01_intro", "10", "10_", "ten_cats", "10-cats"])
def test_other_numbers_in_folder_names_are_no_repeats(tmp_path: Path, folder: str) -> None:
    save(tmp_path / folder / "a red car.png")
    found = sample(tmp_path, f"{folder}/a red car.png")
    assert (found.caption, found.repeats) == ("a red car", 1)
    assert found.notes == (SERVES,)


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("a-red_boat", "a red boat"),
        ("cat_001", "cat"),
        ("cat (2)", "cat"),
        ("01 - cat 7", "cat"),
        ("boeing 747 landing", "boeing 747 landing"),
        ("the_cat's-hat", "the cat's hat"),
        ("ba\u0308r", "bär"),
        ("IMG_1234", ""),
        ("DSC00017", ""),
        ("PXL_20240101_120000", ""),
        ("Screenshot 2024-01-01", ""),
        ("00042", ""),
        ("---", ""),
        ("imagination 3", "imagination"),
    ],
)
def test_file_names_in_words(stem: str, words: str) -> None:
    assert words_of_name(stem) == words


def test_a_name_without_words_is_noted(tmp_path: Path) -> None:
    save(tmp_path / "IMG_1234.png")
    found = sample(tmp_path, "IMG_1234.png")
    assert found.caption == ""
    assert found.notes == ("has no caption, and no words in its name",)


def test_an_empty_caption_is_meant_and_noted(tmp_path: Path) -> None:
    save(tmp_path / "cat.png")
    (tmp_path / "cat.txt").write_text(" \n")
    found = sample(tmp_path)
    assert found.caption == ""
    assert found.notes == ("its caption in cat.txt is empty",)


def test_captions_find_images_by_name_without_suffix(tmp_path: Path) -> None:
    for name in ("cat.v2.png", "cat.png", "cat.jpg"):
        save(tmp_path / name)
    (tmp_path / "cat.v2.TXT").write_text("the second version")
    (tmp_path / "cat.txt").write_text("the first")
    captions = {sample.name: sample.caption for sample in Dataset.from_folder(tmp_path).samples}
    assert captions == {"cat.v2.png": "the second version", "cat.png": "the first", "cat.jpg": "the first"}


def test_accents_match_however_they_are_encoded(tmp_path: Path) -> None:
    save(tmp_path / unicodedata.normalize("NFD", "bär.png"))
    save(tmp_path / unicodedata.normalize("NFD", "kühe.png"))
    (tmp_path / unicodedata.normalize("NFC", "bär.txt")).write_text("a bear")
    row = {"file_name": unicodedata.normalize("NFC", "kühe.png"), "text": "cows"}
    (tmp_path / "metadata.jsonl").write_text(jsonl(row))
    dataset = Dataset.from_folder(tmp_path)
    assert sorted(sample.caption for sample in dataset.samples) == ["a bear", "cows"]
    assert dataset.notes == ()


def test_a_caption_may_have_the_name_of_a_paper(tmp_path: Path) -> None:
    save(tmp_path / "license plate.png")
    (tmp_path / "license plate.txt").write_text("a number on a car")
    assert sample(tmp_path, "license plate.png").caption == "a number on a car"


def test_captions_without_images_are_noted(tmp_path: Path) -> None:
    save(tmp_path / "cat.png")
    for name in ("a.txt", "b.caption", "sub/cat.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("words")
    notes = Dataset.from_folder(tmp_path).notes
    assert notes == ("a.txt, b.caption, sub/cat.txt: no image has that name, so the caption is not used",)


def test_metadata_in_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    save(tmp_path / "cat.png")
    text = '\ufefffile_name,rating,text\r\n"cat.png",5,"a cat, ""Tom"",\r\nasleep"\r\n'
    (tmp_path / "metadata.csv").write_bytes(text.encode("utf-8"))
    assert sample(tmp_path).caption == 'a cat, "Tom", asleep'


def test_metadata_names_that_are_not_there_are_noted(tmp_path: Path) -> None:
    save(tmp_path / "cat.png")
    names = ["gone.png", "cat.png", "../outside.png", "x.png", "y.png"]
    (tmp_path / "metadata.jsonl").write_text(jsonl(*({"file_name": name, "text": "words"} for name in names)) + "\n")
    dataset = Dataset.from_folder(tmp_path)
    assert dataset.samples[0].caption == "words"
    assert dataset.notes == (
        "metadata.jsonl: no image has the name gone.png, ../outside.png, x.png and 1 more, so that caption is not used",
    )


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("metadata.jsonl", '{"file_name": "cat.png", "text": "x"}\n{"file_name": ', "has no valid JSON in line 2"),
        ("metadata.jsonl", '["cat.png", "a cat"]\n', 'has no text for "file_name" in line 1'),
        ("metadata.jsonl", '{"file_name": "cat.png"}\n', 'has no text for "text" in line 1'),
        ("metadata.jsonl", '{"file_name": "cat.png", "text": 7}\n', 'has no text for "text" in line 1'),
        ("metadata.jsonl", jsonl({"file_name": "dog.png", "text": "x"}), "names dog.png, and no image has such a name"),
        (
            "metadata.jsonl",
            jsonl({"file_name": "cat.png", "text": "x"}, {"file_name": "./cat.png", "text": "y"}),
            "captions ./cat.png a second time, differently (line 2)",
        ),
        ("metadata.csv", "", "has no columns file_name and text, but nothing"),
        ("metadata.csv", "file_name;text\ncat.png;x\n", "has no columns file_name and text, but file_name;text"),
        ("metadata.csv", "file_name,text\ncat.png\n", 'has no text for "text" in line 2'),
        ("metadata.csv", 'file_name,text\ncat.png,"x"y\n', "is not valid CSV after line 1"),
        ("metadata.csv", b"file_name,text\ncat.png,gr\xfcn\n", "is not UTF-8 text"),
    ],
)
def test_metadata_that_cannot_be_understood_is_refused(tmp_path: Path, name: str, text: str | bytes, what: str) -> None:
    save(tmp_path / "cat.png")
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadFile) as caught:
        Dataset.from_folder(tmp_path)
    assert caught.value.where == name
    assert caught.value.what.startswith(what)
    assert caught.value.do


def test_a_caption_of_absurd_length_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "cat.png")
    save(tmp_path / "dog.png")
    (tmp_path / "cat.txt").write_text("x" * (2**20 + 1))
    (refused,) = Dataset.from_folder(tmp_path).refused
    assert (refused.name, refused.what) == ("cat.png", "its caption cat.txt has more than 1,048,576 bytes")


# Focus points


def test_focus_points_of_metadata(tmp_path: Path) -> None:
    for name in ("cat.png", "sub/dog.png", "bee.png"):
        save(tmp_path / name)
    rows = ({"file_name": "cat.png", "text": "a cat", "focus": [0.25, 1]}, {"file_name": "bee.png", "text": "a bee"})
    (tmp_path / "metadata.jsonl").write_text(jsonl(*rows))
    (tmp_path / "sub" / "metadata.jsonl").write_text(jsonl({"file_name": "dog.png", "text": "", "focus": [0, 0.5]}))
    found = {sample.name: sample.focus for sample in Dataset.from_folder(tmp_path).samples}
    assert found == {"bee.png": (0.5, 0.5), "cat.png": (0.25, 1.0), "sub/dog.png": (0.0, 0.5)}


@pytest.mark.parametrize("focus", [[0.5], [0.5, 1.5], [-0.1, 0], {"x": 0}, None, 0.5, ["a", "b"], [True, None]])
def test_focus_points_that_are_none(tmp_path: Path, focus: object) -> None:
    save(tmp_path / "cat.png")
    (tmp_path / "metadata.jsonl").write_text(jsonl({"file_name": "cat.png", "text": "a cat", "focus": focus}))
    with pytest.raises(BadFile, match="focus in line 1 that is no point"):
        Dataset.from_folder(tmp_path)


def test_the_crop_goes_by_the_focus_point(tmp_path: Path) -> None:
    Image.new("RGB", (400, 100)).save(tmp_path / "wide.png")
    (tmp_path / "metadata.jsonl").write_text(jsonl({"file_name": "wide.png", "text": "", "focus": [1, 0.5]}))
    (sample,) = Dataset.from_folder(tmp_path).samples
    crop = sample.crop(64, 64)
    assert (crop.bucket, crop.box) == ((64, 64), (300, 0, 400, 100))
