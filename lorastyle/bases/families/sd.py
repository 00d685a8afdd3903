"""Stable Diffusion 1.x and 2.x: a UNet that reads one CLIP text encoder and predicts the noise or v.

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorastyle.bases.family import Family
from lorastyle.bases.layout import Layout
from lorastyle.bases.loading import checkpoint_loaders, folder_loaders
from lorastyle.bases.noise import Diffusion
from lorastyle.bases.parts import Parts
from lorastyle.recipe import Preset, Suggestion

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")

ATTENTION = r".*\.attn[12]\.to_(?:q|k|v|out\.0)"
MLP = (r".*\.ff\.net\.(?:0\.proj|2)", r".*\.attentions\.\d+\.proj_(?:in|out)")
CONVOLUTIONS = (
    r".*\.resnets\.\d+\.(?:conv1|conv2|conv_shortcut|time_emb_proj)",
    r".*\.(?:down|up)samplers\.\d+\.conv",
)
# transformers before 5.6 had all layers of the text encoder under text_model.
TEXT_ATTENTION = r"(?:text_model\.)?encoder\.layers\.\d+\.self_attn\.(?:q|k|v|out)_proj"
TEXT_MLP = r"(?:text_model\.)?encoder\.layers\.\d+\.mlp\.fc[12]"

RATE = Suggestion(1e-4, "the usual rate for LoRA with AdamW on Stable Diffusion")
MIN_SNR = Suggestion(5.0, "trains shapes and details at an even pace (Hang et al. 2023)")
SUBJECT = {
    "targets": Suggestion("attention+mlp", "shapes sit in the MLPs too; attention alone gets little beyond colours"),
    "rank": Suggestion(16, "on Stable Diffusion 1.x rank 32 learns backgrounds by heart before it gains likeness"),
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


class StableDiffusion(Family):
    """The family of Stable Diffusion 1.x and 2.x; see :class:`lorastyle.bases.family.Family`."""

    name = "sd"
    title = "Stable Diffusion 1.x and 2.x"
    pipeline_class = "StableDiffusionPipeline"
    roles: Mapping[str, Sequence[str]] = {
        "denoiser": ("unet",),
        "autoencoder": ("vae",),
        "text": ("text_encoder", "tokenizer"),
    }
    adapted: Sequence[str] = ("unet", "text_encoder")
    targets: Mapping[str, Mapping[str, Sequence[str]]] = {
        "attention": {"unet": (ATTENTION,), "text_encoder": (TEXT_ATTENTION,)},
        "attention+mlp": {"unet": (ATTENTION, *MLP), "text_encoder": (TEXT_ATTENTION, TEXT_MLP)},
        "all": {"unet": (ATTENTION, *MLP, *CONVOLUTIONS), "text_encoder": (TEXT_ATTENTION, TEXT_MLP)},
    }
    presets: Mapping[str, Preset] = {
        "style": Preset(STYLE, 30, 500, 2000, "a style needs few looks at each image, and copies motifs beyond 2,000"),
        "character": Preset(
            SUBJECT | {"caption_dropout": LITTLE_DROPOUT},
            steps_per_image=80,
            least_steps=800,
            most_steps=3000,
            steps_reason="a face takes many looks; beyond 3,000 steps its poses and clothes stick to it",
        ),
        "object": Preset(SUBJECT, 100, 500, 1500, "beyond 1,500 steps an object's surroundings stick to it"),
    }
    guidance = 7.5

    # loading

    def recognises(self, layout: Layout) -> bool:
        if layout.tensors:
            # An inpainting UNet also reads a mask; its first layer has more channels than there are latents.
            first = layout.tensors.get("model.diffusion_model.input_blocks.0.0.weight", ())
            return first[1:2] == (4,) and any(name.startswith("cond_stage_model.") for name in layout.tensors)
        unet, vae = layout.configs.get("unet", {}), layout.configs.get("vae", {})
        return (
            unet.get("_class_name") == "UNet2DConditionModel"
            and unet.get("in_channels", 4) == vae.get("latent_channels", 4)
            and not unet.get("addition_embed_type")
            and layout.configs["model_index"].get("text_encoder") == ["transformers", "CLIPTextModel"]
            and "text_encoder_2" not in layout.configs
        )

    def loaders(self, layout: Layout) -> Mapping[str, Callable[[], Any]]:
        if layout.tensors:
            return checkpoint_loaders(layout, PARTS, "StableDiffusionPipeline")
        return folder_loaders(layout, PARTS)

    def tiny(self, seed: int) -> Parts:
        from diffusers.schedulers.scheduling_pndm import PNDMScheduler

        curve = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        return tiny_parts(seed, 4, PNDMScheduler(**curve, skip_prk_steps=True, steps_offset=1))

    def pipeline(self, parts: Parts) -> Any:
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

        absent: Any = None
        return StableDiffusionPipeline(
            **parts, safety_checker=absent, feature_extractor=absent, requires_safety_checker=False
        )

    # what it is

    def architecture(self, parts: Parts) -> str:
        if parts["unet"].config.cross_attention_dim != 1024:
            return "stable-diffusion-v1"
        predicts_v = self.noise(parts).prediction == "v_prediction"
        return "stable-diffusion-v2-768-v" if predicts_v else "stable-diffusion-v2-512"

    def noise(self, parts: Parts) -> Diffusion:
        return Diffusion.from_scheduler(parts["scheduler"])

    def scheduler(self, parts: Parts, steps: int, latents: Tensor) -> Any:
        """DDIM (Song et al. 2020, arXiv 2010.02502) in the base's own settings: each step needs only the last one."""
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        # Latents are not bounded by -1..1 as pixels are, which is what clip_sample is for.
        scheduler = DDIMScheduler.from_config(parts["scheduler"].config, clip_sample=False)
        scheduler.set_timesteps(steps, device=latents.device)
        return scheduler

    def resolution(self, parts: Parts) -> int:
        return int(parts["unet"].config.sample_size) * self.scale(parts)

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
        """The text encoder's last hidden states, {"prompt": [batch, tokens, width]}; warns of words it cannot read."""
        tokenizer, encoder = parts["tokenizer"], parts["text_encoder"]
        longest = tokenizer.model_max_length
        for prompt in prompts:
            if (count := self.tokens(parts, prompt)) > longest - 2:
                warnings.warn(f"only the first {longest - 2} of {count} tokens are read of: {prompt}", stacklevel=3)
        told = tokenizer(list(prompts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
        masked = getattr(encoder.config, "use_attention_mask", False)
        mask = told.attention_mask.to(encoder.device) if masked else None
        return {"prompt": encoder(told.input_ids.to(encoder.device), attention_mask=mask).last_hidden_state}

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Mapping[str, Tensor]) -> Tensor:
        return parts["unet"](latents, timesteps, encoder_hidden_states=conditioning["prompt"]).sample

    def tokens(self, parts: Parts, text: str) -> int:
        return len(parts["tokenizer"](text, add_special_tokens=False).input_ids)


def tiny_parts(seed: int, latent_channels: int, scheduler: Any, **marks: Any) -> Parts:
    """The parts of a pipeline for pictures of 64 pixels, with random weights; `marks` go into the UNet's config."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = tiny_tokenizer()
    end, start = tokenizer.eos_token_id, tokenizer.bos_token_id
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            attention_head_dim=4,
            cross_attention_dim=32,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=latent_channels,
            norm_num_groups=4,
            sample_size=64,
        )
        config = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            projection_dim=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=start,
            eos_token_id=end,
            pad_token_id=end,
        )
        text_encoder = CLIPTextModel(config)
    unet.register_to_config(**marks)
    return Parts.of(unet=unet, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler)


def tiny_tokenizer() -> Any:
    """A CLIP tokenizer of 24 tokens whose tokens are bytes, and "cat"."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    merges: Any = [("c", "a"), ("ca", "t</w>")]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=24)


FAMILY = StableDiffusion()
