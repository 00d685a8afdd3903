"""Colours: every mode, 16 bits, profiles and transparency, as sRGB."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from lorastyle.data.images import Picture, read_picture
from lorastyle.errors import BadFile, BadInput

Colour = tuple[int, ...]


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def read(data: bytes, **options: Any) -> Picture:
    return read_picture(io.BytesIO(data), "x", **options)


def colours(picture: Picture) -> list[Colour]:
    return [tuple(pixel) for pixel in np.asarray(picture.image).reshape(-1, 3).tolist()]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(colour_type: int, pixels: Sequence[int], channels: int, key: Sequence[int] = ()) -> bytes:
    """One row of a PNG with 16-bit samples, which Pillow itself cannot write in colour."""
    width = len(pixels) // channels
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, 16, colour_type, 0, 0, 0))
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    row = b"\0" + struct.pack(f">{len(pixels)}H", *pixels)
    return b"\x89PNG\r\n\x1a\n" + header + transparent + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")


def close(found: Sequence[Colour], wanted: Sequence[Colour], tolerance: int) -> bool:
    return bool(np.abs(np.subtract(found, wanted)).max() <= tolerance)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    levels = np.array([[0, 257, 32896, 65278, 65535]], dtype=np.uint16)  # 257 k is k of 255 exactly
    wanted = [(level,) * 3 for level in (0, 1, 128, 254, 255)]
    for format_name in ("PNG", "TIFF"):
        assert colours(read(encoded(Image.fromarray(levels), format_name))) == wanted


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bit_tiff_of_either_byte_order(mode: str) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((1, 0), 65535)
    assert colours(read(encoded(image, "TIFF"))) == [(0, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_16_bit_tiff_whose_white_is_zero(compression: str | None) -> None:
    levels = np.array([[0, 65535]], dtype=np.uint16)
    data = encoded(Image.fromarray(levels), "TIFF", tiffinfo={262: 0}, compression=compression)
    assert colours(read(data)) == [(255, 255, 255), (0, 0, 0)]


def test_12_bit_tiff_is_scaled_by_its_own_white() -> None:
    samples = (0, 2048, 4095, 4095)
    packed = bytes([samples[0] >> 4, (samples[0] & 15) << 4 | samples[1] >> 8, samples[1] & 255])
    packed += bytes([samples[2] >> 4, (samples[2] & 15) << 4 | samples[3] >> 8, samples[3] & 255])
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    place = 8 + len(packed)
    data = b"II*\0" + struct.pack("<I", place) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert colours(read(data)) == [(0,) * 3, (128,) * 3, (255,) * 3, (255,) * 3]


def test_16_bit_colour_png() -> None:
    pixels = [0, 32896, 65535, 65535, 257, 0]
    assert colours(read(png16(2, pixels, 3))) == [(0, 128, 255), (255, 1, 0)]


def test_16_bit_alpha_png() -> None:
    assert colours(read(png16(4, [0, 65535, 0, 0], 2))) == [(0, 0, 0), (255, 255, 255)]
    assert colours(read(png16(6, [65535, 0, 0, 65535, 0, 0, 0, 0], 4))) == [(255, 0, 0), (255, 255, 255)]


def test_the_transparent_colour_of_a_16_bit_png() -> None:
    assert colours(read(png16(0, [0, 30000, 65535], 1, key=[30000]), background="#ff0000"))[1] == (255, 0, 0)
    picture = read(png16(2, [1000, 30000, 65535, 0, 0, 0], 3, key=[1000, 30000, 65535]))
    assert colours(picture) == [(255, 255, 255), (0, 0, 0)]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_an_agreed_white_are_refused(mode: str) -> None:
    with pytest.raises(BadFile, match="for which no white is agreed"):
        read(encoded(Image.new(mode, (4, 4)), "TIFF"))


def test_one_bit_pictures() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    for format_name in ("PNG", "TIFF", "BMP"):
        assert colours(read(encoded(image, format_name))) == [(0, 0, 0), (255, 255, 255)]


def test_alpha_is_composited_on_the_declared_colour() -> None:
    image = Image.new("RGBA", (3, 1))
    for x, pixel in enumerate([(255, 0, 0, 255), (255, 0, 0, 128), (255, 0, 0, 0)]):
        image.putpixel((x, 0), pixel)
    for format_name, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        picture = read(encoded(image, format_name, **options), background="#0000ff")
        assert colours(picture) == [(255, 0, 0), (128, 0, 127), (0, 0, 255)]
        assert picture.notes == ("its transparent parts are filled with #0000ff",)


def test_opaque_alpha_is_no_news() -> None:
    picture = read(encoded(Image.new("RGBA", (2, 2), (9, 8, 7, 255)), "PNG"))
    assert colours(picture) == [(9, 8, 7)] * 4
    assert picture.notes == ()


def test_grey_with_alpha() -> None:
    image = Image.new("LA", (2, 1), (100, 255))
    image.putpixel((1, 0), (100, 0))
    for format_name in ("PNG", "TIFF"):
        assert colours(read(encoded(image, format_name))) == [(100, 100, 100), (255, 255, 255)]


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for x in range(3):
        image.putpixel((x, 0), x)
    return image


def test_palettes() -> None:
    for format_name in ("PNG", "GIF", "BMP", "TIFF"):
        assert colours(read(encoded(palette_image(), format_name))) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_palettes_with_a_transparent_colour() -> None:
    for format_name in ("PNG", "GIF"):
        data = encoded(palette_image(), format_name, transparency=1)
        assert colours(read(data, background="#000000")) == [(255, 0, 0), (0, 0, 0), (0, 0, 255)]


def test_palettes_with_half_transparent_colours() -> None:
    data = encoded(palette_image(), "PNG", transparency=bytes([255, 128, 0]))
    assert colours(read(data)) == [(255, 0, 0), (127, 255, 127), (255, 255, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_transparent_colour_without_alpha(mode: str) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((1, 0), (255, 255, 255) if mode == "RGB" else 255)
    key: Any = (0, 0, 0) if mode == "RGB" else 0
    assert colours(read(encoded(image, "PNG", transparency=key), background="#00ff00"))[0] == (0, 255, 0)


def test_a_picture_that_is_transparent_everywhere_is_refused() -> None:
    with pytest.raises(BadFile, match="is transparent everywhere"):
        read(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG"))


@pytest.mark.parametrize("background", ["", "#12", "no colour", "#11223344"])
def test_a_background_that_is_no_colour_is_refused(background: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(encoded(Image.new("RGB", (2, 2)), "PNG"), background=background)
    assert caught.value.where == "background"


INKS = {(255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0)}


@pytest.mark.parametrize(("ink", "wanted"), INKS.items())
@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(format_name: str, ink: tuple[int, int, int, int], wanted: Colour) -> None:
    picture = read(encoded(Image.new("CMYK", (8, 8), ink), format_name))
    assert close(colours(picture), [wanted] * 64, 2)  # JPEG rounds
    assert picture.notes == ("has CMYK colours without a profile, so they are approximate",)


def test_a_cmyk_jpeg_without_adobe_marker_is_read_as_browsers_do_and_noted() -> None:
    data = encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG")
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    picture = read(data[:start] + data[start + 2 + length :])
    assert close(colours(picture), [(0, 255, 255)] * 64, 2)
    assert any("does not say whether its inks are inverted" in note for note in picture.notes)


def icc_profile(space: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2, with Lab or XYZ connection space as its tags need (ICC.1:2001, 6)."""
    connection = b"Lab " if b"A2B0" in tags else b"XYZ "
    tags = {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061), **tags}
    table, body, place = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s12s4s", place + len(body), bytes(4), 0x02400000, kind, space, connection,
                         bytes(12), b"acsp") + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)  # fmt: skip
    return header + bytes(128 - len(header)) + table + body


