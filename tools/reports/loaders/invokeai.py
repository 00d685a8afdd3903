"""Files in InvokeAI (6.14.2): read by its `LoRALoader`, applied by its `LayerPatcher` to the weights themselves.

The models are InvokeAI's own class for Flux.1, in a tiny configuration and with our tiny base's weights, and elsewhere
our tiny base's own, which are diffusers' classes, as in InvokeAI. Its text encoders have a level `text_model`, which
transformers has dropped since: it is put back. Stood in for: torchvision, cv2, onnx, onnxruntime, bitsandbytes, compel
and spandrel, for pictures, prompts and quantised models, which importing the loader imports too. What family a file is
for is said, not found out: InvokeAI knows that from the widths of the published models.
"""

import contextlib
import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from lorastyle.bases.base import Base
from tools.reports.loaders import fetched
from tools.reports.loaders.logs import warnings_of
from tools.reports.loaders.weights import TINY_FLUX1, Loaded, Place, WithTextModel, kept, layers_of, loaded, put

# Which layers of InvokeAI's Flux.1 are which of ours, by block; it has no table of that to ask.
DOUBLE = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
SINGLE = {"proj_out": "linear2", "norm.linear": "modulation.lin"}
# What the names of the layers of each model begin with in its patches: as its invocations for the families say.
PREFIXES = {
    "sd1": {"unet": "lora_unet_", "text_encoder": "lora_te_"},
    "sdxl": {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"},
    "flux1": {"transformer": "lora_transformer-", "text_encoder": "lora_clip-"},
}


def prepare() -> str:
    """Make InvokeAI importable and tell its version."""
    fetched.invokeai()
    fetched.stand_in("bitsandbytes", "compel", "cv2", "onnx", "onnxruntime", "spandrel", "torchvision")
    from invokeai.version import __version__

    return f"InvokeAI {__version__}"


def load(base: Base, file: Path) -> Loaded:
    """Load the file as a patch, and apply it to the denoiser and the text encoders."""
    from invokeai.backend.patches.layer_patcher import LayerPatcher
    from invokeai.backend.util.logging import InvokeAILogger

    models, places = _models(base), _places(base)
    weights = {f"{part}.{name}": weight for part, model in models.items() for name, weight in model.named_parameters()}
    put(layers_of(base), weights, places)
    before, prefixes = kept(weights), PREFIXES[base.family.name]
    InvokeAILogger.get_logger(LayerPatcher.__name__)  # which sets its handlers up
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(warnings_of(LayerPatcher.__name__))
        patch = _patch(base, file)
        for part, prefix in prefixes.items():
            applied = LayerPatcher.apply_smart_model_patches(
                models[part], [(patch, 1.0)], prefix, torch.float32, force_direct_patching=True
            )
            stack.enter_context(applied)
        after = kept(weights)  # it takes the patch off again
    orphans = [layer for layer in patch.layers if not layer.startswith(tuple(prefixes.values()))]
    return loaded(before, after, places, [*said, *orphans])


def _patch(base: Base, file: Path) -> Any:
    """The file as InvokeAI's loader reads it, which is made without its cache and settings."""
    from invokeai.backend.model_manager.load.model_loaders.lora import LoRALoader
    from invokeai.backend.model_manager.taxonomy import BaseModelType, ModelFormat

    kinds = {
        "sd1": BaseModelType.StableDiffusion1,
        "sdxl": BaseModelType.StableDiffusionXL,
        "flux1": BaseModelType.Flux,
    }
    loader = LoRALoader.__new__(LoRALoader)
    loader._model_base, loader._torch_dtype = kinds[base.family.name], torch.float32
    return loader._load_model(SimpleNamespace(path=str(file), format=ModelFormat.LyCORIS, base=loader._model_base))


def _models(base: Base) -> dict[str, nn.Module]:
    from invokeai.backend.flux.model import Flux, FluxParams

    models: dict[str, nn.Module] = {}
    for part in base.family.adapted:
        if part == "transformer":
            models[part] = Flux(FluxParams(**TINY_FLUX1)).requires_grad_(False)
            continue
        own = copy.deepcopy(base.models[part])
        models[part] = WithTextModel(own) if part.startswith("text_encoder") else own
    return models


def _places(base: Base) -> dict[str, Place]:
    """Ours have the same names there, but for Flux.1."""
    places = {layer: Place(f"{layer}.weight") for layer in layers_of(base) if not layer.startswith("transformer.")}
    return places | (_places_of_flux1() if "transformer" in base.family.adapted else {})


def _places_of_flux1() -> dict[str, Place]:
    width = TINY_FLUX1["hidden_size"]
    places: dict[str, Place] = {}
    for block in range(TINY_FLUX1["depth"]):
        ours, theirs = f"transformer.transformer_blocks.{block}.", f"transformer.double_blocks.{block}."
        places |= {f"{ours}{name}": Place(f"{theirs}{other}.weight") for name, other in DOUBLE.items()}
        for third, letter in enumerate("qkv"):
            places[f"{ours}attn.to_{letter}"] = Place(f"{theirs}img_attn.qkv.weight", third * width, width)
            places[f"{ours}attn.add_{letter}_proj"] = Place(f"{theirs}txt_attn.qkv.weight", third * width, width)
    for block in range(TINY_FLUX1["depth_single_blocks"]):
        ours, theirs = f"transformer.single_transformer_blocks.{block}.", f"transformer.single_blocks.{block}."
        places |= {f"{ours}{name}": Place(f"{theirs}{other}.weight") for name, other in SINGLE.items()}
        for third, letter in enumerate("qkv"):
            places[f"{ours}attn.to_{letter}"] = Place(f"{theirs}linear1.weight", third * width, width)
        places[f"{ours}proj_mlp"] = Place(f"{theirs}linear1.weight", 3 * width, 4 * width)
    return places
