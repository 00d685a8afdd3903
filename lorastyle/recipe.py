"""The recipe of a training run: the settings, their TOML, and how presets fill in what the user left open.

The TOML file, the command line, the form in the browser, the header of the adapter file and the documentation are
all made from :class:`Recipe`; the table of its settings is in :mod:`lorastyle.settings`.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_origin

import tomli_w

from lorastyle.errors import BadFile, BadInput
from lorastyle.files import read_text
from lorastyle.settings import OWN, STEP, Precision, Settings, none_word

__all__ = ["Precision", "Preset", "Recipe", "Suggestion", "held_out_images"]


@dataclass(frozen=True)
class Suggestion:
    """What a preset gives a setting that the user left open, and why."""

    value: Any
    reason: str


@dataclass(frozen=True)
class Preset:
    """What a family of bases suggests for one purpose.

    The number of steps is `steps_per_image` times the images, within `least_steps` and `most_steps`.
    """

    suggestions: Mapping[str, Suggestion]
    steps_per_image: int
    least_steps: int
    most_steps: int
    steps_reason: str

    def steps(self, images: int) -> int:
        """The number of training steps for so many images."""
        return min(max(self.steps_per_image * images, self.least_steps), self.most_steps)


def held_out_images(share: float, images: int) -> int:
    """How many of `images` the held-out `share` (0 to 1) sets aside: at least 2, none where the share is 0."""
    return min(max(2, round(share * images)), images - 1) if share > 0 and images > 1 else 0


class Recipe(Settings):
    """The settings of one run; immutable. For the fields see :class:`lorastyle.settings.Settings`."""

    @classmethod
    def from_toml(cls, source: Path | str) -> Self:
        """The recipe in a TOML file (a Path, or a string without line break and "=") or in TOML text.

        Raises BadFile where the file cannot be read, BadInput naming file and field where a setting cannot be used.
        """
        is_text = isinstance(source, str) and ("\n" in source or "=" in source or not source)
        name = "recipe" if is_text else str(source)
        try:
            return cls(**_parsed(str(source) if is_text else read_text(source), name))
        except BadInput as refused:
            if is_text or isinstance(refused, BadFile):
                raise
            where = f"{name}: {refused.where.removeprefix('recipe.')}"
            raise BadInput(where, refused.what, refused.do) from None

    def to_toml(self) -> str:
        """The settings that were set, as TOML text; a resolved recipe has them all."""
        settings = self.model_dump(exclude_unset=True)
        return tomli_w.dumps({name: none_word(name) if value is None else value for name, value in settings.items()})

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """This recipe with some settings replaced.

        A string is read as a TOML value where it is one, so that ``--set rank=8`` means a number; a bare word is
        itself, and what goes to a text setting is taken as it stands.
        """
        return type(self)(**(self._set() | {name: _from_word(name, value) for name, value in settings.items()}))

    def resolved(self, preset: Preset, images: int, resolution: int, guidance: float) -> Self:
        """This recipe with every open setting filled in, from `preset` first, else from the defaults.

        `images` is the number of usable images before any is held out; `resolution` (pixels) and `guidance` are the
        base's own; a resolution that the setting does not take is rounded to one that it does. Only `min_snr` may be
        None afterwards, and `epochs`, which has become `steps`. A resolved recipe stays as it is. Raises BadInput where
        preset and the user's settings exclude each other.
        """
        suggested = {name: suggestion.value for name, suggestion in preset.suggestions.items()}
        side = max(round(resolution / STEP), 1) * STEP
        base = {"resolution": side, "guidance": guidance, "held_out": 0.1 if images >= 20 else 0.0}
        values = dict(type(self)()) | base | suggested | self._set()
        if values["alpha"] is None:
            values["alpha"] = float(values["rank"])
        if self.steps is None:
            values["steps"] = self._steps(preset, images, values)
        return type(self)(**(values | {"epochs": None}))

    def _steps(self, preset: Preset, images: int, values: Mapping[str, Any]) -> int:
        if self.epochs is None:
            return preset.steps(images)
        trained = images - held_out_images(values["held_out"], images)
        return math.ceil(self.epochs * trained / (values["batch"] * values["accumulation"]))

    def _set(self) -> dict[str, Any]:
        """What the user decided: "auto" decides nothing, min_snr "off" does."""
        return {
            name: value
            for name, value in self
            if name in self.model_fields_set and (value is not None or name == "min_snr")
        }

    def of_kind(self) -> dict[str, int]:
        """The settings that only its kind of adapter has, by the names that the kind gives them."""
        own = f"{self.kind}_"
        return {name.removeprefix(own): value for name, value in self if name in OWN and name.startswith(own)}

    def essence(self) -> dict[str, Any]:
        """The settings that decide the adapter's bytes: all but those about previews, measuring and keeping."""
        kept = ("held_out_every", "checkpoint_every", "keep_checkpoints", "trackers")
        return self.model_dump(mode="json", exclude={*kept, *self.in_group("previews")})

    def warnings(self) -> list[str]:
        """Settings that can be used but are seldom meant, one sentence each with the reason."""
        usual_floor = type(self).model_fields["learning_rate_floor"].default
        doubts = [
            (self.rank < 4, f"rank is {self.rank}: below 4 an adapter holds too little to learn more than a tint"),
            (
                bool(self.class_word) and not self.trigger,
                "class_word has no effect without a trigger word, in whose place it stands",
            ),
            (
                self.schedule == "constant" and self.learning_rate_floor != usual_floor,
                "learning_rate_floor has no effect with the constant schedule",
            ),
            (
                self.text_encoder_learning_rate > self.learning_rate,
                "the text encoder learns faster than the rest, which makes it forget words",
            ),
            (
                self.flip and self.purpose != "style",
                f"flip mirrors half of the images: a {self.purpose} that is not symmetric is learnt wrong",
            ),
            (
                self.caption_dropout == 1,
                "caption_dropout is 1: every caption is dropped, and no prompt can call up what is learnt",
            ),
        ]
        return [sentence for holds, sentence in doubts if holds]


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(name, f"is not valid TOML ({error})", "correct it there") from error


def _from_word(name: str, value: Any) -> Any:
    """What the word after ``--set name=`` means for that setting."""
    field = Recipe.model_fields.get(name)
    if field is None or not isinstance(value, str):
        return value
    parsed = _toml_value(value)
    if field.annotation is str and not isinstance(parsed, str):
        return value
    if get_origin(field.annotation) is list and isinstance(parsed, str):
        return [parsed]
    return parsed


def _toml_value(word: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {word}")
    except tomllib.TOMLDecodeError:
        return word
    return parsed["value"] if len(parsed) == 1 else word
