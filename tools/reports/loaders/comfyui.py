"""Files in ComfyUI (0.30.0): read, matched and applied by the functions behind its node "Load LoRA".

The models are ComfyUI's own classes in tiny configurations, with our tiny base's weights; which of its weights is
which layer of ours, its own tables tell (but for Qwen-Image and three of Flux.2, which they lack). Stood in for:
torchvision, torchaudio and scipy, which it uses for pictures and sound; comfy_aimdo, which manages a graphics card's
memory; comfy_kitchen, which quantises, by a module with nothing in it, which ComfyUI takes for an old one. Group norms
of tiny models have 8 groups where the channels are no multiple of 32.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import nn

from lorastyle.bases.base import Base
from lorastyle.bases.family import Family
from tools.reports.loaders import fetched
from tools.reports.loaders.comfyui_tiny import CLIP, MODELS, T5, WIDER_CLIP
from tools.reports.loaders.logs import warnings_of
from tools.reports.loaders.weights import Loaded, Place, kept, layers_of, loaded, put

# Layers of ours that its table lacks; its class has them under these names.
MISSING_OF_FLUX2 = ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")
ENCODERS = {"text_encoder": "clip_l.transformer", "text_encoder_2": "clip_g.transformer"}


def prepare() -> str:
    """Make ComfyUI importable and tell its version."""
    fetched.comfyui()
    fetched.stand_in("comfy_aimdo", "scipy", "torchaudio", "torchvision")
    sys.modules["comfy_kitchen"] = ModuleType("comfy_kitchen")
    # It reads the command line when this is imported, and would look for a graphics card.
    with mock.patch.object(sys, "argv", [sys.argv[0], "--cpu"]):
        from comfy import options

        options.enable_args_parsing()
        import comfy.cli_args
        from comfyui_version import __version__
    logging.disable(logging.ERROR)  # as one, it tells that it cannot quantise
    import comfy.float
    import comfy.quant_ops  # noqa: F401

    logging.disable(logging.NOTSET)
    return f"ComfyUI {__version__}"


def load(base: Base, file: Path) -> Loaded:
    """Load the file onto ComfyUI's model of the base's family and its text encoders, and apply it to all weights."""
    import comfy.sd
    import comfy.utils
    from comfy.model_patcher import ModelPatcher

    cpu = torch.device("cpu")
    model, encoders, places = _model(base.family.name), _encoders(base.family.name), _places(base)
    weights = dict(model.named_parameters()) | (dict(encoders.named_parameters()) if encoders else {})
    put(layers_of(base), weights, places)
    before = kept(weights)
    clip = _clip(encoders, ModelPatcher(encoders, cpu, cpu)) if encoders else None
    with warnings_of("") as said:
        tensors = comfy.utils.load_torch_file(str(file), safe_load=True)
        patched, patched_clip = comfy.sd.load_lora_for_models(ModelPatcher(model, cpu, cpu), clip, tensors, 1.0, 1.0)
        after = dict(before)
        for patcher in (patched, patched_clip.patcher) if patched_clip else (patched,):
            after |= {name: patcher.patch_weight_to_device(name, cpu, return_weight=True) for name in patcher.patches}
    return loaded(before, after, places, said)


def _clip(encoders: Any, patcher: Any) -> Any:
    """The object in which ComfyUI has its text encoders, with what its constructor would set, had it files to read."""
    import comfy.sd

    clip = comfy.sd.CLIP(no_init=True)
    clip.cond_stage_model, clip.patcher = encoders, patcher
    clip.tokenizer = clip.layer_idx = clip.apply_hooks_to_conds = None
    clip.use_clip_schedule, clip.tokenizer_options = False, {}
    return clip


def base_of(family: Family) -> Base:
    """The family's tiny base; of Stable Diffusion 3 with a transformer as wide as ComfyUI makes one of three blocks."""
    parts = family.tiny(0)
    if family.name == "sd3":
        from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

        sizes = {"attention_head_dim": 64, "num_attention_heads": 3, "caption_projection_dim": 192}
        config = {name: value for name, value in parts["transformer"].config.items() if not name.startswith("_")}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            parts = parts.replaced(transformer=SD3Transformer2DModel(**(config | sizes)))
    return Base("tiny", family, parts)


