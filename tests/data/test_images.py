"""Files to pictures: every format, orientation, animations, limits, and what is refused with which sentence."""

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorastyle.data.images import Picture, pixel_hash, read_picture
from lorastyle.errors import BadFile

LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}, "GIF": {}}
LOSSY: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "AVIF": {"quality": 95}, "MPO": {"quality": 95}}
CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))  # top left, top right, bottom left, bottom right


def corners(width: int = 48, height: int = 32) -> Image.Image:
    """A picture whose four quarters have different colours, so that its orientation shows."""
    quarters = np.array(CORNERS, dtype=np.uint8).reshape(2, 2, 3)
    return Image.fromarray(quarters.repeat(height // 2, 0).repeat(width // 2, 1))


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def read(data: bytes, **options: Any) -> Picture:
    return read_picture(io.BytesIO(data), "x", **options)


def furthest(a: Image.Image, b: Image.Image) -> int:
    """The largest difference of any channel of any pixel, of 255."""
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())


@pytest.mark.parametrize("format_name", LOSSLESS)
def test_lossless_formats_give_the_very_pixels(format_name: str) -> None:
    picture = read(encoded(corners(), format_name, **LOSSLESS[format_name]))
    assert picture.image.mode == "RGB"
    assert furthest(picture.image, corners()) == 0
    assert picture.notes == ()


@pytest.mark.parametrize("format_name", LOSSY)
def test_lossy_formats_give_nearly_the_pixels(format_name: str) -> None:
    # Plain quarters at quality 95: codecs stay within a few levels except where colours meet, so the centres are told
    picture = read(encoded(corners(), format_name, **LOSSY[format_name]))
    for place, colour in zip(((12, 8), (36, 8), (12, 24), (36, 24)), CORNERS, strict=True):
        assert np.abs(np.subtract(picture.image.getpixel(place), colour)).max() <= 6
    assert picture.notes == ()


def test_the_contents_decide_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(corners(), "PNG"))
    assert furthest(read_picture(path, "photo.jpg").image, corners()) == 0


def test_multi_picture_jpeg_gives_its_first_picture() -> None:
    data = encoded(corners(), "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", (48, 32))])
    picture = read(data)
    assert picture.image.getpixel((12, 8))[0] > 240
    assert picture.notes == ("only the first of its 2 frames is used",)


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_animations_give_their_first_frame_and_a_note(format_name: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    picture = read(encoded(frames[0], format_name, save_all=True, append_images=frames[1:]))
    assert furthest(picture.image, frames[0]) <= 3  # AVIF and WebP are lossy here
    assert picture.notes == ("only the first of its 3 frames is used",)


TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # what undoes the turn that the file asks for
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_orientation_is_applied(format_name: str, orientation: int) -> None:
    turn = TURNS[orientation]
    stored = corners() if turn is None else corners().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = LOSSLESS.get(format_name) or LOSSY.get(format_name) or {}
    image = read(encoded(stored, format_name, exif=exif, **options)).image
    assert image.size == (48, 32)
    for place, colour in zip(((12, 8), (36, 8), (12, 24), (36, 24)), CORNERS, strict=True):
        assert np.abs(np.subtract(image.getpixel(place), colour)).max() <= 6


def test_an_orientation_that_does_not_exist_is_left_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    assert furthest(read(encoded(corners(), "PNG", exif=exif)).image, corners()) == 0


def test_damaged_exif_is_noted_and_the_picture_used() -> None:
    picture = read(encoded(corners(), "PNG", exif=b"Exif\0\0" + b"\x99" * 20))
    assert furthest(picture.image, corners()) == 0
    assert picture.notes == ("its EXIF data is damaged, so it is taken to be upright",)


def test_what_the_decoder_warns_of_becomes_a_note() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05"  # five entries announced, none there
    notes = read(encoded(corners(), "JPEG", exif=exif)).notes
    assert any(note.startswith("its decoder warns: ") for note in notes)


def test_heic_is_read() -> None:
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 64), (200, 60, 20))).save(stream, quality=95)
    picture = read(stream.getvalue())
    assert np.abs(np.subtract(picture.image.getpixel((32, 32)), (200, 60, 20))).max() <= 6


def test_heic_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadFile) as caught:
        read(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert str(caught.value) == (
        "x: is a HEIC image, which needs the package pillow-heif. "
        "Install it with pip install 'lorastyle[heic]', or save the picture as JPEG or PNG."
    )


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "AVIF"])
def test_truncated_files_are_refused(format_name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format_name)
    with pytest.raises(BadFile, match="is damaged, cut short or of a rare variant"):
        read(data[: int(len(data) * share)])


