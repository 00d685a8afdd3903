"""pocket: the small base that ships with lorastyle, a Stable Diffusion pipeline for drawings of 128 pixels.

Its UNet's configuration carries the marker ``"_lorastyle_family": "pocket"``, which tells it from Stable Diffusion.
"""

from collections.abc import Mapping

from lorastyle.bases.family import Place
from lorastyle.bases.layout import MARKER, Layout
from lorastyle.bases.parts import Parts
from lorastyle.bases.stable_diffusion import CURVE, StableDiffusion, tiny_parts
from lorastyle.recipe import Preset, Suggestion

COMMON = {
    "rank": Suggestion(16, "enough for 128 pixels; rank 8 caught less of a style in the same time"),
    "batch": Suggestion(8, "steadies so high a learning rate"),
    "min_snr": Suggestion(5.0, "without it style comes sooner, and concepts go with it"),
    "flip": Suggestion(
        False, "the base draws each thing facing one way; mirrored pictures cost a fifth of the concepts"
    ),
}
SUBJECT = COMMON | {
    "targets": Suggestion("attention+mlp", "convolutions would redraw every prompt, not only the subject"),
    "learning_rate": Suggestion(
        2e-3, "so small a base bears twenty times the usual rate; half of it misses the likeness"
    ),
    "caption_dropout": Suggestion(0.05, "the trigger word, not the empty prompt, should call up the subject"),
    "preservation": Suggestion(6.0, "the weight at which prompts without the trigger word keep what the base draws"),
}
STYLE = COMMON | {
    "targets": Suggestion("all", "line and shading sit in the convolutions of so small a UNet"),
    "learning_rate": Suggestion(1.5e-3, "1e-3 leaves colour in the pictures, 2e-3 costs concepts"),
    "caption_dropout": Suggestion(0.1, "the style also shows without a word for it"),
}


class Pocket(StableDiffusion):
    """Stable Diffusion's loading and prediction with a detection and presets of its own."""

    name = "pocket"
    title = "pocket, the base that ships with lorastyle"
    presets: Mapping[str, Preset] = {
        "style": Preset(STYLE, 7, 150, 250, "140 steps leave colour behind; many more than 200 cost concepts"),
        "character": Preset(SUBJECT, 17, 250, 450, "200 steps show the figure in half of the pictures, 340 in all"),
        "object": Preset(SUBJECT, 15, 200, 300, "an object has fewer details than a character"),
    }
    guidance = 2.0
    not_applicable: Mapping[str, str] = {"load_single_file": "it has only ever been a folder"}

    def recognises(self, layout: Layout) -> bool:
        return False  # only its marker tells it from Stable Diffusion

    def architecture(self, parts: Parts) -> str:
        return "lorastyle-pocket"

    def original(self, layer: str) -> Place | None:
        return None  # it has only ever been a folder

    def tiny(self, seed: int) -> Parts:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        scheduler = DDIMScheduler(
            **CURVE,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
            clip_sample=False,
        )
        parts = tiny_parts(seed, 12, scheduler, {})
        parts["unet"].register_to_config(**{MARKER: self.name})
        return parts


FAMILY = Pocket()
