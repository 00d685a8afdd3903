"""How LyCORIS, kohya's tools and ComfyUI spell the tensors of a module, and what they mean by its alpha.

.alpha                  a number; the scale is alpha / rank, and 1 without it
.lora_down.weight       A, .lora_up.weight B, .lora_mid.weight the middle of a convolution in three parts (CP)
.dora_scale             the magnitudes [outputs, 1, ...] of DoRA
.hada_*, .lokr_*        as in peft; a LoKr of two whole factors has the scale 1 whatever alpha says
.oft_blocks             the norm of Q = blocks - blocks^T is held below alpha times the outputs, where alpha is not 0
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lorastyle.adapters.kinds import Kind, kind as kind_called, kind_of
from lorastyle.errors import BadInput

ENDINGS = {
    "lora_A.weight": "lora_down.weight",
    "lora_B.weight": "lora_up.weight",
    "lora_magnitude_vector": "dora_scale",
}
OURS = {theirs: ours for ours, theirs in ENDINGS.items()}
ALPHA, MIDDLE, MAGNITUDE, BLOCKS = "alpha", "lora_mid.weight", "lora_magnitude_vector", "oft_blocks"
WHOLE = frozenset({"lokr_w1", "lokr_w2"})


@dataclass(frozen=True)
class Module:
    """One module's adapter: its kind, its factors, and what their product is multiplied by."""

    kind: str
    factors: Mapping[str, Tensor]
    scale: float

    @property
    def made(self) -> Kind:
        return kind_called(self.kind)

    @property
    def alpha(self) -> float:
        """The alpha that gives this scale without rsLoRA."""
        return self.scale * self.made.rank(self.factors)


def folded(module: Module) -> Module:
    """The same module with the scale 1."""
    into = next(name for name in ("up", "w1_a", "w1") if name in module.factors)
    return replace(module, factors={**module.factors, into: module.factors[into] * module.scale}, scale=1.0)


def spelled(module: Module) -> dict[str, Tensor]:
    """The module's tensors by ending, alpha among them, as LyCORIS has them."""
    if module.made.scaled and "up" not in module.factors:
        module = folded(module)  # LyCORIS merges a LoKr or LoHa with the square of its scale, up to 4.1 at least
    held = {module.made.tensors[name]: factor for name, factor in module.factors.items()}
    alpha = 1.0 if held.keys() == WHOLE else module.alpha
    if BLOCKS in held:
        # As much as does not hold anything back: some tools take 0 for no limit, others for no rotation at all.
        alpha = max(1.0, math.ceil(2 * float((held[BLOCKS] - held[BLOCKS].mT).norm())))
    if MAGNITUDE in held:
        held[MAGNITUDE] = held[MAGNITUDE].reshape(-1, *(1,) * (held["lora_A.weight"].dim() - 1))
    return {ENDINGS.get(ending, ending): tensor for ending, tensor in held.items()} | {
        ALPHA: torch.tensor(alpha, dtype=torch.float32)
    }


def evened(modules: Mapping[str, Module]) -> dict[str, Module]:
    """The modules with one alpha for all LoRA and DoRA, the commonest: where alphas differ, some readers go wrong
    (diffusers 0.42 gives layers of attention the alpha of others). What is left of a scale goes into B."""
    alphas = Counter(module.alpha for module in modules.values() if "up" in module.factors)
    if len(alphas) < 2:
        return dict(modules)
    alpha = alphas.most_common(1)[0][0]
    return {name: _with_alpha(module, alpha) if "up" in module.factors else module for name, module in modules.items()}


def _with_alpha(module: Module, alpha: float) -> Module:
    if module.alpha == alpha:
        return module
    scale = alpha / module.made.rank(module.factors)
    factors = {**module.factors, "up": module.factors["up"] * (module.scale / scale)}
    return Module(module.kind, factors, scale)


def meant(name: str, tensors: Mapping[str, Tensor]) -> Module:
    """What tensors by ending mean, in LyCORIS' spelling or in peft's.

    Raises BadInput with an empty `where`, saying `name`, where they do not belong together.
    """
    held = {OURS.get(ending, ending): tensor for ending, tensor in tensors.items() if ending != ALPHA}
    if MIDDLE in held:
        held = _without_middle(name, held)
    if MAGNITUDE in held:
        held[MAGNITUDE] = _per_output(name, held)
    kind = kind_of(held)
    if kind is None:
        endings = ", ".join(sorted(tensors))
        raise BadInput("", f"the tensors of {name} are of no kind of adapter known here: {endings}", "export it again")
    factors = {factor: held[ending] for factor, ending in kind.tensors.items() if ending in held}
    if not kind.fits(factors):
        shapes = " and ".join(str(list(factor.shape)) for factor in factors.values())
        raise BadInput("", f"the factors of {name} do not belong together: {shapes}", "export it again")
    alpha = _alpha(name, tensors)
    if not kind.scaled:
        return Module(kind.name, _held_below(factors, alpha), 1.0)
    if alpha is None or held.keys() == WHOLE:
        return Module(kind.name, factors, 1.0)
    return Module(kind.name, factors, alpha / kind.rank(factors))


def _alpha(name: str, tensors: Mapping[str, Tensor]) -> float | None:
    if ALPHA not in tensors:
        return None
    if tensors[ALPHA].numel() != 1:
        raise BadInput("", f"the alpha of {name} is no single number", "export it again")
    return float(tensors[ALPHA])


def _without_middle(name: str, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Down [r, inputs, 1, 1] and middle [r, r, h, w] as one down [r, inputs, h, w]."""
    down, middle = held.get("lora_A.weight"), held[MIDDLE]
    if down is None or down.dim() != 4 or middle.dim() != 4 or middle.shape[1] != len(down):
        raise BadInput("", f"the middle of {name} does not fit its down", "export it again")
    rest = {ending: tensor for ending, tensor in held.items() if ending != MIDDLE}
    return rest | {"lora_A.weight": torch.einsum("pqhw,qi->pihw", middle, down.flatten(1))}


def _per_output(name: str, held: Mapping[str, Tensor]) -> Tensor:
    """The magnitudes as peft has them: [outputs], or [1, outputs, 1, 1] for a convolution."""
    magnitude, up = held[MAGNITUDE], held.get("lora_B.weight")
    if up is None:
        raise BadInput("", f"{name} has magnitudes but no factors of LoRA", "export it again")
    peft = magnitude.dim() == 1 or (up.dim() == 4 and magnitude.shape == (1, len(up), 1, 1))
    if magnitude.numel() != len(up) or not (peft or len(magnitude) == len(up)):
        what = (
            f"the magnitudes of {name} are {list(magnitude.shape)}, one for each input: older tools divided otherwise"
        )
        raise BadInput("", what, "train it again, or merge it into its base with the tool that made it")
    return magnitude.reshape(1, -1, 1, 1) if up.dim() == 4 else magnitude.reshape(-1)


def _held_below(factors: Mapping[str, Tensor], alpha: float | None) -> dict[str, Tensor]:
    """Blocks as LyCORIS and sd-scripts use them, who train with that limit; ComfyUI takes alpha itself for it."""
    blocks = factors.get("blocks")
    if blocks is None or not alpha or alpha < 0:
        return dict(factors)
    limit, norm = alpha * blocks.shape[0] * blocks.shape[1], float((blocks - blocks.mT).norm())
    return {**factors, "blocks": blocks * (limit / norm) if norm > limit else blocks}
