"""What the tests of several families need: pictures as numbers, and weights under the names of other tools."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lorastyle.bases.base import Base
from lorastyle.bases.family import Place

PROMPTS = ["a cat", "", "A glossy emoji of a rocket"]


def pixels() -> Tensor:
    """Two pictures of 32 x 64 pixels in -1..1."""
    return torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1


def difference(drawn: Image.Image, expected: Tensor) -> float:
    """The largest difference of a picture to pixels [3, height, width] in 0..1."""
    found = torch.from_numpy(np.array(drawn)).permute(2, 0, 1) / 255
    return float((found - expected).abs().max())


def linears(base: Base) -> list[str]:
    """The names of the transformer's layers, with its own in front."""
    named = base.models["transformer"].named_modules()
    return [f"transformer.{name}" for name, layer in named if isinstance(layer, nn.Linear)]


def targeted(base: Base, targets: str) -> list[str]:
    """Those of them that a preset of layers trains."""
    patterns = base.family.targets[targets]["transformer"]
    return [
        layer for layer in linears(base) if any(re.fullmatch(f"transformer.{pattern}", layer) for pattern in patterns)
    ]


def checkpoint(base: Base, pieces: Callable[[str], Sequence[Place]], prefix: str = "") -> dict[str, Tensor]:
    """The transformer's weights as a single file has them; `pieces` as for `load_by_names`."""
    parts: dict[str, dict[int, Tensor]] = {}
    for name, weight in base.parts["transformer"].state_dict().items():
        for place, rows in zip(pieces(name), weight.chunk(len(pieces(name))), strict=True):
            parts.setdefault(prefix + place.name, {})[place.index] = rows
    return {name: torch.cat([rows[index] for index in sorted(rows)]) for name, rows in parts.items()}


def kohya_file(base: Base, layers: Sequence[str]) -> dict[str, Tensor]:
    """An adapter of rank 1 for these layers under kohya's names, every row of a layer's `up` being its index."""
    groups: dict[str, dict[int, str]] = {}
    widths: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        place = base.family.kohya(layer)
        groups.setdefault(place.name, {})[place.index], widths[place.name] = layer, place.widths
    factors = {}
    for name, members in groups.items():
        assert sorted(members) == list(range(len(widths[name]))), "a part of a fused layer is missing"
        kohya = f"lora_unet_{name.replace('.', '_')}"
        rows = torch.cat([torch.full((32 * width, 1), float(index)) for index, width in enumerate(widths[name])])
        factors |= {f"{kohya}.lora_down.weight": torch.ones(1, 1), f"{kohya}.lora_up.weight": rows}
    return factors
