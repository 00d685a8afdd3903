"""What kind of file this is, told by its first bytes; names and suffixes are not believed."""

from lorastyle.errors import BadFile

HEAD_BYTES = 1024
READABLE = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC"

_IMAGES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_OTHERS = (
    (b"%!PS", "an EPS or PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "an EPS file"),
    (b"8BPS", "a Photoshop document"),
    (b"%PDF", "a PDF document"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\x01\0", "an icon file"),
    (b"gimp xcf", "a GIMP document"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (b"IIRO", "a camera's raw file"),
    (b"IIU\0", "a camera's raw file"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"PK\x03\x04", "an archive"),
    (b"Rar!", "an archive"),
    (b"7z\xbc\xaf", "an archive"),
    (b"\x1f\x8b", "an archive"),
)


def image_format(head: bytes, name: str) -> str:
    """Pillow's name of the image format that begins with `head`, one of those that lorastyle reads.

    Raises BadFile that says what the file `name` is instead.
    """
    found = _image_format(head)
    if found:
        return found
    what, do = _refusal(head)
    raise BadFile(name, what, do)


def _image_format(head: bytes) -> str | None:
    if head[8:10] == b"CR" and head.startswith(b"II*\0"):  # Canon's raw files pose as TIFF
        return None
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    brands = _brands(head)
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & _HEIC_BRANDS:
        return "HEIF"
    return next((name for signature, name in _IMAGES if head.startswith(signature)), None)


def _brands(head: bytes) -> set[bytes]:
    """The brands in the `ftyp` box that opens AVIF, HEIC and MP4 files (ISO/IEC 14496-12, 4.3)."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}


def _refusal(head: bytes) -> tuple[str, str]:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "is empty", "copy it again or remove it"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the image itself", "run 'git lfs pull' where it came from"
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not an image", "download the image itself"
    return f"is {_other_kind(head, text)}", f"save it as one of {READABLE}, or remove it"


def _other_kind(head: bytes, text: bytes) -> str:
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text:
        return "an SVG drawing, which has no pixels of its own"
    if head.startswith(b"II*\0") or b"crx " in _brands(head):
        return "a camera's raw file, which lorastyle does not develop"
    if head[4:8] == b"ftyp":
        return "a video, which lorastyle does not read"
    kind = next((kind for signature, kind in _OTHERS if head.startswith(signature)), None)
    return f"{kind}, which lorastyle does not read" if kind else "not an image that lorastyle reads"
