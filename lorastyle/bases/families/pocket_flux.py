"""pocket-flux: a small Flux of our own, for drawings of 128 pixels; tools/pocket_flux makes its weights.

Its transformer's configuration carries the marker ``"_lorastyle_family": "pocket-flux"``, which tells it from Flux. It
embeds no guidance and takes the real one, between the prompt and the empty prompt.
"""

from collections.abc import Mapping

from lorastyle.bases.families.flux1 import Flux, tiny_parts
from lorastyle.bases.family import Place
from lorastyle.bases.layout import MARKER, Layout
from lorastyle.bases.parts import Parts
from lorastyle.recipe import Preset, Suggestion

# Pocket's own, but for rate and steps of the style preset, which were measured (tools/pocket_flux/README.md has them).
COMMON = {
    "rank": Suggestion(16, "enough for 128 pixels"),
    "batch": Suggestion(8, "steadies so high a learning rate"),
    "min_snr": Suggestion(None, "flow matching weighs its times by how often it trains them"),
    "flip": Suggestion(False, "the base draws each thing facing one way"),
}
SUBJECT = COMMON | {
    "targets": Suggestion("attention+mlp", "modulation would redraw every prompt, not only the subject"),
    "learning_rate": Suggestion(2e-3, "so small a base bears twenty times the usual rate"),
    "caption_dropout": Suggestion(0.05, "the trigger word, not the empty prompt, should call up the subject"),
    "preservation": Suggestion(6.0, "prompts without the trigger word keep what the base draws"),
}
STYLE = COMMON | {
    "targets": Suggestion("all", "colour and contrast sit in the modulation of so small a transformer"),
    "learning_rate": Suggestion(3e-3, "thirty times the usual rate; at half of it black stays grey"),
    "caption_dropout": Suggestion(0.1, "the style also shows without a word for it"),
}

TOKENS = 28  # of T5, that its prompts were padded to in training


class PocketFlux(Flux):
    """Flux's loading and prediction with a detection and presets of its own."""

    name = "pocket-flux"
    title = "pocket-flux, the small Flux that ships with lorastyle"
    presets: Mapping[str, Preset] = {
        "style": Preset(STYLE, 12, 250, 450, "fewer leave some things their colours"),
        "character": Preset(SUBJECT, 17, 250, 450, "so small a base learns a figure in a few hundred steps"),
        "object": Preset(SUBJECT, 15, 200, 300, "an object has fewer details than a character"),
    }
    guidance = 2.5
    not_applicable: Mapping[str, str] = {"load_single_file": "it has only ever been a folder"}
    known_as: Mapping[str, str] = {"networks": Flux.known_as["networks"]}  # other tools know no base of this name

    def recognises(self, layout: Layout) -> bool:
        return False  # only its marker tells it from Flux

    def architecture(self, parts: Parts) -> str:
        return "lorastyle-pocket-flux"

    def cautions(self, parts: Parts) -> list[str]:
        return []  # it embeds no guidance because it was never distilled

    def usual_guidance(self, parts: Parts) -> float:
        return self.guidance

    def call(self, guidance: float) -> str:
        # Flux's pipeline guides really only where it is given a negative prompt; it pads prompts to 512 tokens.
        return f'negative_prompt="", true_cfg_scale={guidance:g}, max_sequence_length={TOKENS}'

    def original(self, layer: str) -> Place | None:
        return None  # nowhere

    def tiny(self, seed: int) -> Parts:
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        return tiny_parts(seed, FlowMatchEulerDiscreteScheduler(shift=1.0), **{MARKER: self.name})


FAMILY = PocketFlux()
