"""Small pictures and adapters to work on."""

import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def drawing(number: int, size: tuple[int, int] = (256, 256)) -> Image.Image:
    """A sharp drawing of boxes and lines; another one for each number."""
    random = np.random.default_rng(number)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        wide, high = random.integers(4, 4 + size[0] // 2), random.integers(4, 4 + size[1] // 2)
        colour = tuple(int(level) for level in random.integers(0, 160, 3))
        fill = colour if random.random() < 0.4 else None
        pen.rectangle((x, y, x + wide, y + high), outline=colour, fill=fill, width=3)
    return image


def save(path: Path, number: int = 0, size: tuple[int, int] = (256, 256)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing(number, size).save(path)
    return path


def blurred(path: Path, number: int, radius: float) -> Path:
    drawing(number).filter(ImageFilter.GaussianBlur(radius)).save(path)
    return path


def adapter(path: Path, rank: int = 4, strings: dict[str, str] | None = None, names: tuple[str, ...] = ()) -> Path:
    """An adapter file as safetensors writes it, made by hand: two factors of one layer, all ones."""
    layer = "unet.mid_block.attentions.0.to_q"
    ends = {f"{layer}.lora_A.weight": [rank, 8], f"{layer}.lora_B.weight": [8, rank]}
    shapes = {name: [rank, 8] for name in names} or ends
    header: dict[str, object] = {"__metadata__": strings} if strings is not None else {}
    end = 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + np.ones(end // 4, np.float32).tobytes())
    return path
