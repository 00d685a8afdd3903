"""Which layer of a family a foreign name means.

Other tools write dots as underscores and fuse layers, so names cannot be read by themselves. They are looked up: the
layers of a family are those of its tiny base, with as many blocks as the names at hand speak of, and each layer is
asked for its foreign name.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from lorastyle.adapters.header import published
from lorastyle.adapters.kinds import is_layer
from lorastyle.bases.family import Family, Place
from lorastyle.errors import Unsupported

MOST_BLOCKS = 200  # of a kind; names with higher numbers are no layers of any family
MOST_WITHIN = 16  # of a kind where blocks stand within blocks within blocks
PlaceOf = Callable[[Family, str], Place]
"""Where a layer stands; raises Unsupported where it has no place."""


@dataclass
class Fused:
    """What a foreign module is: one of our layers, or several of them in order. widths: their relative rows."""

    widths: tuple[int, ...]
    layers: dict[int, str] = field(default_factory=dict)


# the ways to name a layer


def prefix(family: Family, part: str) -> str:
    """What kohya's tools put in front of the layers of that part of the base."""
    if part not in family.kohya_prefixes:
        what = "kohya's tools have no name for this part of the base"
        raise Unsupported(part, what, "choose another format, or train without it")
    return f"{family.kohya_prefixes[part]}_"


def kohya_place(family: Family, layer: str) -> Place:
    """In files of kohya's tools."""
    place = family.kohya(layer)
    name = prefix(family, layer.partition(".")[0]) + place.name.replace(".", "_")
    return Place(name, place.index, place.widths)


def flat_place(family: Family, layer: str) -> Place:
    """Under its own name written as kohya's tools do: some trainers do so where kohya's have other names."""
    part, _, path = published(layer).partition(".")
    return Place(prefix(family, part) + path.replace(".", "_"))


def original_flat_place(family: Family, layer: str) -> Place:
    """As in single-file checkpoints, written as kohya's tools do."""
    place = original_place(family, layer)
    return Place(
        prefix(family, layer.partition(".")[0]) + place.name.partition(".")[2].replace(".", "_"),
        place.index,
        place.widths,
    )


def own_place(family: Family, layer: str) -> Place:
    """Under its own name."""
    return Place(published(layer))


def original_place(family: Family, layer: str) -> Place:
    """As in single-file checkpoints, "diffusion_model. ..."."""
    place = family.original(layer)
    if place is None or "diffusion_model." not in place.name:
        raise Unsupported(layer, "it is no layer of the diffusion model in single files", "leave it out")
    return Place("diffusion_model." + place.name.partition("diffusion_model.")[2], place.index, place.widths)


def bare_place(family: Family, layer: str) -> Place:
    """Under its own name without that of the denoiser it is in, as peft alone writes."""
    part, _, path = published(layer).partition(".")
    if part != family.adapted[0]:
        raise Unsupported(layer, "it is no layer of the denoiser", "leave it out")
    return Place(path)


# the way back


def resolved(family: Family, names: Iterable[str], places: Sequence[PlaceOf]) -> Mapping[str, Fused] | None:
    """What each of the foreign names means in that family; None where one of them means nothing there.

    places: the ways in which the names may be meant, the likeliest first.
    """
    names = sorted(names)
    family = family.built(names)
    if not {_plain(name) for name in names} <= _plain_names(_key(family), tuple(places)):
        return None
    found: dict[str, Fused] = {}
    for place_of in places:
        for part in family.adapted:
            modules = _modules(_key(family), part, _highest(family, part, names), place_of)
            found |= {name: modules[name] for name in names if name in modules and name not in found}
        if len(found) == len(names):
            return found
    return None


@functools.lru_cache(maxsize=64)
def _modules(family: Family, part: str, highest: int, place_of: PlaceOf) -> Mapping[str, Fused]:
    """The foreign modules of a part of the base by name, with blocks up to that number."""
    found: dict[str, Fused] = {}
    for layer in known_layers(family, part, highest):
        for place in _places(family, layer, place_of):
            module = found.setdefault(place.name, Fused(place.widths))
            if module.widths == place.widths:
                module.layers.setdefault(place.index, layer)
    return found


def known_layers(family: Family, part: str, highest: int) -> list[str]:
    """The layers that `part` has in bases of the family with blocks up to the number `highest`, low numbers first.

    Layers that no base has, such as a fourth block of a level with three, are among them. Where such a layer has the
    foreign name of another, it is the one with the higher numbers.
    """
    layers: dict[str, int] = {}
    for template, free in _templates(_key(family), part):
        numbers = range(min(highest, MOST_BLOCKS if free < 3 else MOST_WITHIN) + 1)
        for chosen in itertools.product(numbers, repeat=free):
            layers[template.format(*chosen)] = sum(chosen)
    return sorted(layers, key=layers.__getitem__)


@functools.cache
def _templates(family: Family, part: str) -> list[tuple[str, int]]:
    """The names of the part's layers with {} for the numbers of repeated blocks, and how many of these there are."""
    parts = family.tiny(0)
    if part not in parts:
        return []
    model: nn.Module = parts[part]
    found: dict[str, int] = {}
    for name, module in model.named_modules():
        if is_layer(module):
            steps = name.split(".")
            blocks = [_is_block(model, steps, place) for place in range(len(steps))]
            open_name = ".".join("{}" if block else step for step, block in zip(steps, blocks, strict=True))
            found[published(f"{part}.{open_name}")] = sum(blocks)
    return list(found.items())


def _key(family: Family) -> Any:
    """The family; type checkers take a protocol for something that cannot be hashed."""
    return family


def _is_block(model: nn.Module, steps: Sequence[str], place: int) -> bool:
    """Whether the step at that place of a layer's name is the number of one block of several."""
    above = model.get_submodule(".".join(steps[:place]))
    return isinstance(above, nn.ModuleList) and all(any(True for _ in block.children()) for block in above)


@functools.cache
def _plain_names(family: Family, places: tuple[PlaceOf, ...]) -> set[str]:
    """The foreign names of all layers of the family without the numbers: what tells families apart at a glance."""
    layers = (layer for part in family.adapted for layer in known_layers(family, part, 1))
    return {_plain(place.name) for layer in layers for place_of in places for place in _places(family, layer, place_of)}


def _places(family: Family, layer: str, place_of: PlaceOf) -> Sequence[Place]:
    """The layer's place, if it has one."""
    try:
        return (place_of(family, layer),)
    except Unsupported:
        return ()


def _plain(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _highest(family: Family, part: str, names: Sequence[str]) -> int:
    """The highest number in those of the foreign names that speak of `part`, whichever way they are written."""
    starts = [f"{part}."]
    if part in family.kohya_prefixes:
        starts.append(prefix(family, part))
    if part == family.adapted[0]:
        starts.append("diffusion_model.")
        bare = [name for name in names if "." in name and name.partition(".")[0] not in family.adapted]
    else:
        bare = []
    spoken = bare + [name.removeprefix(start) for start in starts for name in names if name.startswith(start)]
    return max((int(number) for name in spoken for number in re.findall(r"\d{1,9}", name)), default=0)
