"""The recipe as a form: its table of settings for the page, and what the person wrote there as a recipe again."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import tomli_w

from lorastyle import BadInput, BaseFacts, Recipe
from ui.answers import sentence

# Those that are always in sight, in an artist's words; with one more for each purpose there are six.
MAIN = {
    "steps": "How long it learns",
    "learning_rate": "How boldly it learns",
    "rank": "How much it can hold",
    "preview_prompts": "Pictures to watch it by",
    "preview_every": "How often they are drawn",
}
MORE = {
    "style": {"flip": "Mirror half of the images"},
    "character": {"class_word": "What the figure is, in plain words"},
    "object": {"class_word": "What the thing is, in plain words"},
}
ELSEWHERE = ("purpose", "trigger")  # fields of their own on the page
PLAIN = ("rank",)  # whose unit says nothing to an artist
LENGTH = ("steps", "epochs", "batch", "accumulation", "held_out")  # settings that decide how long it learns
PREVIEWS = 4  # over a training
PROMPTS = 2
LONGEST_PROMPT = 300  # characters that are suggested of a caption; bases read little more, and prompts have a limit
UNKNOWN_STEPS = 500  # taken for the length of a training on a base that nothing is known of


@dataclass(frozen=True)
class Choice:
    """What the person chose beside the settings, and the images that it is for."""

    base: str
    purpose: str
    trigger: str
    captions: Sequence[str]


def suggestions(
    choice: Choice, facts: BaseFacts | None, own: Mapping[str, str] = MappingProxyType({})
) -> tuple[dict[str, Any], dict[str, str]]:
    """What is suggested for every setting, and the reasons where they are others than the table's own.

    They are the base's preset, and previews as the studio needs them to show how the adapter learns, over as many
    steps as the person's `own` settings give.
    """
    recipe = Recipe().changed({"purpose": choice.purpose, "trigger": "trigger"})  # any word; some presets need one
    values, reasons = dict(recipe), {}
    if facts is not None:
        preset = facts.presets[choice.purpose]
        values = dict(resolved(recipe, choice, facts))
        values["alpha"] = preset.suggestions["alpha"].value if "alpha" in preset.suggestions else None
        reasons = {name: suggestion.reason for name, suggestion in preset.suggestions.items()}
        reasons["steps"] = preset.steps_reason
    ours = _previews(choice, _steps(choice, facts, own))
    return values | {name: value for name, (value, _) in ours.items()}, reasons | {
        name: reason for name, (_, reason) in ours.items()
    }


def _steps(choice: Choice, facts: BaseFacts | None, own: Mapping[str, str]) -> int:
    """How long the training will be, as far as that is known."""
    written = {name: own[name] for name in LENGTH if own.get(name, "").strip()}
    try:
        recipe = Recipe().changed({"purpose": choice.purpose, "trigger": "trigger"} | written)
    except BadInput:  # which is said at the field
        recipe = Recipe().changed({"purpose": choice.purpose, "trigger": "trigger"})
    if recipe.steps is None and facts is not None:
        recipe = resolved(recipe, choice, facts)
    return recipe.steps or UNKNOWN_STEPS


def resolved(recipe: Recipe, choice: Choice, facts: BaseFacts) -> Recipe:
    """The recipe with what it leaves to the base, as its training will have it."""
    preset, images = facts.presets[choice.purpose], max(len(choice.captions), 1)
    return recipe.resolved(preset, images, facts.resolution, facts.guidance)


def _previews(choice: Choice, steps: int) -> dict[str, tuple[Any, str]]:
    every = math.ceil(steps / PREVIEWS)
    kept = "a checkpoint beside each preview, so that any of them can become the adapter"
    return {
        "preview_prompts": (_prompts(choice), "captions of your images, with the trigger word; better: new motifs"),
        "preview_every": (every, f"{PREVIEWS} times in all show how it learns without holding it up"),
        "checkpoint_every": (every, kept),
        "keep_checkpoints": (PREVIEWS + 1, kept),
    }


def _prompts(choice: Choice) -> list[str]:
    told = [caption.replace("[trigger]", choice.trigger) for caption in _picked(choice.captions)]
    short = [textwrap.shorten(caption, LONGEST_PROMPT, placeholder="") for caption in told]
    named = [caption for caption in short if caption] or [choice.trigger or "a picture"]
    return [one if choice.trigger in one else f"{choice.trigger} {one}" for one in named]


def _picked(captions: Sequence[str]) -> list[str]:
    """PROMPTS captions, neither the shortest nor the longest, each with as few words of those before as can be."""
    ordered = sorted({caption for caption in captions if caption}, key=lambda caption: (len(caption), caption))
    middle = ordered[len(ordered) // 4 : len(ordered) - len(ordered) // 4]
    middle.sort(key=lambda caption: abs(ordered.index(caption) - len(ordered) // 2))
    picked: list[str] = []
    while middle and len(picked) < PROMPTS:
        said = set(" ".join(picked).casefold().split())
        best = min(middle, key=lambda caption: len(said & set(caption.casefold().split())))
        picked.append(best)
        middle.remove(best)
    return picked


def table(choice: Choice, facts: BaseFacts | None, own: Mapping[str, str]) -> dict[str, Any]:
    """The form's value: every setting of the schema with its help, what is suggested and what the person set."""
    values, reasons = suggestions(choice, facts, own)
    titles = MAIN | MORE[choice.purpose]
    schema = Recipe.model_json_schema()["properties"]
    settings = {
        name: {
            "title": titles.get(name, name.replace("_", " ")),
            "group": field["group"],
            "unit": "" if name in PLAIN else field["unit"],
            "help": field["description"],
            "reason": _sentence(reasons.get(name, field["reason"])),
            "range": _sentence(f"Takes {Recipe.allowed(name)}"),
            "suggested": as_text(name, values[name]),
            "choices": _choices(field),
            "number": field.get("type") in ("integer", "number") or "anyOf" in field,
            "lines": name == "preview_prompts",
        }
        for name, field in schema.items()
        if name not in ELSEWHERE
    }
    return {"settings": settings, "main": list(titles), "set": dict(own)} | _problem(choice, facts, own)


