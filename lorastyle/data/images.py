"""One image file as an upright sRGB picture, or the reason why not."""

import hashlib
import importlib
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from lorastyle.data.colour import to_srgb
from lorastyle.data.formats import HEAD_BYTES, image_format
from lorastyle.data.sources import open_file
from lorastyle.errors import BadFile

MOST_MEGAPIXELS = 100

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ERRORS = (SyntaxError, struct.error, ValueError, TypeError, LookupError, OSError, EOFError, OverflowError)
_BAND = 256  # rows of pixels
_NEW_SUBFILE_TYPE = 254
_REDUCED = 1


@dataclass(frozen=True)
class Picture:
    """A decoded `image` (mode RGB, sRGB, upright) and `notes` on what was done to it, each of them to be read
    after the file's name. Among them: `first_of`, where it is the first frame of several, and `filled`, where parts
    of it were transparent; "" where that is not so."""

    image: Image.Image
    notes: tuple[str, ...]
    first_of: str = ""
    filled: str = ""


def read_picture(source: Path | str | BinaryIO, name: str, background: str = "#ffffff") -> Picture:
    """The picture in a file or a seekable stream, whatever its name says it is.

    Reads JPEG (MPO too), PNG, WebP, BMP, GIF, TIFF, AVIF and, with the extra `heic`, HEIC. Applies the EXIF
    orientation and the ICC profile, scales 16 bits to 8, fills transparent parts with `background`, takes the first
    frame of an animation. `name` is what messages call the file.

    Raises BadFile for anything else, for a damaged or truncated file, and for more than 100 megapixels, which the
    header tells before anything is decoded; BadInput where `background` is not a colour.
    """
    with _stream(source, name) as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        format_name = image_format(head, name)
        if format_name == "HEIF":
            _register_heic(name)
        with _decoder_warnings() as said, _decoder_errors(name):
            image, first_of, notes = _decoded(stream, format_name, name)
        image, filled, colour_notes = to_srgb(image, name, background)
    image.info = {}
    warned = (f"its decoder warns: {text}" for text in said)
    told = (note for note in (first_of, *notes, *colour_notes, filled, *warned) if note)
    return Picture(image, tuple(told), first_of, filled)


def image_size(source: Path | str | BinaryIO, name: str) -> tuple[int, int]:
    """Width and height as the file's header tells them, perhaps not upright, without decoding it; raises BadFile."""
    with _stream(source, name) as stream:
        format_name = image_format(stream.read(HEAD_BYTES), name)
        stream.seek(0)
        if format_name == "HEIF":
            _register_heic(name)
        with _decoder_warnings(), _decoder_errors(name):
            return Image.open(stream, formats=[format_name]).size


def pixel_hash(image: Image.Image) -> str:
    """What a picture is known by: 40 hex digits over its size and its RGB bytes."""
    total = hashlib.blake2b(f"{image.width}x{image.height}:".encode(), digest_size=20)
    for top in range(0, image.height, _BAND):  # a copy of the whole would take as much memory again
        band = image.crop((0, top, image.width, min(top + _BAND, image.height)))
        total.update(band.convert("RGB").tobytes())
    return total.hexdigest()


@contextmanager
def _stream(source: Path | str | BinaryIO, name: str) -> Iterator[BinaryIO]:
    if not isinstance(source, Path | str):
        yield source
        return
    with open_file(Path(source), name) as file:
        yield file


def _decoded(stream: BinaryIO, format_name: str, name: str) -> tuple[Image.Image, str, list[str]]:
    """The upright image, a note where it is the first frame of several, and notes on what else was done to it."""
    image = Image.open(stream, formats=[format_name])
    _check_size(image, name)
    first_of = _frame_note(image, name)
    notes: list[str] = []
    image.load()
    if image.mode == "CMYK" and format_name == "JPEG" and "adobe" not in image.info:
        notes.append("is a CMYK JPEG that does not say whether its inks are inverted; read as browsers read it")
    return _upright(image, notes), first_of, notes


def _check_size(image: Image.Image, name: str) -> None:
    megapixels = image.width * image.height / 1e6
    if megapixels > MOST_MEGAPIXELS:
        what = f"has {megapixels:.0f} megapixels ({image.width} x {image.height}), more than {MOST_MEGAPIXELS}"
        raise BadFile(name, what, "make it smaller; training uses far fewer pixels")


def _frame_note(image: Image.Image, name: str) -> str:
    tags = getattr(image, "tag_v2", {})
    if tags.get(_NEW_SUBFILE_TYPE, 0) & _REDUCED:
        what = "opens with a thumbnail of the picture, as cameras' raw files do"
        raise BadFile(name, what, "develop it to JPEG, PNG or TIFF")
    frames = getattr(image, "n_frames", 1)
    return f"only the first of its {frames} frames is used" if frames > 1 else ""


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except _EXIF_ERRORS:
        notes.append("its EXIF data is damaged, so it is taken to be upright")
        return image
    return image if turn is None else image.transpose(turn)


@contextmanager
def _decoder_errors(name: str) -> Iterator[None]:
    try:
        yield
    except BadFile:
        raise
    except Image.DecompressionBombError as error:
        what = f"has more than {MOST_MEGAPIXELS} megapixels"
        raise BadFile(name, what, "make it smaller; training uses far fewer pixels") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders meet broken files with errors of any class
        reason = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({error})"
        what = f"is damaged, cut short or of a rare variant, and cannot be decoded{reason}"
        raise BadFile(name, what, "copy or export it again, or remove it") from error


@contextmanager
def _decoder_warnings() -> Iterator[list[str]]:
    """Gathers what Pillow warns of, each text once; deprecations stay warnings."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _check_size has its own, firm limit
        warnings.simplefilter("always", UserWarning)
        yield texts
    texts.extend(dict.fromkeys(str(warning.message).strip().rstrip(".") for warning in caught))


def _register_heic(name: str) -> None:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        do = "install it with pip install 'lorastyle[heic]', or save the picture as JPEG or PNG"
        raise BadFile(name, "is a HEIC image, which needs the package pillow-heif", do) from error
