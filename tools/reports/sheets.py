"""Contact sheets: pictures in rows with a label under each, wrong ones in red."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL = 128
LABEL = 54  # height of four lines
GAP = 6
INK, RED = (40, 40, 40), (200, 20, 20)


def contact_sheet(
    pictures: np.ndarray, labels: Sequence[str], columns: int, wrong: Collection[int] = frozenset()
) -> Image.Image:
    """RGB bytes [n, 128, 128, 3] in rows of `columns`, each with its label; those numbered in `wrong` in red."""
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, rows * (CELL + LABEL + GAP) + GAP), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left = GAP + number % columns * (CELL + GAP)
        top = GAP + number // columns * (CELL + LABEL + GAP)
        colour = RED if number in wrong else INK
        sheet.paste(Image.fromarray(picture), (left, top))
        draw.rectangle((left - 1, top - 1, left + CELL, top + CELL), outline=colour)
        draw.multiline_text((left, top + CELL + 2), wrapped(label, font), fill=colour, font=font, spacing=1)
    return sheet


def wrapped(label: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """`label` broken into lines that fit the cell's width."""
    lines = [""]
    for word in label.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= CELL:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def save(sheet: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