def matrix_profile(red: Colour, green: Colour, blue: Colour, gamma: float) -> bytes:
    """A profile of three primaries (XYZ for white point D50, 1/65536) and one gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    primaries = {b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue}
    tags = {name: b"XYZ \0\0\0\0" + struct.pack(">3i", *values) for name, values in primaries.items()}
    return icc_profile(b"RGB ", b"mntr", {**tags, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def adobe_rgb() -> bytes:
    """Primaries and gamma of Adobe RGB (1998), chromatically adapted to D50."""
    return matrix_profile((39960, 20389, 1275), (13462, 41003, 3994), (9771, 4144, 48788), 563 / 256)


# Of sRGB, adapted to D50 by Bradford's method; columns red, green, blue
SRGB_TO_XYZ = [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
ADOBE_RGB_TO_XYZ = [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]


def srgb_of_xyz(xyz: Any) -> Colour:
    """IEC 61966-2-1 on XYZ for white point D50."""
    linear = np.linalg.solve(SRGB_TO_XYZ, xyz).clip(0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return tuple(np.rint(255 * curved).astype(int).tolist())


def srgb_of_adobe(*colour: int) -> Colour:
    return srgb_of_xyz(np.array(ADOBE_RGB_TO_XYZ) @ (np.array(colour) / 255) ** (563 / 256))


def srgb_of_lab(lightness: float, a: float, b: float) -> Colour:
    """CIE 1976, for the white point D50."""
    y = (lightness + 16) / 116
    roots = np.array([y + a / 500, y, y - b / 200])
    edge = 6 / 29
    shares = np.where(roots > edge, roots**3, 3 * edge**2 * (roots - 4 / 29))
    return srgb_of_xyz(shares * (0.9642, 1.0, 0.8249))


def test_a_wide_gamut_profile_is_converted() -> None:
    image = Image.new("RGB", (8, 8), (150, 200, 90))
    wanted = srgb_of_adobe(150, 200, 90)
    assert wanted == (124, 201, 80)  # far enough from what is stored that an ignored profile shows
    for format_name in ("PNG", "TIFF"):
        picture = read(encoded(image, format_name, icc_profile=adobe_rgb()))
        assert close(colours(picture), [wanted] * 64, 2)
        assert picture.notes == ()


def test_a_profile_is_applied_before_transparency_is_filled() -> None:
    image = Image.new("RGBA", (2, 1), (150, 200, 90, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    found = colours(read(encoded(image, "PNG", icc_profile=adobe_rgb()), background="#96c85a"))
    assert close(found, [srgb_of_adobe(150, 200, 90), (150, 200, 90)], 2)
    assert found[1] == (150, 200, 90)  # the background is sRGB and stays what was asked for


def test_a_palette_and_a_grey_picture_with_an_rgb_profile() -> None:
    palette = palette_image()
    palette.putpalette([150, 200, 90] * 3)
    assert close(colours(read(encoded(palette, "PNG", icc_profile=adobe_rgb()))), [srgb_of_adobe(150, 200, 90)] * 3, 2)
    grey = read(encoded(Image.new("L", (2, 2), 128), "PNG", icc_profile=adobe_rgb()))
    assert close(colours(grey), [srgb_of_adobe(128, 128, 128)] * 4, 2)
    assert grey.notes == ()


def test_a_grey_profile_is_converted() -> None:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 256)  # linear light
    profile = icc_profile(b"GRAY", b"mntr", {b"kTRC": curve})
    picture = read(encoded(Image.new("L", (2, 2), 55), "PNG", icc_profile=profile))
    assert close(colours(picture), [(128, 128, 128)] * 4, 2)  # 55/255 linear is 0.2157: sRGB 128
    assert picture.notes == ()


def test_an_srgb_profile_changes_nothing_visible() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    levels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = read(encoded(Image.fromarray(levels), "PNG", icc_profile=profile)).image
    assert np.abs(np.asarray(found, dtype=int) - levels).max() <= 1  # rounding of 8-bit transforms


def cmyk_profile() -> bytes:
    """A printer's profile as a table of 2^4 points: paper white but for full cyan, which is L 50, a -40, b -40."""
    identity = bytes(range(256))
    points = b"".join(
        bytes([127, 88, 88]) if (at >> 3) & 1 and not at & 7 else bytes([255, 128, 128]) for at in range(16)
    )
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + identity * 4 + points + identity * 3
    return icc_profile(b"CMYK", b"prtr", {b"A2B0": table})


