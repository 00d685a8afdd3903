"""Going on from an adapter that is there already: ours, or one of another tool.

Its factors are taken over as they are. What it settles (kind, ranks, alphas, layers) the recipe takes from it where it
says nothing, and may not contradict.
"""

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.header import published
from lorastyle.adapters.inject import Injection, by_layer
from lorastyle.adapters.kinds import Shape, kind as kind_called
from lorastyle.bases.base import Base
from lorastyle.errors import BadInput, Unsupported
from lorastyle.interchange.exchange import read_adapter
from lorastyle.recipe import Recipe
from lorastyle.settings import OWN

SETTLED = ("kind", "rank", "ranks", "alpha", "alphas", "rslora", *OWN)  # and the targets, which need the base's layers


def read_start(path: Path | str, base: Base) -> Adapter:
    """The adapter in a file, of any tool.

    Raises:
        BadFile: it cannot be used.
        BadInput: it was made for another family of bases than `base`.
        Unsupported: it is of a kind that cannot be trained.
    """
    path = Path(path)
    adapter = read_adapter(path, base.family.name)
    if adapter.family != base.family.name:
        what = f"it was made for a base of the family {adapter.family}, and {base.name} is of {base.family.name}"
        raise BadInput(str(path), what, "use the base it was made for")
    if not kind_called(adapter.kind).trainable:
        what = f"{adapter.kind} adapters are read and merged, not trained"
        raise Unsupported(str(path), what, "export it with a rank, which makes it a LoRA, and go on from that")
    return adapter


def digest(adapter: Adapter) -> str:
    """What an adapter is known by, whatever else its file says: its factors and their scales."""
    found = hashlib.blake2b(f"{adapter.kind} {adapter.rslora}".encode(), digest_size=16)
    for layer in sorted(adapter.factors, key=published):
        found.update(f"{published(layer)} {adapter.alphas[layer]}".encode())
        for name, factor in sorted(adapter.factors[layer].items()):
            found.update(f"{name} {list(factor.shape)}".encode() + factor.contiguous().numpy().tobytes())
    return found.hexdigest()


def continuing(recipe: Recipe, given: Adapter) -> Recipe:
    """The recipe with what the adapter settles; trigger word and purpose are taken from it too, unless others are set.

    Raises:
        BadInput: the recipe asks for another kind, rank, alpha, ... than the adapter has.
    """
    told = _told(given)
    facts = {name: told[name] for name in (*SETTLED, "targets")} if told else _seen(given)
    for name in SETTLED:
        wanted = getattr(recipe, name)
        if name in recipe.model_fields_set and wanted is not None and wanted != facts.get(name, wanted):
            what = f"it is {wanted}, but the adapter to go on from has {facts[name]}"
            raise BadInput(f"recipe.{name}", what, "leave it out, as it comes with the adapter")
    facts |= {"trigger": given.trigger, "text_encoder_learning_rate": _text_rate(recipe, given, told)}
    if told:
        facts["purpose"] = told["purpose"]
    return recipe.changed({name: fact for name, fact in facts.items() if name not in recipe.model_fields_set})


def on_trained_layers(given: Adapter, injection: Injection, base: Base) -> Adapter:
    """The adapter without the layers whose output the base throws away, which could not learn; a warning tells of them.

    Raises BadInput where the recipe trains other layers than the adapter has.
    """
    idle = sorted(layer for layer in given.factors if base.is_idle(layer))
    if idle:
        what = f"{len(idle)} layers of the adapter, the first is {idle[0]}, act on nothing in {base.name}: left out"
        warnings.warn(what, stacklevel=2)
        factors = {layer: held for layer, held in given.factors.items() if layer not in idle}
        given = replace(given, factors=factors, alphas={layer: given.alphas[layer] for layer in factors})
    wanted, held = {published(layer) for layer in injection.layers}, {published(layer) for layer in given.factors}
    if wanted == held:
        return given
    extra, missing = sorted(wanted - held), sorted(held - wanted)
    first = f"{extra[0]}, which it has not" if extra else f"not {missing[0]}, which it has"
    what = f"they are other layers than those of the adapter to go on from: {first}"
    raise BadInput("recipe.targets", what, "leave the targets out, as they come with the adapter")


def _text_rate(recipe: Recipe, given: Adapter, told: Mapping[str, Any]) -> float:
    """The learning rate of the text encoders; raises BadInput where its factors there would not learn."""
    rate = recipe.text_encoder_learning_rate
    if "text_encoder_learning_rate" not in recipe.model_fields_set:
        rate = told.get("text_encoder_learning_rate", 0.0)
    if not rate and any(layer.startswith("text_encoder") for layer in given.factors):
        what = "it is 0, but the adapter to go on from changes the text encoder too"
        raise BadInput("recipe.text_encoder_learning_rate", what, "set it, for instance to 1e-5")
    return rate


def _told(given: Adapter) -> dict[str, Any]:
    """The settings that the adapter says it was made with; none where its factors are not what these make."""
    try:
        recipe = Recipe(**given.recipe)
        ranks = by_layer(recipe.ranks, given.factors, "recipe.ranks")
    except BadInput:  # of another version, or edited: then its factors alone count
        return {}
    made = kind_called(given.kind)
    settings = {**made.settings, **recipe.of_kind()}
    for layer, factors in given.factors.items():
        outputs, inputs, *kernel = made.acts_on(factors)
        shapes = made.shapes(Shape(inputs, outputs, tuple(kernel)), int(ranks.get(layer, recipe.rank)), settings)
        if shapes != {name: tuple(factor.shape) for name, factor in factors.items()}:
            return {}
    same = (recipe.kind, recipe.rslora) == (given.kind, given.rslora)
    return recipe.model_dump() if given.recipe and same else {}


def _seen(given: Adapter) -> dict[str, Any]:
    """What the factors themselves tell, the usual rank and alpha, and by layer what is unlike them."""
    pattern = {layer: _pattern(layer) for layer in given.factors}
    ranks = {layer: given.rank(layer) for layer in given.factors}
    rank = _usual(ranks)
    facts: dict[str, Any] = {
        "kind": given.kind,
        "rank": rank,
        "ranks": {pattern[layer]: own for layer, own in ranks.items() if own != rank},
        "rslora": given.rslora,
        "targets": sorted(pattern.values()),
    }
    if kind_called(given.kind).scaled:
        alpha = _usual(given.alphas)
        facts |= {"alpha": alpha, "alphas": {pattern[one]: own for one, own in given.alphas.items() if own != alpha}}
    return facts


def _pattern(layer: str) -> str:
    """Matches the layer under the name that it has in files, and under that in models without the level text_model."""
    return re.escape(layer).replace(r"\.text_model\.", r"\.(?:text_model\.)?")


def _usual(values: Mapping[str, Any]) -> Any:
    return Counter(values.values()).most_common(1)[0][0]
