"""Stable Diffusion 3 and 3.5: a transformer of joint blocks, told by two CLIP text encoders and, if it is there, T5.

Esser et al. 2024, "Scaling rectified flow transformers for high-resolution image synthesis", arXiv 2403.03206.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lorastyle.bases import autoencoder, clip, presets, t5
from lorastyle.bases.family import Conditioning, Family, Place
from lorastyle.bases.flow import euler, flow
from lorastyle.bases.layout import Layout
from lorastyle.bases.loading import companion, folder_loaders, load_from_checkpoint
from lorastyle.bases.noise import Flow
from lorastyle.bases.packing import packed_count
from lorastyle.bases.parts import Parts
from lorastyle.errors import Unsupported
from lorastyle.recipe import Preset

PARTS = (
    *("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
    *("text_encoder_3", "tokenizer_3", "scheduler"),
)
OPTIONAL = ("text_encoder_3", "tokenizer_3")
PREFIX = "model.diffusion_model."  # of the transformer's tensors in files that hold more than the transformer
# How the tensors of the other parts begin in files that hold them.
HELD = {
    "vae": "first_stage_model.",
    "text_encoder": "text_encoders.clip_l.",
    "text_encoder_2": "text_encoders.clip_g.",
    "text_encoder_3": "text_encoders.t5xxl.",
}
LONGEST = 256  # tokens of T5, as many as the pipeline reads

QKV = (1, 1, 1)  # relative rows of what is one layer in the original code
ENDS = {
    "pos_embed.proj": Place("x_embedder.proj"),
    "context_embedder": Place("context_embedder"),
    "time_text_embed.timestep_embedder.linear_1": Place("t_embedder.mlp.0"),
    "time_text_embed.timestep_embedder.linear_2": Place("t_embedder.mlp.2"),
    "time_text_embed.text_embedder.linear_1": Place("y_embedder.mlp.0"),
    "time_text_embed.text_embedder.linear_2": Place("y_embedder.mlp.2"),
    "proj_out": Place("final_layer.linear"),
}
# norm1_context.linear is not here: in the last block its two halves stand the other way round in the original code, and
# the name does not tell which block is the last. The same holds for norm_out.linear.
BLOCK = {
    **{f"attn.to_{part}": Place("x_block.attn.qkv", index, QKV) for index, part in enumerate("qkv")},
    **{f"attn.add_{part}_proj": Place("context_block.attn.qkv", index, QKV) for index, part in enumerate("qkv")},
    **{f"attn2.to_{part}": Place("x_block.attn2.qkv", index, QKV) for index, part in enumerate("qkv")},
    "attn.to_out.0": Place("x_block.attn.proj"),
    "attn.to_add_out": Place("context_block.attn.proj"),
    "attn2.to_out.0": Place("x_block.attn2.proj"),
    "ff.net.0.proj": Place("x_block.mlp.fc1"),
    "ff.net.2": Place("x_block.mlp.fc2"),
    "ff_context.net.0.proj": Place("context_block.mlp.fc1"),
    "ff_context.net.2": Place("context_block.mlp.fc2"),
    "norm1.linear": Place("x_block.adaLN_modulation.1"),
}

ATTENTION = (r"transformer_blocks\.\d+\.attn2?\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)",)
MLP = (r"transformer_blocks\.\d+\.ff(?:_context)?\.net\.(?:0\.proj|2)",)
MODULATION = (r"transformer_blocks\.\d+\.norm1\.linear",)
TEXT_ATTENTION = {"text_encoder": (clip.ATTENTION,), "text_encoder_2": (clip.ATTENTION,)}
TEXT_ALL = {"text_encoder": (clip.ATTENTION, clip.MLP), "text_encoder_2": (clip.ATTENTION, clip.MLP)}


class StableDiffusion3(Family):
    """The family of Stable Diffusion 3; see :class:`lorastyle.bases.family.Family`."""

    name = "sd3"
    title = "Stable Diffusion 3 and 3.5"
    known_as: Mapping[str, str] = {"kohya": "sd3", "networks": "networks.lora_sd3"}
    pipeline_class = "StableDiffusion3Pipeline"
    roles: Mapping[str, Sequence[str]] = {
        "denoiser": ("transformer",),
        "autoencoder": ("vae",),
        "text": ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", *OPTIONAL),
    }
    adapted: Sequence[str] = ("transformer", "text_encoder", "text_encoder_2")
    targets: Mapping[str, Mapping[str, Sequence[str]]] = {
        "attention": {"transformer": ATTENTION, **TEXT_ATTENTION},
        "attention+mlp": {"transformer": (*ATTENTION, *MLP), **TEXT_ALL},
        "all": {"transformer": (*ATTENTION, *MLP, *MODULATION), **TEXT_ALL},
    }
    presets: Mapping[str, Preset] = presets.TRANSFORMER
    guidance = 4.5
    kohya_prefixes: Mapping[str, str] = {
        "transformer": "lora_unet",
        "text_encoder": "lora_te1",
        "text_encoder_2": "lora_te2",
    }

    # loading

    def recognises(self, layout: Layout) -> bool:
        if layout.tensors:
            tensors = {name.removeprefix(PREFIX) for name in layout.tensors}
            # Autoencoders that carry a transformer of this kind have no context; AuraFlow has other names.
            return {"joint_blocks.0.context_block.adaLN_modulation.1.weight", "x_embedder.proj.weight"} <= tensors
        transformer = layout.configs.get("transformer", {})
        return (
            transformer.get("_class_name") == "SD3Transformer2DModel"
            and layout.configs["model_index"].get("_class_name") == self.pipeline_class
            and transformer.get("in_channels", 16) == transformer.get("out_channels", 16)
        )

    def loaders(self, layout: Layout) -> Mapping[str, Callable[[], Any]]:
        if not layout.tensors:
            return folder_loaders(layout, _present(layout))
        held = ["transformer", *(part for part in HELD if self._holds(layout, part))]
        beside = companion(layout, "a checkpoint of Stable Diffusion 3 has no configurations and seldom all encoders")
        return {
            **folder_loaders(beside, [part for part in _present(beside) if part not in held]),
            **{part: partial(load_from_checkpoint, layout, part, PARTS, self.pipeline_class) for part in held},
        }

    def _holds(self, layout: Layout, part: str) -> bool:
        return any(name.startswith(HELD[part]) for name in layout.tensors)

    def tiny(self, seed: int) -> Parts:
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        return tiny_parts(seed, FlowMatchEulerDiscreteScheduler(shift=3.0))

    def pipeline(self, parts: Parts) -> Any:
        from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline

        return StableDiffusion3Pipeline(**{**dict.fromkeys(OPTIONAL), **parts})

    # what it is

    def architecture(self, parts: Parts) -> str:
        if not self.is_newer(parts):
            return "stable-diffusion-3-medium"
        large = parts["transformer"].config.num_layers > 24
        return "stable-diffusion-3-5-large" if large else "stable-diffusion-3-5-medium"

    def is_newer(self, parts: Parts) -> bool:
        """Whether it is 3.5, which normalises queries and keys."""
        return parts["transformer"].config.qk_norm is not None

    def usual_guidance(self, parts: Parts) -> float:
        return self.guidance if self.is_newer(parts) else 7.0

    def noise(self, parts: Parts) -> Flow:
        return flow(parts["scheduler"], packed_count)

    def scheduler(self, parts: Parts, steps: int, latents: Tensor) -> Any:
        return euler(parts["scheduler"], steps, latents, packed_count, spaced=False)

    def resolution(self, parts: Parts) -> int:
        return int(parts["transformer"].config.sample_size) * self.scale(parts)

    def divisor(self, parts: Parts) -> int:
        return int(parts["transformer"].config.patch_size) * self.scale(parts)

    def latent_shape(self, parts: Parts, width: int, height: int) -> tuple[int, ...]:
        scale = self.scale(parts)
        return (parts["transformer"].config.in_channels, height // scale, width // scale)

    def scale(self, parts: Parts) -> int:
        """How many pixels wide a latent is."""
        return 2 ** (len(parts["vae"].config.block_out_channels) - 1)

    def idle(self, parts: Parts, skip: int) -> Sequence[str]:
        # After the last block only the image is read: nothing of the prompt asks there any more.
        last = parts["transformer"].config.num_layers - 1
        return [rf"transformer\.transformer_blocks\.{last}\.attn\.add_q_proj"]

    # what it computes

    def encode_images(self, parts: Parts, pixels: Tensor) -> Tensor:
        return autoencoder.encoded(parts["vae"], pixels)

    def decode_latents(self, parts: Parts, latents: Tensor) -> Tensor:
        return autoencoder.decoded(parts["vae"], latents)

    def encode_prompts(self, parts: Parts, prompts: Sequence[str]) -> dict[str, Tensor]:
        return self.encode_prompts_skipping(parts, prompts, 0)

    def encode_prompts_skipping(self, parts: Parts, prompts: Sequence[str], skip: int) -> dict[str, Tensor]:
        """{"prompt": [batch, tokens, width], the hidden states of both CLIPs before their last 1 + `skip` layers, side
        by side, then those of T5; "pooled": [batch, width], what the CLIPs say of the whole}.

        Without T5 there are zeros in its place. Warns of words that are too many for T5, or for CLIP where it is alone.
        """
        if "text_encoder_3" in parts:
            longest, tokenized = min(parts["tokenizer_3"].model_max_length, LONGEST), clip.gist
            told = t5.states(parts["text_encoder_3"], parts["tokenizer_3"], prompts, longest)
        else:
            width, tokenized = parts["transformer"].config.joint_attention_dim, clip.tokenized
            told = torch.zeros(len(prompts), LONGEST, width, device=parts.device)
        states, pooled = [], []
        for part, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
            before, given = clip.states(parts[part], tokenized(parts[tokenizer], prompts), 1 + skip)
            states.append(before)
            pooled.append(given.text_embeds)
        both = torch.cat(states, -1)
        both = F.pad(both, (0, told.shape[-1] - both.shape[-1]))
        return {"prompt": torch.cat([both, told], 1), "pooled": torch.cat(pooled, -1)}

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        return parts["transformer"](
            hidden_states=latents,
            timestep=timesteps,
            encoder_hidden_states=conditioning["prompt"],
            pooled_projections=conditioning["pooled"],
        ).sample

    def tokens(self, parts: Parts, text: str) -> int:
        return clip.token_count(parts["tokenizer"], text)

    # names in other tools

    def original(self, layer: str) -> Place | None:
        part, _, name = layer.partition(".")
        if part in HELD:
            return Place(f"{HELD[part]}transformer.{clip.plain_name(layer)}")
        return place_of(name, PREFIX)

    def kohya(self, layer: str) -> Place:
        part, _, name = layer.partition(".")
        if part in HELD:
            return Place(clip.plain_name(layer))
        if (place := place_of(name)) is None:
            raise Unsupported(layer, "kohya's tools have no such layer", "leave it out of the targets")
        return place


def place_of(name: str, prefix: str = "") -> Place | None:
    """Where that layer of the transformer stands in the original code; None: nowhere by itself."""
    found = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", name)
    place, block = (BLOCK.get(found[2]), f"joint_blocks.{found[1]}.") if found else (ENDS.get(name), "")
    return place and Place(prefix + block + place.name, place.index, place.widths)


def _present(layout: Layout) -> list[str]:
    return [part for part in PARTS if part in layout.configs or part not in OPTIONAL]


def tiny_parts(seed: int, scheduler: Any) -> Parts:
    """The parts of a pipeline for pictures of 64 pixels, as that of 3.5 medium, with random weights."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection

    tokenizer, tokenizer_3 = clip.tiny_tokenizer(), t5.tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = SD3Transformer2DModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            num_layers=3,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=96,
            caption_projection_dim=32,
            pooled_projection_dim=80,
            pos_embed_max_size=8,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            norm_num_groups=4,
            sample_size=64,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        small = {"num_hidden_layers": 3, "hidden_act": "quick_gelu"}
        wider = {"num_hidden_layers": 3, "hidden_act": "gelu", "hidden_size": 48, "projection_dim": 48}
        text_encoder, text_encoder_2 = (
            CLIPTextModelWithProjection(clip.tiny_config(tokenizer, **settings)) for settings in (small, wider)
        )
        text_encoder_3 = t5.tiny_encoder(tokenizer_3, width=96)
    # The first has no projection in the original code, which is the same as this one.
    text_encoder.text_projection.weight.data = torch.eye(32)
    return Parts.of(
        transformer=transformer,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=clip.tiny_tokenizer(),
        text_encoder_3=text_encoder_3,
        tokenizer_3=tokenizer_3,
        scheduler=scheduler,
    )


FAMILY = StableDiffusion3()
