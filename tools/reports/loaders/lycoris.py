"""Files in LyCORIS, as installed: `create_network_from_weights`, which trainers and web UIs of kohya's kind call.

The text encoders, and the denoiser of Stable Diffusion 1, are our tiny base's own, as kohya's names for these are
diffusers'. The denoisers of SDXL and Flux.1 have their checkpoints' names there: kohya's own classes are in no package,
and ComfyUI's, with plain layers of torch, stand in for them. The level `text_model` of the text encoders, which
transformers has dropped, is put back. What is stood in for to import ComfyUI, its module says.
"""

import copy
import importlib.metadata
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lorastyle.bases.base import Base
from tools.reports.loaders import comfyui
from tools.reports.loaders.weights import Loaded, Place, WithTextModel, kept, layers_of, loaded, put


def prepare() -> str:
    """Make ComfyUI importable, for its models, and tell LyCORIS's version."""
    comfyui.prepare()
    from lycoris.logging import logger

    logger.setLevel(logging.WARNING)  # it tells of each layer else
    return f"LyCORIS {importlib.metadata.version('lycoris-lora')}"


def load(base: Base, file: Path) -> Loaded:
    """Make LyCORIS's network of the file on the models, and merge it into them."""
    from lycoris.kohya import create_network_from_weights

    encoders = [part for part in base.family.adapted if part.startswith("text_encoder")]
    models: dict[str, nn.Module] = {part: WithTextModel(copy.deepcopy(base.models[part])) for part in encoders}
    (denoiser,) = set(base.family.adapted) - set(encoders)
    alike = base.family.name == "sd1"
    models[denoiser] = copy.deepcopy(base.models[denoiser]) if alike else _plain(comfyui.originals(base.family.name))
    weights = {f"{part}.{name}": weight for part, model in models.items() for name, weight in model.named_parameters()}
    places = {layer: Place(f"{layer}.weight") for layer in layers_of(base) if alike or layer.startswith("text_encoder")}
    if not alike:
        places |= comfyui.table(base, f"{denoiser}.")
    put(layers_of(base), weights, places)
    before = kept(weights)
    # One text encoder alone or several: the first name theirs differently.
    texts = models["text_encoder"] if alike else [models[part] for part in encoders]
    network, tensors = create_network_from_weights(1.0, str(file), None, texts, models[denoiser], for_inference=True)
    modules = [*network.unet_loras, *network.text_encoder_loras]
    with torch.no_grad():
        for module in modules:
            module.merge_to(1.0)
    taken = {module.lora_name for module in modules}
    return loaded(before, weights, places, [key for key in tensors if key.partition(".")[0] not in taken])


def _plain(model: nn.Module) -> nn.Module:
    """The model with torch's own layers for ComfyUI's, which LyCORIS would take for quantised ones."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, (nn.Linear, nn.Conv2d)):
                setattr(module, name, _plain_layer(child))
    return model.requires_grad_(False)


def _plain_layer(layer: Any) -> nn.Module:
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features, bias)
    return nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, bias=bias)