def originals(family: str) -> nn.Module:
    """The denoiser alone, whose layers have the names of the family's own checkpoints."""
    denoiser: nn.Module = _model(family).diffusion_model
    return denoiser


def table(base: Base, prefix: str) -> dict[str, Place]:
    """Where the layers of our denoiser stand in ComfyUI's, as ComfyUI tells it."""
    import comfy.utils

    family, layers = base.family.name, layers_of(base)
    _, sizes = MODELS[family]
    if family in ("sd1", "sdxl"):
        names = comfy.utils.unet_to_diffusers(sizes)
        found = {f"unet.{ours}": f"{prefix}{theirs}" for ours, theirs in names.items()}
    elif family == "qwen_image":  # whose layers have the same names in ComfyUI, so that it has no table
        found = {f"{layer}.weight": f"{prefix}{layer.partition('.')[2]}.weight" for layer in layers}
    else:
        tables = {"zimage": comfy.utils.z_image_to_diffusers, "sd3": comfy.utils.mmdit_to_diffusers}
        tell = tables.get(family, comfy.utils.flux_to_diffusers)
        found = {f"transformer.{ours}": theirs for ours, theirs in tell(sizes, output_prefix=prefix).items()}
    if family == "flux2":
        found |= {f"transformer.{name}.linear.weight": f"{prefix}{name}.lin.weight" for name in MISSING_OF_FLUX2}
    return {layer: _place(found[f"{layer}.weight"]) for layer in layers if f"{layer}.weight" in found}


def _place(there: Any) -> Place:
    """From a name alone, or a name, the rows as (0, start, count) or None, and perhaps a function of the weight."""
    if isinstance(there, str):
        return Place(there)
    name, rows, *turn = there
    _, start, count = rows or (0, 0, None)
    return Place(name, start, count, *turn)


def _places(base: Base) -> dict[str, Place]:
    places = table(base, "diffusion_model.")
    for layer in layers_of(base):
        part, _, name = layer.partition(".")
        if part in ENCODERS:
            places[layer] = Place(f"{ENCODERS[part]}.{name}.weight")
    return places


def _model(family: str) -> Any:
    from comfy import supported_models

    kind, sizes = MODELS[family]
    settings = getattr(supported_models, kind)(dict(sizes))
    if family == "sdxl":
        settings.unet_config["num_head_channels"] = 4  # for the 64 that its class sets
    with _small_groups():
        return settings.get_model({}, "", device="cpu")


def _encoders(family: str) -> Any:
    """The text encoders of a family whose adapters can have layers in them, else None."""
    from comfy.sd1_clip import SD1ClipModel
    from comfy.sdxl_clip import SDXLClipModel
    from comfy.text_encoders.flux import FluxClipModel
    from comfy.text_encoders.sd3_clip import SD3ClipModel

    kinds = {"sd1": SD1ClipModel, "sdxl": SDXLClipModel, "sd3": SD3ClipModel, "flux1": FluxClipModel}
    kind = kinds.get(family)
    sizes = {"clip_l_model_config": CLIP, "clip_g_model_config": WIDER_CLIP, "t5xxl_model_config": T5}
    return kind(model_options=sizes) if kind else None


@contextlib.contextmanager
def _small_groups() -> Iterator[None]:
    whole = nn.GroupNorm.__init__

    def begin(self: nn.GroupNorm, num_groups: int, num_channels: int, *rest: Any, **more: Any) -> None:
        whole(self, num_groups if num_channels % num_groups == 0 else 8, num_channels, *rest, **more)

    with mock.patch.object(nn.GroupNorm, "__init__", begin):
        yield
