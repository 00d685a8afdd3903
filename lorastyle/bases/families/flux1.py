"""Flux.1 dev, Krea and schnell: a transformer of double and single blocks over packed latents, told by CLIP and T5.

Black Forest Labs 2024, https://github.com/black-forest-labs/flux; rectified flow as in Esser et al. 2024, arXiv
2403.03206.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorastyle.bases import autoencoder, clip, presets, t5
from lorastyle.bases.family import Family, Place
from lorastyle.bases.flow import euler, flow
from lorastyle.bases.layout import Layout
from lorastyle.bases.loading import companion, folder_loaders, load_by_names, load_from_checkpoint
from lorastyle.bases.noise import Flow
from lorastyle.bases.packing import packed, packed_count, unpacked
from lorastyle.bases.parts import Parts
from lorastyle.errors import Unsupported
from lorastyle.recipe import Preset

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")
PREFIX = "model.diffusion_model."  # of the transformer's tensors in files that hold more than the transformer
# How the tensors of the other parts begin in files that hold them.
HELD = {"vae": "vae.", "text_encoder": "text_encoders.clip_l.", "text_encoder_2": "text_encoders.t5xxl."}
LONGEST = 512  # tokens of T5, the most that Flux was trained with

QKV, LINEAR1 = (1, 1, 1), (1, 1, 1, 4)  # relative rows of what is one layer in the original code
ENDS = {
    "x_embedder": Place("img_in"),
    "context_embedder": Place("txt_in"),
    "time_text_embed.timestep_embedder.linear_1": Place("time_in.in_layer"),
    "time_text_embed.timestep_embedder.linear_2": Place("time_in.out_layer"),
    "time_text_embed.guidance_embedder.linear_1": Place("guidance_in.in_layer"),
    "time_text_embed.guidance_embedder.linear_2": Place("guidance_in.out_layer"),
    "time_text_embed.text_embedder.linear_1": Place("vector_in.in_layer"),
    "time_text_embed.text_embedder.linear_2": Place("vector_in.out_layer"),
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
    "ff.net.0.proj": Place("img_mlp.0"),
    "ff.net.2": Place("img_mlp.2"),
    "ff_context.net.0.proj": Place("txt_mlp.0"),
    "ff_context.net.2": Place("txt_mlp.2"),
    "norm1.linear": Place("img_mod.lin"),
    "norm1_context.linear": Place("txt_mod.lin"),
}
SINGLE = {
    **{f"attn.to_{part}": Place("linear1", index, LINEAR1) for index, part in enumerate("qkv")},
    "proj_mlp": Place("linear1", 3, LINEAR1),
    "proj_out": Place("linear2"),
    "attn.norm_q": Place("norm.query_norm"),
    "attn.norm_k": Place("norm.key_norm"),
    "norm.linear": Place("modulation.lin"),
}
LAST = "norm_out.linear"  # its two halves, scale and shift, stand the other way round in the original code

ATTENTION = (
    r"transformer_blocks\.\d+\.attn\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)",
    r"single_transformer_blocks\.\d+\.attn\.to_[qkv]",
)
MLP = (
    r"transformer_blocks\.\d+\.ff(?:_context)?\.net\.(?:0\.proj|2)",
    r"single_transformer_blocks\.\d+\.proj_(?:mlp|out)",
)
MODULATION = (r"transformer_blocks\.\d+\.norm1(?:_context)?\.linear", r"single_transformer_blocks\.\d+\.norm\.linear")


class Flux(Family):
    """The family of Flux.1; see :class:`lorastyle.bases.family.Family`."""

    name = "flux1"
    title = "Flux.1 dev, Krea and schnell"
    known_as: Mapping[str, str] = {"kohya": "flux1", "a1111": "Flux", "networks": "networks.lora_flux"}
    spellings: Mapping[str, str] = {"invoke": "kohya"}
    pipeline_class = "FluxPipeline"
    roles: Mapping[str, Sequence[str]] = {
        "denoiser": ("transformer",),
        "autoencoder": ("vae",),
        "text": ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
    }
    adapted: Sequence[str] = ("transformer", "text_encoder")
    targets: Mapping[str, Mapping[str, Sequence[str]]] = {
        "attention": {"transformer": ATTENTION, "text_encoder": (clip.ATTENTION,)},
        "attention+mlp": {"transformer": (*ATTENTION, *MLP), "text_encoder": (clip.ATTENTION, clip.MLP)},
        "all": {"transformer": (*ATTENTION, *MLP, *MODULATION), "text_encoder": (clip.ATTENTION, clip.MLP)},
    }
    presets: Mapping[str, Preset] = presets.TRANSFORMER
    guidance = 3.5

    # loading

    def recognises(self, layout: Layout) -> bool:
        if layout.tensors:
            # Inpainting and control variants read more channels than they write. Of what is built like Flux, Chroma
            # has no modulation in its blocks, and Flux.2 one for all blocks.
            tensors = {name.removeprefix(PREFIX): shape for name, shape in layout.tensors.items()}
            first, last = tensors.get("img_in.weight", ()), tensors.get("final_layer.linear.weight", ())
            built = {"double_blocks.0.img_mod.lin.weight", "vector_in.in_layer.weight"} <= tensors.keys()
            return built and first[1:] == last[:1]
        transformer = layout.configs.get("transformer", {})
        return (
            transformer.get("_class_name") == "FluxTransformer2DModel"
            and layout.configs["model_index"].get("_class_name") == self.pipeline_class
            and transformer.get("in_channels", 64) == 4 * layout.configs.get("vae", {}).get("latent_channels", 16)
        )

    def loaders(self, layout: Layout) -> Mapping[str, Callable[[], Any]]:
        if not layout.tensors:
            return folder_loaders(layout, PARTS)
        beside = companion(layout, "a Flux checkpoint holds no configurations, and mostly only the transformer")
        held = [part for part, begins in HELD.items() if any(name.startswith(begins) for name in layout.tensors)]
        return {
            **folder_loaders(beside, [part for part in PARTS if part not in ("transformer", *held)]),
            **{part: partial(load_from_checkpoint, layout, part, PARTS, self.pipeline_class) for part in held},
            "transformer": partial(load_by_names, layout, beside, "transformer", stored, PREFIX),
        }

    def tiny(self, seed: int) -> Parts:
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_image_seq_len=4, max_image_seq_len=64
        )
        return tiny_parts(seed, scheduler, guidance_embeds=True)

    def pipeline(self, parts: Parts) -> Any:
        from diffusers.pipelines.flux.pipeline_flux import FluxPipeline

        return FluxPipeline(**parts)

    # what it is

    def architecture(self, parts: Parts) -> str:
        return "flux-1-dev" if self.embeds_guidance(parts) else "flux-1-schnell"

    def cautions(self, parts: Parts) -> list[str]:
        if self.embeds_guidance(parts):
            return []
        return [
            "this is Flux.1 schnell, distilled to draw in four steps: training undoes that, and an adapter trained on "
            "it is worth little; train on Flux.1 dev, whose adapters work on schnell too"
        ]

    def usual_guidance(self, parts: Parts) -> float:
        # schnell knows no guidance, and running it without the prompt too only spoils its pictures.
        return self.guidance if self.embeds_guidance(parts) else 1.0

    def embeds_guidance(self, parts: Parts) -> bool:
        return bool(parts["transformer"].config.guidance_embeds)

    def noise(self, parts: Parts) -> Flow:
        return flow(parts["scheduler"], packed_count)

    def scheduler(self, parts: Parts, steps: int, latents: Tensor) -> Any:
        return euler(parts["scheduler"], steps, latents, packed_count)

    def resolution(self, parts: Parts) -> int:
        return int(parts["vae"].config.sample_size)

    def divisor(self, parts: Parts) -> int:
        return 2 * self.scale(parts)

    def latent_shape(self, parts: Parts, width: int, height: int) -> tuple[int, ...]:
        scale = self.scale(parts)
        return (parts["vae"].config.latent_channels, height // scale, width // scale)

    def scale(self, parts: Parts) -> int:
        """How many pixels wide a latent is."""
        return 2 ** (len(parts["vae"].config.block_out_channels) - 1)

    # what it computes

    def encode_images(self, parts: Parts, pixels: Tensor) -> Tensor:
        return autoencoder.encoded(parts["vae"], pixels)

    def decode_latents(self, parts: Parts, latents: Tensor) -> Tensor:
        return autoencoder.decoded(parts["vae"], latents)

    def encode_prompts(self, parts: Parts, prompts: Sequence[str]) -> dict[str, Tensor]:
        """T5's last hidden states and what CLIP says of the whole, {"prompt": [batch, tokens, width], "pooled":
        [batch, width]}; warns of words that T5 cannot read. (CLIP reads 75 tokens, for the gist.)"""
        encoder, told = parts["text_encoder"], clip.gist(parts["tokenizer"], prompts)
        longest = min(parts["tokenizer_2"].model_max_length, LONGEST)
        return {
            "prompt": t5.states(parts["text_encoder_2"], parts["tokenizer_2"], prompts, longest),
            "pooled": encoder(told.input_ids.to(encoder.device)).pooler_output,
        }

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Mapping[str, Tensor]) -> Tensor:
        transformer, prompt = parts["transformer"], conditioning["prompt"]
        height, width = latents.shape[2] // 2, latents.shape[3] // 2
        guidance = None
        if transformer.config.guidance_embeds:
            # Trained at 1: the pictures of a dataset are as they are, not as guidance would exaggerate them.
            guidance = conditioning.get("guidance", torch.ones(len(latents), device=latents.device))
        predicted = transformer(
            hidden_states=packed(latents),
            timestep=timesteps.to(latents.dtype) / 1000,
            guidance=guidance,
            pooled_projections=conditioning["pooled"],
            encoder_hidden_states=prompt,
            txt_ids=torch.zeros(prompt.shape[1], 3, device=latents.device, dtype=prompt.dtype),
            img_ids=places(height, width).to(device=latents.device, dtype=prompt.dtype),
        ).sample
        return unpacked(predicted, height, width)

    def tokens(self, parts: Parts, text: str) -> int:
        return clip.token_count(parts["tokenizer_2"], text)

    # names in other tools

    def original(self, layer: str) -> Place | None:
        part, _, name = layer.partition(".")
        if part == "text_encoder":
            return Place(f"{HELD[part]}transformer.{clip.plain_name(layer)}")
        place = place_of(name)
        return place and replace(place, name=PREFIX + place.name)

    def kohya(self, layer: str) -> Place:
        part, _, name = layer.partition(".")
        if part == "text_encoder":
            return Place(clip.plain_name(layer))
        if (place := place_of(name)) is None:
            raise Unsupported(layer, "kohya's tools have no such layer", "leave it out of the targets")
        return place


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
    return [Place(f"{place.name}.{leaf}", place.index, place.widths)]


def places(height: int, width: int) -> Tensor:
    """Where each token lies [height * width, 3]: 0, row, column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3)


def tiny_parts(seed: int, scheduler: Any, **settings: Any) -> Parts:
    """The parts of a pipeline for pictures of 64 pixels, with random weights; `settings` are of the transformer."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from transformers import CLIPTextModel

    tokenizer, tokenizer_2 = clip.tiny_tokenizer(), t5.tiny_tokenizer()
    marks = {name: value for name, value in settings.items() if name.startswith("_")}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = FluxTransformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(2, 2, 4),
            **{name: value for name, value in settings.items() if name not in marks},
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            norm_num_groups=4,
            sample_size=64,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        text_encoder, text_encoder_2 = CLIPTextModel(clip.tiny_config(tokenizer)), t5.tiny_encoder(tokenizer_2)
    transformer.register_to_config(**marks)
    return Parts.of(
        transformer=transformer,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        scheduler=scheduler,
    )


FAMILY = Flux()