def test_cmyk_with_a_profile_goes_through_it() -> None:
    wanted = srgb_of_lab(127 / 2.55, -40, -40)
    for format_name in ("JPEG", "TIFF"):
        picture = read(encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), format_name, icc_profile=cmyk_profile()))
        assert close(colours(picture), [wanted] * 64, 4)  # a table of 8 bits, and JPEG
        assert picture.notes == ()


@pytest.mark.parametrize("profile", [b"nonsense" * 30, cmyk_profile()])
def test_a_profile_that_does_not_fit_is_noted(profile: bytes) -> None:
    picture = read(encoded(Image.new("RGB", (2, 2), (10, 20, 30)), "PNG", icc_profile=profile))
    assert colours(picture) == [(10, 20, 30)] * 4
    assert picture.notes == ("its colour profile is damaged or does not fit, and was not applied",)


def test_lab_pictures() -> None:
    picture = read(encoded(Image.new("LAB", (4, 4), (128, 200, 128)), "TIFF"))
    assert close(colours(picture), [srgb_of_lab(128 / 2.55, 72, 0)] * 16, 3)


def test_8_bit_tiff_whose_white_is_zero() -> None:
    data = encoded(Image.new("L", (2, 1), 10), "TIFF", tiffinfo={262: 0})
    assert bytes([245, 245]) in data  # stored inverted
    assert colours(read(data)) == [(10, 10, 10)] * 2
