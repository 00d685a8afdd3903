"""Sheets of pictures with labels, to compare at a glance."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

INK, PAPER = (34, 34, 34), (255, 255, 255)
LEAST_SIDE = 128  # smaller pictures are enlarged by a whole number, so that labels stay readable beside them


def comparison(
    rows: Sequence[Sequence[Image.Image]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
) -> Image.Image:
    """A sheet with one row of pictures below the other, labels on the left and above, and a title.

    Pictures of different sizes are centred in cells of the largest; rows may differ in length.
    """
    largest = max(max(picture.size) for row in rows for picture in row)
    factor = max(1, -(-LEAST_SIDE // largest))
    width = max(picture.width for row in rows for picture in row) * factor
    height = max(picture.height for row in rows for picture in row) * factor
    sheet = _Sheet(width, height, [*row_labels], [*column_labels], title, columns=max(len(row) for row in rows))
    canvas = Image.new("RGB", sheet.size(len(rows)), PAPER)
    draw = ImageDraw.Draw(canvas)
    sheet.write_labels(draw, len(rows))
    for number, row in enumerate(rows):
        for column, picture in enumerate(row):
            enlarged = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
            left, top = sheet.cell(number, column)
            canvas.paste(enlarged, (left + (width - enlarged.width) // 2, top + (height - enlarged.height) // 2))
    return canvas


class _Sheet:
    """Where everything stands on a sheet; all lengths in pixels."""

    def __init__(
        self, width: int, height: int, row_labels: list[str], column_labels: list[str], title: str, columns: int
    ) -> None:
        self.width, self.height, self.columns = width, height, columns
        self.text = max(12, min(width, height) // 11)
        self.gap = max(4, self.text // 2)
        self.font = ImageFont.load_default(self.text)
        self.title_font = ImageFont.load_default(self.text * 5 // 4)
        self.left = width if any(row_labels) else 0
        across = columns * (width + self.gap) + self.left
        self.row_labels = [_wrapped(label, self.font, self.left) for label in row_labels]
        self.column_labels = [_wrapped(label, self.font, width) for label in column_labels]
        self.title = _wrapped(title, self.title_font, across)
        self.title_height = _height(self.title, self.title_font, self.gap)
        self.head = max((_height(label, self.font, self.gap) for label in self.column_labels), default=0)
        self.row_height = max(height, *(_height(label, self.font, 0) for label in self.row_labels), 0)

    def size(self, rows: int) -> tuple[int, int]:
        across = self.gap + (self.left + self.gap if self.left else 0) + self.columns * (self.width + self.gap)
        return across, self.gap + self.title_height + self.head + rows * (self.row_height + self.gap)

    def cell(self, row: int, column: int) -> tuple[int, int]:
        """The upper left corner of a picture's cell."""
        left = self.gap + (self.left + self.gap if self.left else 0) + column * (self.width + self.gap)
        return left, self.gap + self.title_height + self.head + row * (self.row_height + self.gap)

    def write_labels(self, draw: ImageDraw.ImageDraw, rows: int) -> None:
        draw.text((self.gap, self.gap), self.title, INK, self.title_font)
        for column, label in enumerate(self.column_labels[: self.columns]):
            left, top = self.cell(0, column)
            draw.text((left + self.width / 2, top - self.gap), label, INK, self.font, anchor="md", align="center")
        for row, label in enumerate(self.row_labels[:rows]):
            draw.text((self.gap, self.cell(row, 0)[1] + self.row_height / 2), label, INK, self.font, anchor="lm")


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text in lines of at most `width` pixels; a longer word is cut over lines."""
    lines = [""]
    for word in text.split():
        if lines[-1] and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(line for line in lines if line)


def _height(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, below: int) -> int:
    """The height of the lines of a text with the space `below` it; 0 without text."""
    if not text:
        return 0
    draw = ImageDraw.Draw(Image.new("L", (1, 1)))
    return round(draw.multiline_textbbox((0, 0), text, font)[3]) + below
