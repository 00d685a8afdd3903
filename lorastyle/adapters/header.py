"""The header of an adapter file: strings by name.

lora_adapter_metadata   peft's configuration of each model as JSON, "unet.r", "unet.lora_alpha", ..., as diffusers
                        (since 0.34) writes and reads it; without it readers take alpha for the rank
lorastyle.family, lorastyle.trigger, lorastyle.recipe (JSON)
all else                kept as it is (modelspec.*)
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorastyle.adapters.kinds import kind
from lorastyle.errors import BadFile

if TYPE_CHECKING:
    from lorastyle.adapters.file import Adapter

PEFT = "lora_adapter_metadata"
MAGNITUDE = "lora_magnitude_vector"
FAMILY, TRIGGER, RECIPE = "lorastyle.family", "lorastyle.trigger", "lorastyle.recipe"
_FLAT = re.compile(r"(text_encoder(?:_\d+)?)\.(encoder\.layers\.)")
_LITERAL = re.compile(r"\^?((?:[\w-]|\\?\.)+)\$?")  # what we understand of peft's patterns: a name, perhaps escaped


@dataclass(frozen=True)
class Header:
    """What a file says beside its tensors. config: peft's switches. about: further fields of the adapter."""

    alphas: Mapping[str, float]
    rslora: bool
    config: Mapping[str, Any]
    about: Mapping[str, Any]


def published(layer: str) -> str:
    """The layer's name in files.

    CLIP text encoders have their layers under `text_model` there, whatever version of transformers they were trained
    with: readers without that level drop it, those that have it do not add it.
    """
    return _FLAT.sub(r"\1.text_model.\2", layer)


def tensor_name(layer: str, ending: str) -> str:
    """The name in files of a factor with that ending in peft's files.

    diffusers (0.42) leaves the text encoders to transformers, which looks for magnitudes under their whole name.
    """
    whole = ".weight" if ending == MAGNITUDE and layer.startswith("text_encoder") else ""
    return f"{published(layer)}.{ending}{whole}"


def written(adapter: "Adapter") -> dict[str, str]:
    """The header that says all of `adapter` but its factors."""
    ours = {FAMILY: adapter.family, TRIGGER: adapter.trigger, RECIPE: _json(adapter.recipe) if adapter.recipe else ""}
    kept = {name: text for name, text in ours.items() if text}
    return {"format": "pt"} | dict(adapter.metadata) | kept | {PEFT: peft(adapter)}


def peft(adapter: "Adapter") -> str:
    """What `lora_adapter_metadata` says of an adapter."""
    configs: dict[str, Any] = {}
    for model in sorted({layer.partition(".")[0] for layer in adapter.factors}):
        configs |= {f"{model}.{name}": value for name, value in _peft_config(adapter, model).items()}
    return _json(configs)


def scales(where: str, strings: Mapping[str, str], ranks: Mapping[str, int]) -> dict[str, float]:
    """What the strings of a header say that the product of each layer's factors is multiplied by; see `read`."""
    said = read(where, strings, ranks)
    return {
        layer: alpha / (math.sqrt(ranks[layer]) if said.rslora else ranks[layer])
        for layer, alpha in said.alphas.items()
    }


def recipe_in(where: str, strings: Mapping[str, str]) -> dict[str, Any]:
    """The recipe that a header tells; raises BadFile where it is no JSON."""
    return _object(where, strings, RECIPE)


def read(where: str, strings: Mapping[str, str], ranks: Mapping[str, int]) -> Header:
    """What the strings of a header say.

    Args:
        where: the file, for messages. ranks: of the file's layers.

    Raises:
        BadFile: a string is not what it should be.
    """
    configs = _object(where, strings, PEFT)
    models = {layer.partition(".")[0] for layer in ranks}
    rslora = {bool(configs.get(f"{model}.use_rslora", False)) for model in models}
    if len(rslora) > 1:
        raise BadFile(where, "only some of its models use rsLoRA", "export it again with one scale for all")
    kept = {name: text for name, text in strings.items() if name not in ("format", PEFT, FAMILY, TRIGGER, RECIPE)}
    about = {
        "family": strings.get(FAMILY, ""),
        "trigger": strings.get(TRIGGER, strings.get("modelspec.trigger_phrase", "")),
        "recipe": _object(where, strings, RECIPE),
        "metadata": kept,
    }
    switches = {name.partition(".")[2]: value for name, value in configs.items() if isinstance(value, bool)}
    return Header(
        {layer: _alpha(where, configs, layer, rank) for layer, rank in ranks.items()}, rslora.pop(), switches, about
    )


def _peft_config(adapter: "Adapter", model: str) -> dict[str, Any]:
    ranks = {layer: adapter.rank(layer) for layer in adapter.factors if layer.startswith(f"{model}.")}
    alphas = {layer: _whole(adapter.alphas[layer]) for layer in ranks}
    rank, alpha = _usual(ranks), _usual(alphas)
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {_suffix(layer): value for layer, value in ranks.items() if value != rank},
        "alpha_pattern": {_suffix(layer): value for layer, value in alphas.items() if value != alpha},
        "target_modules": sorted(_suffix(layer) for layer in ranks),
        "use_rslora": adapter.rslora,
        **kind(adapter.kind).config,
    }


def _suffix(layer: str) -> str:
    """A name that peft finds with and without the level `text_model`, since it looks for the end of names."""
    return layer.partition(".")[2].removeprefix("text_model.")


def _alpha(where: str, configs: Mapping[str, Any], layer: str, rank: int) -> float:
    model, _, name = layer.partition(".")
    alpha = configs.get(f"{model}.lora_alpha", rank)
    patterns = configs.get(f"{model}.alpha_pattern") or {}
    for pattern, value in patterns.items() if isinstance(patterns, dict) else [(patterns, 0)]:
        literal = _LITERAL.fullmatch(str(pattern))
        if literal is None:
            raise BadFile(where, f"its alpha_pattern {pattern!r} is no plain name", "export it again")
        if f".{name}".endswith(f".{literal[1]}".replace("\\", "")):
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < float("inf"):
        raise BadFile(where, f"the alpha of {layer} is {alpha!r}", "export it again with a number")
    return float(alpha)


def _object(where: str, strings: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(strings.get(name) or "{}")
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadFile(where, f"the {name} of its header is not valid JSON", "export it again") from error
    if not isinstance(value, dict):
        raise BadFile(where, f"the {name} of its header is no set of names and values", "export it again")
    return value


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _usual(values: Mapping[str, Any]) -> Any:
    return Counter(values.values()).most_common(1)[0][0]


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value