def recipe_of(choice: Choice, facts: BaseFacts | None, own: Mapping[str, str]) -> Recipe:
    """The recipe that the form stands for: what the person set, and the studio's previews; the rest stays open for
    the base's preset. Raises BadInput."""
    written = {name: _lines(text) if name == "preview_prompts" else text for name, text in own.items() if text.strip()}
    recipe = Recipe().changed({"purpose": choice.purpose, "trigger": choice.trigger} | written)
    ours = _previews(choice, _steps(choice, facts, own))
    if recipe.preview_every == 0 and "preview_every" in written:
        del ours["preview_every"]
    return recipe.changed({name: value for name, (value, _) in ours.items() if name not in written})


def own_of(recipe: Recipe) -> dict[str, str]:
    """The form's `set` for a recipe that was read from a file."""
    return {name: as_text(name, getattr(recipe, name)) for name in recipe.model_fields_set if name not in ELSEWHERE}


def as_text(name: str, value: Any) -> str:
    """A setting as it is written in the form, the way TOML has it; prompts a line each."""
    if value is None:
        return "off" if name == "min_snr" else "auto"
    if isinstance(value, str):
        return value
    if name == "preview_prompts":
        return "\n".join(value)
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else repr(value)
    if isinstance(value, dict):
        pairs = ", ".join(tomli_w.dumps({key: one}).strip() for key, one in value.items())
        return f"{{{pairs}}}" if value else ""
    return tomli_w.dumps({"x": value}).removeprefix("x = ").strip() if value != [] else ""


def _problem(choice: Choice, facts: BaseFacts | None, own: Mapping[str, str]) -> dict[str, str]:
    try:
        recipe_of(choice, facts, own)
    except BadInput as error:
        return {"problem": sentence(error), "wrong": error.where.removeprefix("recipe.")}
    return {"problem": "", "wrong": ""}


def _choices(field: Mapping[str, Any]) -> list[str]:
    return ["true", "false"] if field.get("type") == "boolean" else [str(choice) for choice in field.get("enum", [])]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."
