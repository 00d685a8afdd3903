"""Bases of Stable Diffusion and SDXL as single checkpoints, in the names of the original code.

diffusers reads such files but does not write them. Layers are named as the family says, all else is spelled out here.
"""

import re

import torch
from torch import Tensor, nn

from lorastyle.bases.base import Base
from lorastyle.bases.family import Family

LEVELS = 4  # of the tiny autoencoder
VAE_NAMES = {
    "resnets": "block", "conv_shortcut": "nin_shortcut", "conv_norm_out": "norm_out", "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
}  # fmt: skip
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


RESIDUAL = {"norm1": "in_layers.0", "norm2": "out_layers.0"}
TEXT = {"sd1": {"text_encoder": "cond_stage_model.transformer"}, "sd2": {"text_encoder": "cond_stage_model.model"}} | {
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer",
        "text_encoder_2": "conditioner.embedders.1.model",
    }
}
OPEN_CLIP = {
    "text_projection": "text_projection",
    "embeddings.token_embedding": "token_embedding.weight",
    "embeddings.position_embedding": "positional_embedding",
}


def layers(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def checkpoint_of(base: Base) -> dict[str, Tensor]:
    """All weights under their original names, those of fused layers joined."""
    weights: dict[str, Tensor] = {}
    fused: dict[str, dict[int, Tensor]] = {}
    for part in base.adapted:
        named = set(layers(base.parts[part])) - {"text_projection"}
        for name, weight in base.parts[part].state_dict().items():
            module, _, leaf = name.rpartition(".")
            place = base.family.original(f"{part}.{module}") if module in named else None
            if place is None:
                turned = weight.T if module == "text_projection" else weight
                weights[other_name(base.family, part, module, leaf)] = turned
            elif place.widths == (1,):
                weights[f"{place.name}.{leaf}"] = weight
            else:
                fused.setdefault(f"{place.name}_{leaf}", {})[place.index] = weight
    weights |= {name: torch.cat([rows[index] for index in sorted(rows)]) for name, rows in fused.items()}
    return {name: weight.contiguous() for name, weight in (weights | autoencoder(base.parts["vae"])).items()}


def other_name(family: Family, part: str, module: str, leaf: str) -> str:
    """The name of a weight of a norm or an embedding."""
    if part != "unet":
        return text_name(TEXT[family.name][part], module.removeprefix("text_model."), leaf)
    if module == "conv_norm_out":
        return f"model.diffusion_model.out.0.{leaf}"
    above, _, norm = module.rpartition(".")
    if ".resnets." in module:
        beside, theirs, norm = f"{above}.conv1", "in_layers.2", RESIDUAL[norm]
    elif norm == "norm":  # before the attention of a block
        beside, theirs = f"{above}.proj_in", "proj_in"
    else:
        beside, theirs = f"{above}.attn1.to_q", "attn1.to_q"
    place = family.original(f"unet.{beside}")
    assert place is not None
    return place.name.removesuffix(theirs) + f"{norm}.{leaf}"


def text_name(prefix: str, module: str, leaf: str) -> str:
    if not prefix.endswith(".model"):
        return f"{prefix}.text_model.{module}.{leaf}"
    if module in OPEN_CLIP:
        return f"{prefix}.{OPEN_CLIP[module]}"
    module = module.replace("final_layer_norm", "ln_final").replace("layer_norm", "ln_")
    return f"{prefix}.{module.replace('encoder.layers', 'transformer.resblocks')}.{leaf}"


def autoencoder(vae: nn.Module) -> dict[str, Tensor]:
    weights = {}
    for name, weight in vae.state_dict().items():
        linear = "attentions" in name and weight.ndim == 2
        weights[f"first_stage_model.{vae_name(name)}"] = weight[:, :, None, None] if linear else weight
    return weights


def vae_name(name: str) -> str:
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
        for ours, original in VAE_ATTENTION.items():
            name = name.replace(f"attn_1.{ours}.", f"attn_1.{original}.")
    name = re.sub(r"down_blocks\.(\d)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d)", lambda found: f"up.{LEVELS - 1 - int(found[1])}", name)
    for ours, original in VAE_NAMES.items():
        name = name.replace(ours, original)
    return name
