"""Zips: read without unpacking, and nothing dangerous in them believed."""

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from lorastyle.data.dataset import Dataset
from lorastyle.errors import BadFile, BadInput

CENTRAL = b"PK\x01\x02"


def png(colour: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return stream.getvalue()


def packed(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def central(data: bytes, entry: int) -> int:
    """Where the central directory describes the given entry."""
    place = -1
    for _ in range(entry + 1):
        place = data.index(CENTRAL, place + 1)
    return place


def test_a_zip_is_as_good_as_its_folder(tmp_path: Path) -> None:
    files = {
        "set/b.png": png("blue"),
        "set/3_sks dog/a.png": png("red"),
        "set/b.txt": b"a blue square",
        "set/metadata.csv": b"file_name,text\n3_sks dog/a.png,a red square\n",
        "set/bad.png": png()[:50],
        "__MACOSX/set/._b.png": b"resource fork",
        "set/.DS_Store": b"x",
    }
    for name, data in files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folder = Dataset.open(tmp_path / "folder")
    before = sorted(tmp_path.rglob("*"))
    zipped = Dataset.open(packed(tmp_path / "pets.zip", files))
    assert [(s.name, s.caption, s.hash, s.repeats) for s in zipped.samples] == [
        (s.name, s.caption, s.hash, s.repeats) for s in folder.samples
    ]
    assert zipped.refused == folder.refused
    assert zipped.name == "pets"
    assert zipped.samples[0].picture().getpixel((0, 0)) == (255, 0, 0)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "pets.zip"])  # nothing was unpacked


def refusals(path: Path) -> dict[str, str]:
    return {file.name: file.what for file in Dataset.from_zip(path).refused}


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/evil.png", "C:/evil.png", "..\\evil.png"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "x.zip", {"good.png": png(), name: png("blue")})
    assert refusals(path) == {name.replace("\\", "/"): "has a path that leads out of the zip"}


def test_backslashes_are_slashes(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"sub\\cat.png": png(), "sub\\cat.txt": b"a cat"})
    (sample,) = Dataset.from_zip(path).samples
    assert (sample.name, sample.caption) == ("sub/cat.png", "a cat")


def test_links_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"good.png": png()})
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(link, "/etc/passwd")
    assert refusals(path) == {"link.png": "is a link"}


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"good.png": png(), "secret.png": png("blue")})
    data = bytearray(path.read_bytes())
    data[central(data, 1) + 8] |= 1
    path.write_bytes(data)
    assert refusals(path) == {"secret.png": "is encrypted"}


def test_a_name_that_is_there_twice_is_refused_once(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"a/x.png": png(), "a\\x.png": png("blue")})
    dataset = Dataset.from_zip(path)
    assert [sample.picture().getpixel((0, 0)) for sample in dataset.samples] == [(255, 0, 0)]
    assert refusals(path) == {"a/x.png": "is there twice"}


def test_an_entry_larger_than_it_says_is_not_unpacked_further(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"good.png": png(), "bomb.png": bytes(5_000_000)})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, central(data, 1) + 24, 100)
    path.write_bytes(data)
    assert refusals(path)["bomb.png"].startswith("cannot be unpacked (Bad CRC-32")


def test_a_damaged_entry_is_refused_and_the_rest_used(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"a.png": png(), "b.png": png("blue")}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(png("blue")) + 40] ^= 0xFF
    path.write_bytes(data)
    assert list(refusals(path)) == ["b.png"]


def test_a_method_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"a.png": png(), "b.png": png("blue")})
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, central(data, 1) + 10, 97)
    path.write_bytes(data)
    assert refusals(path)["b.png"].startswith("cannot be unpacked")


def test_more_than_10_gib_are_refused_before_reading(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {f"{number}.png": png() for number in range(3)})
    data = bytearray(path.read_bytes())
    for number in range(3):
        struct.pack_into("<I", data, central(data, number) + 24, 0xF0000000)
    path.write_bytes(data)
    with pytest.raises(BadFile, match="unpacks to more than 10 GB"):
        Dataset.from_zip(path)


def test_one_file_of_more_than_1_gib_is_refused_before_reading(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"a.png": png(), "big.png": bytes(1000)})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, central(data, 1) + 24, 2**30 + 1)
    path.write_bytes(data)
    assert refusals(path) == {"big.png": "unpacks to more than 1 GB"}


def test_more_than_10_000_entries_are_refused(tmp_path: Path) -> None:
    entry = CENTRAL + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"x"
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 10_001, 10_001, 10_001 * len(entry), 0, 0)
    path = tmp_path / "x.zip"
    path.write_bytes(entry * 10_001 + end)  # the directory of a zip is enough to count
    with pytest.raises(BadFile, match="has 10,001 entries, more than 10,000"):
        Dataset.from_zip(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and nothing more", b"words"])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(BadFile, match="cannot be opened as a zip"):
        Dataset.from_zip(path)


def test_a_truncated_zip_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"a.png": png()})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadFile):
        Dataset.open(path)


def test_a_zip_in_a_zip_is_not_opened(tmp_path: Path) -> None:
    inner = packed(tmp_path / "inner.zip", {"a.png": png()}).read_bytes()
    with pytest.raises(BadInput, match="inner.zip is an archive"):
        Dataset.from_zip(packed(tmp_path / "x.zip", {"inner.zip": inner}))
