"""Flux.2 dev and klein: double and single blocks like Flux.1's, told by a language model: Mistral (dev), Qwen3 (klein).

Black Forest Labs 2025, https://github.com/black-forest-labs/flux2.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from lorastyle.bases import mistral, presets, qwen
from lorastyle.bases.clip import token_count
from lorastyle.bases.family import Family, Place
from lorastyle.bases.flow import flow
from lorastyle.bases.layout import Layout
from lorastyle.bases.loading import companion, folder_loaders, load_by_names
from lorastyle.bases.noise import Flow
from lorastyle.bases.parts import Parts
from lorastyle.errors import Unsupported
from lorastyle.recipe import Preset

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
PREFIX = "model.diffusion_model."  # of the transformer's tensors in files that hold more than the transformer
DISTILLED = "is_distilled"  # what the pipeline of klein is told beside its models; no other has this part
LONGEST = 512  # tokens of a prompt and the conversation around it, as the pipelines read
DEV_LAYERS, KLEIN_LAYERS = (10, 20, 30), (9, 18, 27)  # of the text encoder, side by side what the transformer is told

QKV = (1, 1, 1)  # relative rows of what is one layer in the original code
ENDS = {
    "x_embedder": Place("img_in"),
    "context_embedder": Place("txt_in"),
    "time_guidance_embed.timestep_embedder.linear_1": Place("time_in.in_layer"),
    "time_guidance_embed.timestep_embedder.linear_2": Place("time_in.out_layer"),
    "time_guidance_embed.guidance_embedder.linear_1": Place("guidance_in.in_layer"),
    "time_guidance_embed.guidance_embedder.linear_2": Place("guidance_in.out_layer"),
    "double_stream_modulation_img.linear": Place("double_stream_modulation_img.lin"),
    "double_stream_modulation_txt.linear": Place("double_stream_modulation_txt.lin"),
    "single_stream_modulation.linear": Place("single_stream_modulation.lin"),
    "proj_out": Place("final_layer.linear"),
}
DOUBLE = {
    **{f"attn.to_{part}": Place("img_attn.qkv", index, QKV) for index, part in enumerate("qkv")},
    **{f"attn.add_{part}_proj": Place("txt_attn.qkv", index, QKV) for index, part in enumerate("qkv")},
    "attn.to_out.0": Place("img_attn.proj"),
    "attn.to_add_out": Place("txt_attn.proj"),
    "attn.norm_q": Place("img_attn.norm.query_norm"),
    "attn.norm_k": Place("img_attn.norm.key_norm"),
    "attn.norm_added_q": Place("txt_attn.norm.query_norm"),
    "attn.norm_added_k": Place("txt_attn.norm.key_norm"),
    "ff.linear_in": Place("img_mlp.0"),
    "ff.linear_out": Place("img_mlp.2"),
    "ff_context.linear_in": Place("txt_mlp.0"),
    "ff_context.linear_out": Place("txt_mlp.2"),
}
SINGLE = {
    "attn.to_qkv_mlp_proj": Place("linear1"),
    "attn.to_out": Place("linear2"),
    "attn.norm_q": Place("norm.query_norm"),
    "attn.norm_k": Place("norm.key_norm"),
}
LAST = "norm_out.linear"  # its two halves, scale and shift, stand the other way round in the original code

# The single blocks have attention and MLP in the same two layers.
ATTENTION = (
    r"transformer_blocks\.\d+\.attn\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)",
    r"single_transformer_blocks\.\d+\.attn\.(?:to_qkv_mlp_proj|to_out)",
)
MLP = r"transformer_blocks\.\d+\.ff(?:_context)?\.linear_(?:in|out)"
MODULATION = r"(?:double_stream_modulation_(?:img|txt)|single_stream_modulation)\.linear"


class Flux2(Family):
    """The family of Flux.2; see :class:`lorastyle.bases.family.Family`.

    Latents are as the transformer sees them: blocks of 2 x 2, normalised.
    """

    name = "flux2"
    title = "Flux.2 dev and klein"
    known_as: Mapping[str, str] = {"kohya": "flux_2", "networks": "networks.lora_flux_2"}
    pipeline_class = "Flux2Pipeline"
    roles: Mapping[str, Sequence[str]] = {
        "denoiser": ("transformer",),
        "autoencoder": ("vae",),
        "text": ("text_encoder", "tokenizer"),
    }
    adapted: Sequence[str] = ("transformer",)
    not_applicable: Mapping[str, str] = {
        "text_encoder": "a language model (Mistral or Qwen3) reads the prompts, and the field trains none with adapters"
    }
    targets: Mapping[str, Mapping[str, Sequence[str]]] = {
        "attention": {"transformer": ATTENTION},
        "attention+mlp": {"transformer": (*ATTENTION, MLP)},
        "all": {"transformer": (*ATTENTION, MLP, MODULATION)},
    }
    presets: Mapping[str, Preset] = presets.TRANSFORMER
    guidance = 4.0

    # loading

    def recognises(self, layout: Layout) -> bool:
        if layout.tensors:
            names = {name.removeprefix(PREFIX) for name in layout.tensors}
            return {"img_in.weight", "double_blocks.0.img_mlp.0.weight", "single_stream_modulation.lin.weight"} <= names
        return (
            layout.configs["model_index"].get("_class_name") in (self.pipeline_class, "Flux2KleinPipeline")
            and layout.configs.get("transformer", {}).get("_class_name") == "Flux2Transformer2DModel"
        )

    def loaders(self, layout: Layout) -> Mapping[str, Callable[[], Any]]:
        if not layout.tensors:
            return {**folder_loaders(layout, PARTS), **particular_loaders(layout)}
        beside = companion(layout, "a Flux.2 checkpoint holds only the transformer, and no configurations")
        transformer = partial(load_by_names, layout, beside, "transformer", stored, PREFIX)
        return {**folder_loaders(beside, PARTS), **particular_loaders(beside), "transformer": transformer}

    def tiny(self, seed: int) -> Parts:
        return tiny_parts(seed)

    def pipeline(self, parts: Parts) -> Any:
        from diffusers.pipelines.flux2.pipeline_flux2 import Flux2Pipeline
        from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline

        return (Flux2KleinPipeline if DISTILLED in parts else Flux2Pipeline)(**parts)

    # what it is

    def architecture(self, parts: Parts) -> str:
        return "flux-2-klein" if DISTILLED in parts else "flux-2-dev"

    def distilled(self, parts: Parts) -> bool:
        """Whether it was distilled to draw in four steps, as the klein that is not a base was."""
        return DISTILLED in parts and parts[DISTILLED]

    def usual_guidance(self, parts: Parts) -> float:
        return 1.0 if self.distilled(parts) else self.guidance

    def embeds_guidance(self, parts: Parts) -> bool:
        return bool(parts["transformer"].config.guidance_embeds)

    def cautions(self, parts: Parts) -> list[str]:
        if not self.distilled(parts):
            return []
        return [
            "this is Flux.2 klein, distilled to draw in four steps: training undoes that, and its pictures blur. "
            "Train on Flux.2 klein base; the adapter also works on klein"
        ]

    def noise(self, parts: Parts) -> Flow:
        # In sampling the shift also depends on the number of steps, which training has not: it is that of Flux.1, as
        # in the base's scheduler and in the field's trainers.
        return flow(parts["scheduler"], count)

    def scheduler(self, parts: Parts, steps: int, latents: Tensor) -> Any:
        """Euler's method on the times that the pipeline uses: evenly spaced from 1 to 1 / steps, then shifted."""
        sampler = type(parts["scheduler"]).from_config(parts["scheduler"].config, stochastic_sampling=False)
        mu = shift_logarithm(count(latents), steps)
        sampler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), device=latents.device, mu=mu)
        return sampler

    def resolution(self, parts: Parts) -> int:
        return int(parts["vae"].config.sample_size)

    def divisor(self, parts: Parts) -> int:
        """How many pixels wide a latent is, too."""
        return 2 * 2 ** (len(parts["vae"].config.block_out_channels) - 1)

    def latent_shape(self, parts: Parts, width: int, height: int) -> tuple[int, ...]:
        scale = self.divisor(parts)
        return (parts["transformer"].config.in_channels, height // scale, width // scale)

    # what it computes

    def encode_images(self, parts: Parts, pixels: Tensor) -> Tensor:
        # Contiguous, here and below, as the pipeline has them: convolutions in another layout differ in the last bits.
        mean, deviation = statistics(parts["vae"])
        blocks = pixel_unshuffle(parts["vae"].encode(pixels).latent_dist.mode(), 2).contiguous()
        return (blocks - mean) / deviation

    def decode_latents(self, parts: Parts, latents: Tensor) -> Tensor:
        mean, deviation = statistics(parts["vae"])
        return parts["vae"].decode(pixel_shuffle(latents * deviation + mean, 2).contiguous()).sample

    def encode_prompts(self, parts: Parts, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The hidden states of three of the text encoder's layers side by side, {"prompt": [batch, tokens, 3 width]};
        warns of words that are not read. The padding counts like any other token."""
        from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE

        tokenizer, encoder = parts["tokenizer"], parts["text_encoder"]
        longest = min(tokenizer.model_max_length, LONGEST)
        if DISTILLED in parts:
            layers, told = KLEIN_LAYERS, qwen.asked(tokenizer, prompts, longest, thinking=False)
        else:
            layers, told = DEV_LAYERS, mistral.asked(tokenizer, SYSTEM_MESSAGE, prompts, longest)
        inputs = {name: told[name].to(encoder.device) for name in ("input_ids", "attention_mask")}
        # Not the encoder itself, which would go on to guess the next word.
        states = encoder.model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
        return {"prompt": torch.cat([states[layer] for layer in layers], dim=-1)}

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Mapping[str, Tensor]) -> Tensor:
        guidance = None
        if self.embeds_guidance(parts):
            guidance = conditioning.get("guidance", torch.ones(len(latents), device=latents.device))
        height, width = latents.shape[2:]
        predicted = parts["transformer"](
            hidden_states=latents.flatten(2).transpose(1, 2),
            timestep=timesteps.to(latents.dtype) / 1000,
            guidance=guidance,
            encoder_hidden_states=conditioning["prompt"],
            txt_ids=places(1, 1, conditioning["prompt"].shape[1]).to(latents.device),
            img_ids=places(height, width, 1).to(latents.device),
        ).sample
        return predicted.transpose(1, 2).reshape(latents.shape)

    def tokens(self, parts: Parts, text: str) -> int:
        return token_count(parts["tokenizer"], text)

    # names in other tools

    def original(self, layer: str) -> Place | None:
        place = place_of(layer.partition(".")[2])
        return place and Place(PREFIX + place.name, place.index, place.widths)

    def kohya(self, layer: str) -> Place:
        if (place := place_of(layer.partition(".")[2])) is None:
            raise Unsupported(layer, "kohya's tools have no such layer", "leave it out of the targets")
        return place


def particular_loaders(layout: Layout) -> dict[str, Callable[[], Any]]:
    """How to load what dev and klein do not have in common from a folder of either."""
    index = layout.configs["model_index"]
    if index.get("_class_name") != FAMILY.pipeline_class:
        return {DISTILLED: partial(bool, index.get(DISTILLED, False))}
    # The folder says that a processor is to be loaded, which also reads pictures and needs torchvision for it. There
    # is a plain tokenizer in its files, and the pipeline can do with that.
    plain = {**layout.configs, "model_index": {**index, "tokenizer": ["transformers", "AutoTokenizer"]}}
    return folder_loaders(replace(layout, configs=plain), ["tokenizer"])


def statistics(vae: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of the blocks of latents, each [1, c, 1, 1]."""
    mean, variance = (values.view(1, -1, 1, 1) for values in (vae.bn.running_mean, vae.bn.running_var))
    return mean, torch.sqrt(variance + vae.config.batch_norm_eps)


def count(latents: Tensor) -> int:
    """How many tokens latents [batch, c, h, w] are."""
    return latents.shape[2] * latents.shape[3]


def places(height: int, width: int, length: int) -> Tensor:
    """Where each token lies [height * width * length, 4]: 0, row, column, place in the text."""
    return torch.cartesian_prod(*(torch.arange(size) for size in (1, height, width, length)))


def shift_logarithm(tokens: int, steps: int) -> float:
    """The logarithm of the sampler's shift, between what was found best for 10 and for 200 steps; larger pictures are
    shifted like those of 200 steps (the original code's `compute_empirical_mu`)."""
    few, many = 8.73809524e-05 * tokens + 1.89833333, 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return many
    slope = (many - few) / 190
    return slope * steps + (many - 200 * slope)


def place_of(name: str) -> Place | None:
    """Where that module of the transformer stands in the original code; None: nowhere by itself."""
    if found := re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", name):
        blocks, table = ("single_blocks", SINGLE) if found[1] else ("double_blocks", DOUBLE)
        place = table.get(found[3])
        return place and replace(place, name=f"{blocks}.{found[2]}.{place.name}")
    return ENDS.get(name)


def stored(name: str) -> list[Place]:
    """The pieces that make up that weight of the transformer, one under another, in the names of the original code."""
    module, _, leaf = name.rpartition(".")
    if module == LAST:
        return [Place(f"final_layer.adaLN_modulation.1.{leaf}", index, (1, 1)) for index in (1, 0)]
    place = place_of(module)
    if place is None:
        return [Place(name)]
    leaf = "scale" if place.name.endswith(("query_norm", "key_norm")) else leaf
    return [replace(place, name=f"{place.name}.{leaf}")]


def tiny_parts(seed: int, distilled: bool | None = None) -> Parts:
    """The parts of a pipeline for pictures of 64 pixels, with random weights: of dev, or of klein, distilled or not."""
    from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
    from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
    from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
    from transformers import Mistral3ForConditionalGeneration, Qwen3ForCausalLM

    dev = distilled is None
    tokenizer = mistral.tiny_tokenizer(re.findall(r"\w+", SYSTEM_MESSAGE)) if dev else qwen.tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * 32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=dev,
        )
        vae = AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64
        )
        vae.bn.running_mean.normal_()
        vae.bn.running_var.uniform_(0.5, 2)
        text_encoder = (
            Mistral3ForConditionalGeneration(mistral.tiny_config(tokenizer, DEV_LAYERS[-1]))
            if dev
            else Qwen3ForCausalLM(qwen.tiny_config(tokenizer, KLEIN_LAYERS[-1]))
        )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    models = {"transformer": transformer, "vae": vae, "text_encoder": text_encoder}
    told = {} if dev else {DISTILLED: distilled}
    return Parts.of(**models, tokenizer=tokenizer, scheduler=scheduler, **told)


FAMILY = Flux2()