def test_a_damaged_png_is_refused() -> None:
    data = bytearray(encoded(corners(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BadFile, match="is damaged"):
        read(bytes(data))


OTHERS = {
    b"": "is empty",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": "an EPS or PostScript file",
    b"\xc5\xd0\xd3\xc6" + bytes(28): "an EPS file",
    b"8BPS\0\1" + bytes(40): "a Photoshop document",
    b'<?xml version="1.0"?>\n<!-- x --><svg xmlns="http://www.w3.org/2000/svg"/>': "an SVG drawing",
    b"\xef\xbb\xbf<svg/>": "an SVG drawing",
    b"%PDF-1.7\n": "a PDF document",
    b"\xff\x0a" + bytes(20): "a JPEG XL image",
    b"\0\0\0\x0cjP  \r\n\x87\n": "a JPEG 2000 image",
    b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom": "a video",
    b"\0\0\0\x18ftypcrx \0\0\0\1crx isom": "a camera's raw file",
    b"II*\0\x10\0\0\0CR\x02\0" + bytes(40): "a camera's raw file",
    b"PK\x03\x04" + bytes(40): "an archive",
    b"<!DOCTYPE html><html>not found</html>": "is a web page, not an image",
    b"version https://git-lfs.github.com/spec/v1\noid": "is a Git LFS pointer",
    b"just some words": "is not an image that lorastyle reads",
    bytes(64): "is not an image that lorastyle reads",
}


@pytest.mark.parametrize(("data", "what"), OTHERS.items(), ids=OTHERS.values())
def test_other_files_are_refused_by_their_kind(data: bytes, what: str) -> None:
    with pytest.raises(BadFile, match=what) as caught:
        read(data)
    assert caught.value.where == "x"
    assert caught.value.do


def test_an_eps_with_an_image_suffix_is_not_handed_to_an_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    corners().save(path, "EPS")
    with pytest.raises(BadFile, match="PostScript"):
        read_picture(path, "x.png")


def test_a_format_that_pillow_knows_and_we_do_not_is_refused() -> None:
    for format_name in ("PPM", "TGA", "ICO", "JPEG2000", "PCX"):
        with pytest.raises(BadFile):
            read(encoded(corners(), format_name))


def test_a_raw_file_in_tiff_clothes_is_refused_and_not_its_thumbnail_taken() -> None:
    data = encoded(corners(), "TIFF", tiffinfo={254: 1})
    with pytest.raises(BadFile, match="opens with a thumbnail"):
        read(data)


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends after its header; reading any further would raise."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunks + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("size", [(10_001, 10_000), (13_000, 13_000), (20_000, 20_000), (60_000, 60_000)])
def test_more_than_100_megapixels_are_refused_by_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(BadFile, match="more than 100"):
        read(png_header(*size))


def test_100_megapixels_are_not_too_many() -> None:
    with pytest.raises(BadFile, match="is damaged"):  # past the size check, and there are no pixels
        read(png_header(10_000, 10_000))


def is_read(data: bytes) -> bool:
    try:
        return read(data).image.mode == "RGB"
    except BadFile:
        return False


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "AVIF"])
def test_broken_bytes_raise_nothing_but_bad_file(format_name: str) -> None:
    draws = np.random.default_rng(0)
    whole = encoded(corners(16, 16), format_name)
    outcomes = []
    for _ in range(60):
        data = bytearray(whole)
        for place in draws.integers(0, len(data), 3):
            data[place] = draws.integers(256)
        outcomes.append(is_read(bytes(data)))
    assert is_read(whole)
    assert not all(outcomes)


def test_a_missing_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be opened"):
        read_picture(tmp_path / "gone.png", "gone.png")


def test_no_metadata_stays_with_the_picture() -> None:
    exif = Image.Exif()
    exif[0x010E] = "someone's name"
    image = read(encoded(corners(), "JPEG", exif=exif, comment="someone")).image
    assert image.info == {}
    assert not image.getexif()


def test_the_hash_knows_pixels_and_size() -> None:
    hashes = {
        pixel_hash(corners()),
        pixel_hash(read(encoded(corners(), "PNG")).image),
        pixel_hash(read(encoded(corners(), "BMP")).image),
    }
    assert len(hashes) == 1
    plain = [Image.new("RGB", size) for size in ((4, 6), (6, 4), (2, 12))]
    assert len({pixel_hash(image) for image in plain}) == 3
    assert len(pixel_hash(corners())) == 40
