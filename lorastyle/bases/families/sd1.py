"""Stable Diffusion 1.x: a UNet that reads the text encoder of CLIP ViT-L and predicts the noise."""

from collections.abc import Mapping

from lorastyle.bases import unet
from lorastyle.bases.layout import Layout
from lorastyle.bases.parts import Parts
from lorastyle.bases.stable_diffusion import CURVE, FIRST, StableDiffusion, presets, tiny_parts
from lorastyle.recipe import Preset, Suggestion

RANK = Suggestion(16, "on Stable Diffusion 1.x rank 32 learns backgrounds by heart before it gains likeness")


class StableDiffusion1(StableDiffusion):
    """The family of Stable Diffusion 1.x; see :class:`lorastyle.bases.family.Family`."""

    name = "sd1"
    title = "Stable Diffusion 1.x"
    known_as: Mapping[str, str] = {"kohya": "sd_v1", "a1111": "SD1"}
    inputs: Mapping[str, int] = {unet.READS_TEXT: 768}
    presets: Mapping[str, Preset] = presets(RANK)

    def recognises(self, layout: Layout) -> bool:
        if layout.tensors:
            # An inpainting UNet also reads a mask; its first layer has more channels than there are latents.
            text = any(name.startswith("cond_stage_model.transformer.") for name in layout.tensors)
            return text and layout.tensors.get(FIRST, ())[1:2] == (4,)
        denoiser, vae = layout.configs.get("unet", {}), layout.configs.get("vae", {})
        return (
            unet.usual(denoiser)
            and denoiser.get("in_channels", 4) == vae.get("latent_channels", 4)
            and not denoiser.get("addition_embed_type")
            and not denoiser.get("use_linear_projection")
            and layout.configs["model_index"].get("text_encoder") == ["transformers", "CLIPTextModel"]
            and "text_encoder_2" not in layout.configs
        )

    def architecture(self, parts: Parts) -> str:
        return "stable-diffusion-v1"

    def tiny(self, seed: int) -> Parts:
        from diffusers.schedulers.scheduling_pndm import PNDMScheduler

        return tiny_parts(seed, 4, PNDMScheduler(**CURVE, skip_prk_steps=True), {"hidden_act": "quick_gelu"})


FAMILY = StableDiffusion1()
