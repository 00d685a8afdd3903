"""Stable Diffusion 2.x: a UNet that reads OpenCLIP ViT-H and predicts v (at 768 pixels) or the noise (at 512)."""

from collections.abc import Mapping

from lorastyle.bases import clip, unet
from lorastyle.bases.family import Place
from lorastyle.bases.layout import Layout
from lorastyle.bases.parts import Parts
from lorastyle.bases.stable_diffusion import CURVE, FIRST, StableDiffusion, presets, tiny_parts
from lorastyle.recipe import Preset, Suggestion

RANK = Suggestion(16, "a UNet of the size of Stable Diffusion 1.x, where rank 32 learns backgrounds by heart")


class StableDiffusion2(StableDiffusion):
    """The family of Stable Diffusion 2.x; see :class:`lorastyle.bases.family.Family`."""

    name = "sd2"
    title = "Stable Diffusion 2.x"
    known_as: Mapping[str, str] = {"kohya": "sd_v2", "a1111": "SD2"}
    inputs: Mapping[str, int] = {unet.READS_TEXT: 1024}
    presets: Mapping[str, Preset] = presets(RANK)

    def recognises(self, layout: Layout) -> bool:
        if layout.tensors:
            # Inpainting and depth UNets read more channels than there are latents.
            text = any(name.startswith("cond_stage_model.model.") for name in layout.tensors)
            return text and layout.tensors.get(FIRST, ())[1:2] == (4,)
        denoiser, vae = layout.configs.get("unet", {}), layout.configs.get("vae", {})
        return (
            unet.usual(denoiser)
            and denoiser.get("in_channels", 4) == vae.get("latent_channels", 4)
            and not denoiser.get("addition_embed_type")
            and bool(denoiser.get("use_linear_projection"))  # in 1.x the projections around attention are convolutions
            and layout.configs["model_index"].get("text_encoder") == ["transformers", "CLIPTextModel"]
            and "text_encoder_2" not in layout.configs
        )

    def architecture(self, parts: Parts) -> str:
        predicts_v = self.noise(parts).prediction == "v_prediction"
        return "stable-diffusion-v2-768-v" if predicts_v else "stable-diffusion-v2-512"

    def original_text(self, layer: str) -> Place | None:
        return clip.open_clip_place("cond_stage_model.model", layer)

    def tiny(self, seed: int) -> Parts:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        scheduler = DDIMScheduler(**CURVE, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False)
        return tiny_parts(seed, 4, scheduler, {"hidden_act": "gelu"}, use_linear_projection=True)


FAMILY = StableDiffusion2()
