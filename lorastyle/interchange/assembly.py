"""From modules under foreign names to an adapter of ours: which family they are of, and which layers they are."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.header import FAMILY, RECIPE, TRIGGER, published, recipe_in
from lorastyle.bases.family import Family, families
from lorastyle.errors import BadInput
from lorastyle.interchange.fused import split
from lorastyle.interchange.layers import Fused, PlaceOf, resolved
from lorastyle.interchange.spelling import Module

# What is told elsewhere, or true of that very file alone.
OF_THE_FILE = {
    *("format", FAMILY, TRIGGER, RECIPE, "lorastyle.proof", "sshs_model_hash", "sshs_legacy_hash"),
    *("modelspec.hash_sha256", "ss_network_dim", "ss_network_alpha", "ss_network_module", "ss_network_args"),
    "ss_output_name",
}
ARCHITECTURE, KOHYA_BASE = "modelspec.architecture", "ss_base_model_version"


def modules_of(adapter: Adapter) -> dict[str, Module]:
    """What the adapter is on each layer, by the layers' names in files."""
    return {
        published(layer): Module(adapter.kind, factors, adapter.scale(layer))
        for layer, factors in adapter.factors.items()
    }


def grouped(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by module and ending, of names without dots in the module's own."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, ending = name.partition(".")
        found.setdefault(module, {})[ending] = tensor
    return found


def assembled(
    modules: Mapping[str, Module], header: Mapping[str, str], family: Family | None, places: Sequence[PlaceOf]
) -> Adapter:
    """The adapter that the foreign modules are.

    Args:
        family: theirs if known. places: the ways in which their names may be meant, the likeliest first.

    Raises:
        BadInput: with an empty `where`: a name has no place in the family, or which family it is remains open.
    """
    family, meant = _family(modules, header, family, places)
    parts: dict[str, Module] = {}
    for name, module in modules.items():
        for layer, part in _taken_apart(name, module, meant[name]).items():
            if layer in parts:
                raise BadInput("", f"{layer} is there twice, once as {name}", "export it again without one of them")
            parts[layer] = part
    kinds = {module.kind for module in parts.values()}
    if len(kinds) > 1:
        what = f"its layers are of several kinds, {', '.join(sorted(kinds))}, and an adapter here is of one"
        raise BadInput("", what, "convert it to one kind with the tool that made it")
    return Adapter(
        family=family.name,
        kind=kinds.pop(),
        factors={layer: module.factors for layer, module in parts.items()},
        alphas={layer: module.alpha for layer, module in parts.items()},
        trigger=header.get(TRIGGER, header.get("modelspec.trigger_phrase", "")),
        recipe=recipe_in("", header),
        metadata={name: text for name, text in header.items() if name not in OF_THE_FILE},
    )


def _taken_apart(name: str, module: Module, fused: Fused) -> dict[str, Module]:
    if fused.widths == (1,):
        return {fused.layers[0]: module}
    parts = split(name, module, fused.widths)
    missing = [index for index in parts if index not in fused.layers]
    if missing:
        raise BadInput("", f"part {missing[0]} of {name} is no layer that can be adapted here", "leave it out")
    return {fused.layers[index]: part for index, part in parts.items()}


def _family(
    modules: Mapping[str, Module], header: Mapping[str, str], family: Family | None, places: Sequence[PlaceOf]
) -> tuple[Family, Mapping[str, Fused]]:
    """The family that the modules and the header tell of, and what the modules' names mean there."""
    names = list(modules)
    candidates = [family] if family else sorted(families().values(), key=lambda one: not _named(one, header))
    fitting: dict[str, tuple[Family, Mapping[str, Fused]]] = {}
    for one in candidates:
        if (meant := resolved(one, names, places)) is not None:
            fitting[one.name] = one, meant
            if _named(one, header):
                return one, meant
    if not fitting:
        whose = family.title if family else "a family known here"
        raise BadInput("", f"its layers, such as {min(names)}, are not those of {whose}", "check which base it is for")
    told = [name for name, (one, _) in fitting.items() if len(fitting) == 1 or _of_architecture(one, header)]
    if not told:
        told = [name for name, (one, meant) in fitting.items() if _has_inputs_of(one, modules, meant)]
    if not told:  # our own small bases are built like others; adapters for them say so
        told = [name for name, (one, _) in fitting.items() if "kohya" in one.known_as]
    if len(told) != 1:
        what = f"its layers are those of several families: {', '.join(fitting)}"
        raise BadInput("", what, "give the family too")
    return fitting[told[0]]


def _named(family: Family, header: Mapping[str, str]) -> bool:
    """Whether the header names this family, in our words or in kohya's."""
    if name := header.get(FAMILY, ""):
        return name == family.name
    theirs = family.known_as.get("kohya", "")
    return bool(theirs) and header.get(KOHYA_BASE, "").startswith(theirs)


def _has_inputs_of(family: Family, modules: Mapping[str, Module], meant: Mapping[str, Fused]) -> bool:
    """Whether the layers that tell it have as many inputs as in the published bases of the family."""
    found = {
        inputs == modules[name].made.acts_on(modules[name].factors)[1]
        for name, fused in meant.items()
        for layer in fused.layers.values()
        for pattern, inputs in family.inputs.items()
        if re.fullmatch(pattern, layer)
    }
    return found == {True}


def _of_architecture(family: Family, header: Mapping[str, str]) -> bool:
    architecture = header.get(ARCHITECTURE, "").partition("/")[0]
    return bool(architecture) and architecture == family.architecture(family.tiny(0))
