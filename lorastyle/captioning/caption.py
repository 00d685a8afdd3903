"""Captions for pictures, by a model that describes what it sees or from the pictures' own names.

photos = lorastyle.Dataset.open("photos")
for name, caption in lorastyle.caption_images(photos, "Salesforce/blip-image-captioning-base"):
    print(name, caption)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from PIL import Image

from lorastyle.data.dataset import Dataset
from lorastyle.data.images import read_picture
from lorastyle.data.sidecars import words_of_name

FILE_NAMES = "file names"  # the captioner that needs no model
Describe = Callable[[Image.Image], str]
Pictures = Dataset | Mapping[str, Path] | Iterable[Path]


def caption_images(
    images: Pictures,
    captioner: str = FILE_NAMES,
    *,
    called: Mapping[str, str] | None = None,
    prompt: str = "",
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[tuple[str, str]]:
    """The name and a caption of each picture, one after another; nothing is written.

    Args:
        images: a dataset, files by names of one's own, or files, whose paths are their names then.
        captioner: "file names", or a transformers model that puts pictures into words (BLIP, GIT, Florence-2, LLaVA,
            Gemma and their like) as a folder or a hub id.
        called: for "file names", what a person calls the pictures, by name, where that is other than the name.
        prompt: told to the model with each picture; needed only by models that do nothing without.
        progress: called after each picture with the pictures done and the pictures in all.
        stop: asked before each picture whether to end.

    Raises:
        BadInput: there is no such captioner, and the hub has none or cannot be reached; it needs a package that is not
            installed, or cannot describe a picture so.
        BadFile: a picture cannot be read.
    """
    openers, names = _openers(images), called or {}
    describe = None if captioner == FILE_NAMES else _loaded(captioner, prompt)
    for done, (name, opened) in enumerate(openers.items()):
        if stop and stop():
            return
        yield name, describe(opened()) if describe else words_of_name(PurePosixPath(names.get(name, name)).stem)
        if progress:
            progress(done + 1, len(openers))


def _openers(images: Pictures) -> dict[str, Callable[[], Image.Image]]:
    if isinstance(images, Dataset):
        return {sample.name: sample.picture for sample in images.samples}
    paths = images if isinstance(images, Mapping) else {str(path): Path(path) for path in images}
    return {name: _opener(name, path) for name, path in paths.items()}


def _opener(name: str, path: Path) -> Callable[[], Image.Image]:
    return lambda: read_picture(path, name).image


def _loaded(captioner: str, prompt: str) -> Describe:
    from lorastyle.captioning.model import Captioner

    return Captioner.load(captioner, prompt)
