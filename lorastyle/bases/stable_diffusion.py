"""What the families of Stable Diffusion share: a UNet that predicts the noise or v for latents of 4 channels.

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752.
"""

import copy
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorastyle.bases import clip, unet
from lorastyle.bases.family import Conditioning, Family, Place
from lorastyle.bases.layout import Layout
from lorastyle.bases.loading import checkpoint_loaders, folder_loaders
from lorastyle.bases.noise import Diffusion
from lorastyle.bases.parts import Parts
from lorastyle.errors import BadInput
from lorastyle.recipe import Preset, Suggestion

FIRST = "model.diffusion_model.input_blocks.0.0.weight"
CURVE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}

RATE = Suggestion(1e-4, "the usual rate for LoRA with AdamW on Stable Diffusion")
MIN_SNR = Suggestion(5.0, "trains shapes and details at an even pace (Hang et al. 2023)")
SUBJECT = {
    "targets": Suggestion("attention+mlp", "shapes sit in the MLPs too; attention alone gets little beyond colours"),
    "rank": Suggestion(16, "an object has few details, and a higher rank learns its surroundings by heart"),
    "learning_rate": RATE,
    "min_snr": MIN_SNR,
    "flip": Suggestion(False, "a subject is seldom symmetric"),
    "preservation": Suggestion(1.0, "prompts without the trigger word keep what the base draws"),
}
STYLE = {
    "targets": Suggestion("attention", "attention layers carry most of a style and leave shapes alone"),
    "rank": Suggestion(16, "enough for most styles, too little to learn the images by heart"),
    "learning_rate": RATE,
    "min_snr": MIN_SNR,
    "caption_dropout": Suggestion(0.1, "the style also shows without a word for it"),
    "flip": Suggestion(True, "a style is the same mirrored, and this doubles the images"),
}
LITTLE_DROPOUT = Suggestion(0.05, "the trigger word, not the empty prompt, should call up the character")


def presets(character_rank: Suggestion) -> dict[str, Preset]:
    """The presets for each purpose; only the rank for characters differs between these families."""
    return {
        "style": Preset(STYLE, 30, 500, 2000, "a style needs few looks at each image, and copies motifs beyond 2,000"),
        "character": Preset(
            SUBJECT | {"caption_dropout": LITTLE_DROPOUT, "rank": character_rank},
            steps_per_image=80,
            least_steps=800,
            most_steps=3000,
            steps_reason="a face takes many looks; beyond 3,000 steps its poses and clothes stick to it",
        ),
        "object": Preset(SUBJECT, 100, 500, 1500, "beyond 1,500 steps an object's surroundings stick to it"),
    }


