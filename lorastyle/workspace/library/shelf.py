"""The folder of one adapter: its file, a thumbnail, previews, and the bundle made of them."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from lorastyle import files
from lorastyle.workspace.drafts.eyes import write_thumbnail
from lorastyle.workspace.library.card import Card

MOST_PREVIEWS = 8
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip: the same adapter gives the same bytes


def latest(pictures: Sequence[tuple[int, Path]]) -> list[Path]:
    """The previews of the last step among (step, path)."""
    last = max((step for step, _ in pictures), default=0)
    return [path for step, path in pictures if step == last][:MOST_PREVIEWS]


def show(folder: Path, previews: Sequence[Path], comparison: Path | None = None) -> None:
    """Make these the previews of an adapter, and the first one its thumbnail.

    Where none was drawn, the comparison is shown instead: a sheet of many pictures, of which no thumbnail is made.
    """
    pictures = previews or ([comparison] if comparison else [])
    if not pictures:
        return
    with files.new_folder(folder / "previews") as beside:
        for number, picture in enumerate(pictures):
            files.link(picture, beside / f"{number}{picture.suffix}")
    if previews:
        write_thumbnail(folder / "thumbnail.webp", previews[0], previews[0].name)


def thumbnail(folder: Path) -> Path | None:
    path = folder / "thumbnail.webp"
    return path if path.is_file() else None


def previews(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted((folder / "previews").glob("*.*"))) if (folder / "previews").is_dir() else ()


def lay_out(card: Card, folder: Path) -> None:
    """Put the adapter, its card and its previews into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files.link(card.path, folder / f"{card.stem}.safetensors")
    files.write_text(folder / "README.md", card.readme())
    for picture in card.previews:
        files.link(picture, folder / "previews" / picture.name)


def zipped(folder: Path, card: Card) -> Path:
    """The same as a zip in the adapter's folder; whole, and the same bytes for the same adapter and card."""
    name = f"{card.stem}.zip"
    held = [(card.path, f"{card.stem}.safetensors"), *((path, f"previews/{path.name}") for path in card.previews)]
    with files.new_folder(folder / "bundle") as beside, zipfile.ZipFile(beside / name, "w") as archive:
        archive.writestr(zipfile.ZipInfo("README.md", _EPOCH), card.readme())
        for path, inside in held:
            with path.open("rb") as source, archive.open(zipfile.ZipInfo(inside, _EPOCH), "w") as target:
                while chunk := source.read(2**20):
                    target.write(chunk)
    return folder / "bundle" / name
