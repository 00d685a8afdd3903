"""Captions written beside the pictures of a folder."""

from collections.abc import Callable
from pathlib import Path

from lorastyle import files
from lorastyle.captioning.caption import FILE_NAMES, caption_images
from lorastyle.data.dataset import Dataset


def caption_folder(
    folder: Path | str,
    captioner: str = FILE_NAMES,
    *,
    prompt: str = "",
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, str]:
    """Write `x.txt` beside each picture `x.png` that has no caption, and return what was written by name.

    What a person wrote stays, wherever it stands; a picture about which the captioner has nothing to say gets no file.

    Args:
        captioner, prompt, progress, stop: as :func:`lorastyle.captioning.caption.caption_images` takes them.

    Raises:
        BadInput: `folder` is no folder with pictures, or there is no such captioner.
        BadFile: a picture or a caption file cannot be read or written.
    """
    folder = Path(folder)
    silent = [one for one in Dataset.from_folder(folder).samples if not one.written or not one.caption]
    written = {}
    places = {one.name: folder / one.name for one in silent}
    for name, text in caption_images(places, captioner, prompt=prompt, progress=progress, stop=stop):
        if text:
            files.write_text(places[name].with_suffix(".txt"), f"{text}\n")
            written[name] = text
    return written
