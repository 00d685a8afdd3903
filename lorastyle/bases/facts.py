"""What a form must know of a base before anything is trained on it; known without torch once it has been asked for."""

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lorastyle.recipe import Preset, Suggestion

if TYPE_CHECKING:
    from lorastyle.bases.base import Base

_SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class BaseFacts:
    """A base in a few words: its `family` and that family's `title`, the `resolution` it was trained at and the
    `divisor` that sides are multiples of, both in pixels, its usual `guidance`, the `targets` there are, and the
    `presets` by purpose."""

    family: str
    title: str
    resolution: int
    divisor: int
    guidance: float
    targets: tuple[str, ...]
    presets: Mapping[str, Preset]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"targets": list(self.targets)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        presets = {purpose: _preset(values) for purpose, values in facts["presets"].items()}
        return cls(**(dict(facts) | {"targets": tuple(facts["targets"]), "presets": presets}))


@functools.cache
def shipped_facts() -> Mapping[str, BaseFacts]:
    """Those of the bases that ship with lorastyle, by name; a test compares them with what the bases say themselves."""
    return {
        file.stem.replace("_", "-"): BaseFacts.from_json(json.loads(file.read_text(encoding="utf-8")))
        for file in _SHIPPED.glob("*.json")
    }


def describe_base(base: "Base") -> BaseFacts:
    """The facts of a base that was loaded; for its sizes its denoiser is needed too."""
    family = base.family
    return BaseFacts(family.name, family.title, base.resolution, base.divisor, base.guidance, tuple(family.targets),
                     dict(family.presets))  # fmt: skip


def _preset(values: Mapping[str, Any]) -> Preset:
    suggestions = {name: Suggestion(**suggestion) for name, suggestion in values["suggestions"].items()}
    return Preset(**(dict(values) | {"suggestions": suggestions}))
