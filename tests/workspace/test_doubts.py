"""What is said about images before they are trained on."""

from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from lorastyle import Dataset, Draft
from tests.workspace.pictures import blurred, drawing, save

SAMPLES = Path(__file__).parents[2] / "sample_data"


def codes(draft: Draft, resolution: int = 256, divisor: int = 64, trigger: str = "") -> dict[str, set[str]]:
    return {row.name: {doubt.code for doubt in row.doubts} for row in draft.rows(resolution, divisor, trigger)}


def test_duplicates(draft: Draft, tmp_path: Path) -> None:
    image = drawing(1)
    save(tmp_path / "set" / "other.png", 2)
    image.save(tmp_path / "set" / "one.png")
    image.save(tmp_path / "set" / "same.bmp")
    image.save(tmp_path / "set" / "worse.jpg", quality=60)
    image.resize((180, 180)).save(tmp_path / "set" / "smaller.png")
    ImageEnhance.Brightness(image).enhance(0.8).save(tmp_path / "set" / "darker.png")
    draft.add([tmp_path / "set"])
    found = codes(draft, 128)
    assert {name for name, said in found.items() if "duplicate" in said} == {"one.png", "same.bmp"}
    near = {"one.png", "same.bmp", "worse.jpg", "smaller.png", "darker.png"}
    assert {name for name, said in found.items() if "near-duplicate" in said} == near
    row = next(row for row in draft.rows() if row.name == "same.bmp")
    assert "“one.png”" in row.doubts[0].text


def test_twins_of_one_name_are_told_apart(draft: Draft, tmp_path: Path) -> None:
    draft.add([save(tmp_path / folder / "bee.png", 1) for folder in ("one", "two")])
    for row in draft.rows():
        assert "another one called “bee.png”" in row.doubts[0].text


@pytest.mark.parametrize("folder", ["ink", "peep"])
def test_nothing_is_wrong_with_the_pictures_of_sample_data(draft: Draft, folder: str) -> None:
    draft.add([SAMPLES / folder])
    assert {code for said in codes(draft, 128, 32).values() for code in said} == set()


def test_blur_counts_as_it_is_trained(draft: Draft, tmp_path: Path) -> None:
    draft.add(
        [save(tmp_path / "sharp.png", 1), blurred(tmp_path / "soft.png", 2, 1), blurred(tmp_path / "blur.png", 3, 3)]
    )
    assert {name for name, said in codes(draft, 256).items() if "blurred" in said} == {"blur.png"}
    assert not any("blurred" in said for said in codes(draft, 64).values())  # made four times smaller, it is sharp


def test_size_and_shape(draft: Draft, tmp_path: Path) -> None:
    for name, size in {"small.png": (100, 100), "long.png": (1500, 300), "fine.png": (256, 256)}.items():
        save(tmp_path / name, sum(size), size)
    draft.add(sorted(tmp_path.glob("*.png")))
    found = codes(draft, 256)
    assert ("small" in found["small.png"], "extreme-shape" in found["small.png"]) == (True, False)
    assert ("small" in found["long.png"], "extreme-shape" in found["long.png"]) == (False, True)
    assert found["fine.png"] == {"caption-missing"}


def test_alpha_and_animations(draft: Draft, tmp_path: Path) -> None:
    clear = drawing(1).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L"))
    clear.save(tmp_path / "clear.png")
    opaque = drawing(2).convert("RGBA")
    opaque.save(tmp_path / "opaque.png")
    drawing(3).save(tmp_path / "moving.gif", save_all=True, append_images=[drawing(4)])
    draft.add(sorted(tmp_path.glob("*.*")))
    found = codes(draft)
    assert [name for name, said in found.items() if "alpha" in said] == ["clear.png"]
    assert [name for name, said in found.items() if "animated" in said] == ["moving.gif"]


@pytest.mark.parametrize(
    ("caption", "trigger", "code"),
    [
        ("", "", "caption-missing"),
        ("", "sumi", "caption-missing"),
        ("a cat", "sumi", "no-trigger"),
        ("a sumire flower", "sumi", "no-trigger"),
        ("a cat, SUMI", "sumi", None),
        ("a cat, [trigger]", "sumi", None),
        ("a cat", "", None),
    ],
)
def test_captions(draft: Draft, tmp_path: Path, caption: str, trigger: str, code: str | None) -> None:
    (id,) = draft.add([save(tmp_path / "a.png")]).added
    draft.set_caption(id, caption)
    assert codes(draft, trigger=trigger)["a.png"] == ({code} if code else set())


def test_one_row_is_the_same_as_among_all(draft: Draft) -> None:
    draft.add([SAMPLES / "peep"])
    rows = draft.rows(128, 32, "x")
    assert [draft.row(row.id, 128, 32, "x") for row in rows[:3]] == rows[:3]


def test_a_snapshot_trains_what_was_shown(draft: Draft, tmp_path: Path) -> None:
    (tmp_path / "set" / "10_ink cat").mkdir(parents=True)
    save(tmp_path / "set" / "wide.png", 1, (400, 200))
    save(tmp_path / "set" / "10_ink cat" / "often.jpg", 2)
    draft.add([tmp_path / "set"])
    rows = draft.rows(256, 64)
    wide = next(row for row in rows if row.name == "wide.png")
    draft.set_focus(wide.id, 0.9, 0.2)
    data = Dataset.open(draft.snapshot(tmp_path / "snapshot"))
    shown = {(row.caption, row.crop, row.bucket, row.focus) for row in draft.rows(256, 64)}
    crops = [(sample, sample.crop(256, 64)) for sample in data.samples]
    assert {(sample.caption, crop.box, crop.bucket, sample.focus) for sample, crop in crops} == shown
    assert {sample.repeats for sample in data.samples} == {1, 10}
    assert not any("wide" in sample.name or "often" in sample.name for sample in data.samples)
    draft.remove([wide.id])
    assert len(Dataset.open(tmp_path / "snapshot")) == 2
