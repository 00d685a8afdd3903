"""SDXL and what is made from it (Pony, Illustrious, NoobAI): two text encoders, and a UNet that is told sizes.

Podell et al. 2023, "SDXL: improving latent diffusion models for high-resolution image synthesis", arXiv 2307.01952.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorastyle.bases import clip, unet
from lorastyle.bases.family import Conditioning, Frame, Place
from lorastyle.bases.layout import Layout, read_layout
from lorastyle.bases.loading import checkpoint_loaders, folder_loaders
from lorastyle.bases.parts import Parts
from lorastyle.bases.stable_diffusion import CURVE, FIRST, StableDiffusion, presets, tiny_unet, tiny_vae
from lorastyle.recipe import Preset, Suggestion

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")
ZEROS = "force_zeros_for_empty_prompt"
RANK = Suggestion(32, "a UNet three times as large as that of Stable Diffusion 1.x gains likeness beyond rank 16")
PREDICTS_V, ENDS_IN_NOISE = "v_pred", "ztsnr"  # empty tensors by which a checkpoint says so


class StableDiffusionXL(StableDiffusion):
    """The family of SDXL; see :class:`lorastyle.bases.family.Family`."""

    name = "sdxl"
    title = "SDXL"
    known_as: Mapping[str, str] = {"kohya": "sdxl_base_v1-0", "a1111": "SDXL"}
    inputs: Mapping[str, int] = {unet.READS_TEXT: 2048}
    pipeline_class = "StableDiffusionXLPipeline"
    parts = PARTS
    build = unet.Build()
    roles: Mapping[str, Sequence[str]] = {
        "denoiser": ("unet",),
        "autoencoder": ("vae",),
        "text": ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", ZEROS),
    }
    adapted: Sequence[str] = ("unet", "text_encoder", "text_encoder_2")
    targets: Mapping[str, Mapping[str, Sequence[str]]] = {
        name: {**patterns, "text_encoder_2": patterns["text_encoder"]}
        for name, patterns in StableDiffusion.targets.items()
    }
    presets: Mapping[str, Preset] = presets(RANK)
    guidance = 5.0
    kohya_prefixes: Mapping[str, str] = {
        "unet": "lora_unet",
        "text_encoder": "lora_te1",
        "text_encoder_2": "lora_te2",
    }

    # loading

    def recognises(self, layout: Layout) -> bool:
        if layout.tensors:
            # The refiner has one text encoder; an inpainting UNet reads a mask in further channels.
            texts = all(any(name.startswith(f"conditioner.embedders.{n}.") for name in layout.tensors) for n in (0, 1))
            return texts and layout.tensors.get(FIRST, ())[1:2] == (4,)
        denoiser, vae = layout.configs.get("unet", {}), layout.configs.get("vae", {})
        return (
            unet.usual(denoiser)
            and unet.even(denoiser)
            and denoiser.get("addition_embed_type") == "text_time"
            and denoiser.get("in_channels", 4) == vae.get("latent_channels", 4)
            and {"text_encoder", "text_encoder_2"} <= layout.configs.keys()
            and layout.configs["model_index"].get("text_encoder_2") == ["transformers", "CLIPTextModelWithProjection"]
        )

    def loaders(self, layout: Layout) -> Mapping[str, Callable[[], Any]]:
        if not layout.tensors:
            index = layout.configs["model_index"]
            return {**folder_loaders(layout, PARTS), ZEROS: partial(bool, index.get(ZEROS, True))}
        loaders = checkpoint_loaders(layout, PARTS, self.pipeline_class)
        return {
            **loaders,
            "scheduler": partial(_scheduler, loaders["scheduler"], layout.tensors),
            ZEROS: partial(_zeros_beside, layout),
        }

    def tiny(self, seed: int) -> Parts:
        from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        tokenizer = clip.tiny_tokenizer()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            denoiser = tiny_unet(
                4,
                block_out_channels=(16, 16, 32),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                use_linear_projection=True,
                cross_attention_dim=32 + 48,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + 48,
            )
            vae = tiny_vae(4)
            first = CLIPTextModel(clip.tiny_config(tokenizer, hidden_act="quick_gelu"))
            wider = {"hidden_size": 48, "projection_dim": 48, "hidden_act": "gelu"}  # by which a checkpoint's are told
            second = CLIPTextModelWithProjection(clip.tiny_config(tokenizer, **wider))
        vae.register_to_config(scaling_factor=0.13025)
        return Parts.of(
            unet=denoiser,
            vae=vae,
            text_encoder=first,
            tokenizer=tokenizer,
            text_encoder_2=second,
            tokenizer_2=clip.tiny_tokenizer(),
            scheduler=EulerDiscreteScheduler(**CURVE, timestep_spacing="leading"),
            **{ZEROS: True},
        )

    def pipeline(self, parts: Parts) -> Any:
        from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

        return StableDiffusionXLPipeline(**parts, add_watermarker=False)

    # what it is

    def architecture(self, parts: Parts) -> str:
        return "stable-diffusion-xl-v1-base"

    # what it computes

    def encode_prompts_skipping(self, parts: Parts, prompts: Sequence[str], skip: int) -> dict[str, Tensor]:
        """What both encoders hand their last layer but `skip` (the usual is what they hand the very last), side by
        side, and what the second says of the whole: {"prompt": [batch, tokens, width], "pooled": [batch, width]}.

        Where the base says so, the empty prompt is all zeros.
        """
        told = [clip.tokenized(parts[name], prompts) for name in ("tokenizer", "tokenizer_2")]
        first, _ = clip.states(parts["text_encoder"], told[0], skip + 1)
        second, given = clip.states(parts["text_encoder_2"], told[1], skip + 1)
        prompt, pooled = torch.cat([first, second], dim=-1), given.text_embeds
        if parts[ZEROS]:
            said = torch.tensor([bool(text) for text in prompts], device=pooled.device)[:, None]
            prompt, pooled = torch.where(said[..., None], prompt, 0.0), torch.where(said, pooled, 0.0)
        return {"prompt": prompt, "pooled": pooled}

    def idle(self, parts: Parts, skip: int) -> Sequence[str]:
        # The second encoder's last layers are read for what it says of the whole.
        return clip.last_layers("text_encoder", parts["text_encoder"], skip + 1)

    def geometry(self, frames: Sequence[Frame]) -> dict[str, Tensor]:
        """Heights before widths, tops before lefts: {"sizes": [batch, 6]} (Podell et al. 2023, section 2.2)."""
        pairs = [(frame.original, frame.corner, frame.size) for frame in frames]
        return {"sizes": torch.tensor([[y for pair in row for y in reversed(pair)] for row in pairs]).float()}

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        told = {"text_embeds": conditioning["pooled"], "time_ids": conditioning["sizes"]}
        prompt = conditioning["prompt"]
        return parts["unet"](latents, timesteps, encoder_hidden_states=prompt, added_cond_kwargs=told).sample

    # names elsewhere

    def original_text(self, layer: str) -> Place | None:
        if layer.startswith("text_encoder_2."):
            return clip.open_clip_place("conditioner.embedders.1.model", layer)
        return Place(f"conditioner.embedders.0.transformer.{clip.plain_name(layer)}")

    def kohya(self, layer: str) -> Place:
        """Of SDXL the original blocks of the UNet, unlike of Stable Diffusion 1 and 2."""
        part, _, path = layer.partition(".")
        name = unet.original_name(path, self.build) if part == "unet" else clip.plain_name(layer)
        return Place(name or path)


def _scheduler(load: Callable[[], Any], tensors: Mapping[str, Any]) -> Any:
    """The scheduler of a single checkpoint, which can say by a tensor's name that it predicts v, and that its noise
    ends in nothing but noise."""
    scheduler = load()
    if PREDICTS_V not in tensors:
        return scheduler
    changes: dict[str, Any] = {"prediction_type": "v_prediction"}
    if ENDS_IN_NOISE in tensors:
        changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return type(scheduler).from_config(scheduler.config, **changes)


def _zeros_beside(layout: Layout) -> bool:
    """What the configurations beside a checkpoint say of the empty prompt; without any what SDXL's own say."""
    beside = layout.path.with_suffix("")
    if not (beside / "model_index.json").is_file():
        return True
    return bool(read_layout(beside).configs["model_index"].get(ZEROS, True))


FAMILY = StableDiffusionXL()
