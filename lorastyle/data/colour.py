"""Any colour mode that Pillow decodes, as opaque sRGB with 8 bits a channel."""

import io
from functools import cache

import numpy as np
from PIL import Image, ImageCms, ImageColor

from lorastyle.errors import BadFile, BadInput

_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
_PROFILE_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}


def background_colour(background: str) -> tuple[int, int, int]:
    """The colour that `background` names ("#ffffff", "white"); raises BadInput where it names none."""
    try:
        colour = ImageColor.getrgb(background)
    except ValueError as error:
        do = 'write it as "#rrggbb", for example "#ffffff" for white'
        raise BadInput("background", f'"{background}" is not a colour', do) from error
    if len(colour) != 3:
        raise BadInput("background", f'"{background}" is not opaque', "leave out the alpha: transparency ends on it")
    return colour


def to_srgb(image: Image.Image, name: str, background: str) -> tuple[Image.Image, str, list[str]]:
    """`image` in sRGB with its transparent parts filled with `background`, a note where that was so, and notes on what
    else was done to it.

    16-bit samples are scaled, an embedded ICC profile is applied. Raises BadFile where white is not defined
    (floating point and 32-bit samples) or where everything is transparent.
    """
    fill = background_colour(background)
    colours, alpha = _without_alpha(image, name)
    picture, notes = _through_profile(colours, image.info.get("icc_profile"))
    least, most = (255, 255) if alpha is None else alpha.getextrema()
    if most == 0:
        raise BadFile(name, "is transparent everywhere", "export it again with its contents visible, or remove it")
    if alpha is None or least == 255:
        return picture, "", notes
    picture = Image.composite(picture, Image.new("RGB", picture.size, fill), alpha)
    return picture, f"its transparent parts are filled with {background}", notes


def _without_alpha(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """The image in mode L, RGB, CMYK or LAB, and its alpha channel where it has one."""
    if image.mode.startswith("I;16"):
        return _scaled(image), _alpha_of_key(image)
    if image.mode in ("I", "F"):
        what = "has 32-bit or floating-point samples, for which no white is agreed"
        raise BadFile(name, what, "save it with 8 or 16 bits per channel")
    if image.mode in _PROFILE_SPACES and "transparency" not in image.info:
        return image, None
    if image.has_transparency_data:
        image = _with_8_bit_key(image).convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        return image.convert(image.mode[:-1]), image.getchannel("A")
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _scaled(image: Image.Image) -> Image.Image:
    """A grey image of up to 16 bits as 8 bits, its white kept white (Pillow's own conversion clips)."""
    tags = getattr(image, "tag_v2", {})
    white = 2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1
    levels = np.rint(np.arange(65536) * (255 / white)).clip(0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # "white is zero", which Pillow undoes at 8 bits only
        levels = 255 - levels
    return Image.fromarray(levels[np.asarray(image)])


def _alpha_of_key(image: Image.Image) -> Image.Image | None:
    key = image.info.get("transparency")
    if key is None:
        return None
    return Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))


def _with_8_bit_key(image: Image.Image) -> Image.Image:
    # The pixels of a 16-bit PNG come from Pillow as 8 bits, its transparent colour with 16.
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image


def _through_profile(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, list[str]]:
    if not profile:
        return _without_profile(image)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "L" and source.profile.xcolor_space.strip() == "RGB":  # a grey picture of an RGB workflow
            image = image.convert("RGB")
        return _converted(image, source), []
    except (ImageCms.PyCMSError, OSError):
        picture, notes = _without_profile(image)
        return picture, [*notes, "its colour profile is damaged or does not fit, and was not applied"]


def _without_profile(image: Image.Image) -> tuple[Image.Image, list[str]]:
    if image.mode == "LAB":
        return _converted(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), []
    notes = ["has CMYK colours without a profile, so they are approximate"] if image.mode == "CMYK" else []
    return image.convert("RGB"), notes


def _converted(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    transform = ImageCms.buildTransform(source, _srgb(), image.mode, "RGB")
    return transform.apply(image)


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