class StableDiffusion(Family):
    """What these families do alike; one text encoder, unless they say otherwise."""

    pipeline_class = "StableDiffusionPipeline"
    parts: Sequence[str] = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    build = unet.Build(plain=frozenset({0}))  # of the UNets of the published bases
    roles: Mapping[str, Sequence[str]] = {
        "denoiser": ("unet",),
        "autoencoder": ("vae",),
        "text": ("text_encoder", "tokenizer"),
    }
    adapted: Sequence[str] = ("unet", "text_encoder")
    targets: Mapping[str, Mapping[str, Sequence[str]]] = {
        "attention": {"unet": (unet.ATTENTION,), "text_encoder": (clip.ATTENTION,)},
        "attention+mlp": {"unet": (unet.ATTENTION, *unet.MLP), "text_encoder": (clip.ATTENTION, clip.MLP)},
        "all": {
            "unet": (unet.ATTENTION, *unet.MLP, *unet.CONVOLUTIONS),
            "text_encoder": (clip.ATTENTION, clip.MLP),
        },
    }
    guidance = 7.5
    kohya_prefixes: Mapping[str, str] = {"unet": "lora_unet", "text_encoder": "lora_te"}

    # loading

    def loaders(self, layout: Layout) -> Mapping[str, Callable[[], Any]]:
        if layout.tensors:
            return checkpoint_loaders(layout, self.parts, self.pipeline_class)
        return folder_loaders(layout, self.parts)

    def pipeline(self, parts: Parts) -> Any:
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

        absent: Any = None
        return StableDiffusionPipeline(
            **parts, safety_checker=absent, feature_extractor=absent, requires_safety_checker=False
        )

    # what it is

    def noise(self, parts: Parts) -> Diffusion:
        return Diffusion.from_scheduler(parts["scheduler"])

    def zero_terminal_snr(self, parts: Parts) -> Any:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        if self.noise(parts).prediction == "epsilon":
            what = "this base predicts the noise, which says nothing where there is nothing but noise"
            raise BadInput("recipe.zero_terminal_snr", what, "leave it out, or use a base that predicts v")
        # Lin et al. also start sampling at the very last timestep ("trailing").
        changes = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False}
        return DDIMScheduler.from_config(parts["scheduler"].config, **changes)

    def scheduler(self, parts: Parts, steps: int, latents: Tensor) -> Any:
        """DDIM (Song et al. 2020, arXiv 2010.02502) in the base's own settings: each step needs only the last one."""
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        # Latents are not bounded by -1..1 as pixels are, which is what clip_sample is for.
        scheduler = DDIMScheduler.from_config(parts["scheduler"].config, clip_sample=False)
        scheduler.set_timesteps(steps, device=latents.device)
        return scheduler

    def resolution(self, parts: Parts) -> int:
        told = parts["unet"].config.sample_size  # of latents: a side, height and width, or nothing
        if told is None:
            return int(parts["vae"].config.sample_size)
        return math.isqrt(math.prod([told, told] if isinstance(told, int) else told)) * self.scale(parts)

    def divisor(self, parts: Parts) -> int:
        return self.scale(parts) * 2 ** (len(parts["unet"].config.block_out_channels) - 1)

    def latent_shape(self, parts: Parts, width: int, height: int) -> tuple[int, ...]:
        scale = self.scale(parts)
        return (parts["unet"].config.in_channels, height // scale, width // scale)

    def scale(self, parts: Parts) -> int:
        """How many pixels wide a latent is."""
        return 2 ** (len(parts["vae"].config.block_out_channels) - 1)

    # what it computes

    def encode_images(self, parts: Parts, pixels: Tensor) -> Tensor:
        vae = parts["vae"]
        return vae.config.scaling_factor * vae.encode(pixels).latent_dist.mode()

    def decode_latents(self, parts: Parts, latents: Tensor) -> Tensor:
        vae = parts["vae"]
        return vae.decode(latents / vae.config.scaling_factor).sample

    def encode_prompts(self, parts: Parts, prompts: Sequence[str]) -> dict[str, Tensor]:
        return self.encode_prompts_skipping(parts, prompts, 0)

    def encode_prompts_skipping(self, parts: Parts, prompts: Sequence[str], skip: int) -> dict[str, Tensor]:
        """The hidden states before the last `skip` layers, normalised, {"prompt": [batch, tokens, width]}."""
        encoder, told = parts["text_encoder"], clip.tokenized(parts["tokenizer"], prompts)
        masked = getattr(encoder.config, "use_attention_mask", False)
        mask = told.attention_mask.to(encoder.device) if masked else None
        before, given = clip.states(encoder, told, skip, attention_mask=mask)
        if not skip:
            return {"prompt": given.last_hidden_state}
        return {"prompt": getattr(encoder, "text_model", encoder).final_layer_norm(before)}

    def idle(self, parts: Parts, skip: int) -> Sequence[str]:
        return clip.last_layers("text_encoder", parts["text_encoder"], skip)

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        return parts["unet"](latents, timesteps, encoder_hidden_states=conditioning["prompt"]).sample

    def tokens(self, parts: Parts, text: str) -> int:
        return clip.token_count(parts["tokenizer"], text)

    # names elsewhere

    def built(self, names: Iterable[str]) -> Family:
        build = self.build.told_by(names)
        return self if build == self.build else _rebuilt(self, build)

    def original(self, layer: str) -> Place | None:
        part, _, path = layer.partition(".")
        if part != "unet":
            return self.original_text(layer)
        name = unet.original_name(path, self.build)
        return Place(f"model.diffusion_model.{name}") if name else None

    def original_text(self, layer: str) -> Place | None:
        """Where a layer of a text encoder stands in single-file checkpoints."""
        return Place(f"cond_stage_model.transformer.{clip.plain_name(layer)}")

    def kohya(self, layer: str) -> Place:
        part, _, path = layer.partition(".")
        return Place(path if part == "unet" else clip.plain_name(layer))


@functools.cache
def _rebuilt(family: StableDiffusion, build: unet.Build) -> StableDiffusion:
    other = copy.copy(family)
    other.build = build
    return other


def tiny_unet(channels: int, **settings: Any) -> Any:
    """A UNet for latents of 8 x 8: the outer and the inner level of the real one, and random weights."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    small = {
        "sample_size": 8,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 2,
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**small | settings)


def tiny_vae(channels: int) -> Any:
    """An autoencoder that makes one latent of 8 x 8 pixels, with random weights."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
    )


def tiny_parts(seed: int, channels: int, scheduler: Any, encoder: Mapping[str, Any], **denoiser: Any) -> Parts:
    """The parts of a pipeline with one text encoder for pictures of 64 pixels, with random weights."""
    from transformers import CLIPTextModel

    tokenizer = clip.tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = tiny_unet(channels, **denoiser)
        vae = tiny_vae(channels)
        text_encoder = CLIPTextModel(clip.tiny_config(tokenizer, **encoder))
    return Parts.of(unet=made, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler)
