"""What a model family must tell, and the families there are."""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from lorastyle.bases import families as folder
from lorastyle.bases.layout import Layout
from lorastyle.bases.noise import Noise
from lorastyle.bases.parts import Parts
from lorastyle.errors import BadInput
from lorastyle.recipe import Preset

Conditioning = Mapping[str, Tensor]


@dataclass(frozen=True)
class Frame:
    """How a picture came to its size, all in pixels: (width, height) of the original, the left top corner of the crop
    in the scaled original, and (width, height) of the picture itself. A picture that is drawn was never cropped."""

    original: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def drawn(cls, width: int, height: int) -> "Frame":
        return cls((width, height), (0, 0), (width, height))


@dataclass(frozen=True)
class Place:
    """Where a layer's weight stands in the files of other tools.

    name: of the module there. Where several of our layers are one fused module there, `widths` are the relative
    numbers of output rows of all of them in order, and `index` says which of them this layer is. ending: what follows
    the module's name in that of its weight.
    """

    name: str
    index: int = 0
    widths: tuple[int, ...] = (1,)
    ending: str = ".weight"


class Family(Protocol):
    """Everything that is particular to one family of bases.

    A family has no state: `parts` are those of the base it is asked about. Families inherit from this class; what has
    a body here is what most of them do.
    """

    name: str
    """As in adapter files, and in the marker of bases that look like another family's."""

    title: str
    """For people."""

    pipeline_class: str
    """The name of its pipeline's class in diffusers."""

    roles: Mapping[str, Sequence[str]]
    """The parts that make up the "denoiser", the "autoencoder" and what reads the "text"; a base may lack some."""

    adapted: Sequence[str]
    """The parts that can carry adapters, by the names they have in adapter files; the denoiser first. A base may lack
    some of the others."""

    targets: Mapping[str, Mapping[str, Sequence[str]]]
    """For each preset of layers and each adapted part the patterns (regular expressions that match a whole dotted
    name) of its layers."""

    presets: Mapping[str, Preset]
    """For each purpose what it suggests for a recipe."""

    kohya_prefixes: Mapping[str, str] = {"transformer": "lora_unet", "text_encoder": "lora_te1"}
    """For each adapted part how the names of its layers begin in adapters for kohya's tools."""

    not_applicable: Mapping[str, str] = {}
    """What bases of this family cannot do of what the report on families tries, with the reason for each."""

    guidance: float
    """The usual strength of classifier-free guidance."""

    known_as: Mapping[str, str] = {}
    """What other tools call the family: "kohya" in `ss_base_model_version`, "a1111" as "sd version", and
    "networks", the module of kohya's tools that makes its adapters."""

    inputs: Mapping[str, int] = {}
    """For layers, by patterns of their names, how many inputs they have in the published bases: it tells adapters apart
    whose layers are called the same as in another family."""

    spellings: Mapping[str, str] = {}
    """For tools that read adapters of this family in other names than usual: "kohya" or "diffusers"."""

    def recognises(self, layout: Layout) -> bool:
        """Whether a base laid out like this, without a marker, is of this family."""

    def loaders(self, layout: Layout) -> Mapping[str, Callable[[], Any]]:
        """For each part how to load it, in the numbers that `layout` asks for; loading raises BadFile where a file
        cannot be used."""

    def tiny(self, seed: int) -> Parts:
        """A base of the real classes with few, random weights, for tests."""

    def pipeline(self, parts: Parts) -> Any:
        """The diffusers pipeline made of these very parts."""

    def architecture(self, parts: Parts) -> str:
        """The architecture's identifier in the terms of ModelSpec 1.0.1."""

    def noise(self, parts: Parts) -> Noise:
        """How its latents are noised and what it predicts."""

    def zero_terminal_snr(self, parts: Parts) -> Any:
        """The base's scheduler, but with noise that ends in nothing but noise (Lin et al. 2023, arXiv 2305.08891).

        Raises BadInput where the noise does so already or the base could not be trained so.
        """
        what = f"the noise of {self.title} ends in nothing but noise anyway"
        raise BadInput("recipe.zero_terminal_snr", what, "leave it out")

    def scheduler(self, parts: Parts, steps: int, latents: Tensor) -> Any:
        """A new deterministic diffusers sampler, set for that many steps from noise like `latents` [batch, ...]."""

    def resolution(self, parts: Parts) -> int:
        """The side in pixels of the square pictures it was trained on."""

    def divisor(self, parts: Parts) -> int:
        """What both sides of a picture, in pixels, must be a multiple of."""

    def latent_shape(self, parts: Parts, width: int, height: int) -> tuple[int, ...]:
        """The shape of one picture's latents, without the batch."""

    def encode_images(self, parts: Parts, pixels: Tensor) -> Tensor:
        """Pixels [batch, 3, height, width] in -1..1 to latents [batch, ...] in the scale of the denoiser."""

    def decode_latents(self, parts: Parts, latents: Tensor) -> Tensor:
        """Latents [batch, ...] to pixels [batch, 3, height, width], about -1..1."""

    def encode_prompts(self, parts: Parts, prompts: Sequence[str]) -> dict[str, Tensor]:
        """What `predict` needs to know of the prompts, tensors [batch, ...] by name."""

    def encode_prompts_skipping(self, parts: Parts, prompts: Sequence[str], skip: int) -> dict[str, Tensor]:
        """The same without the last `skip` layers of the CLIP text encoders ("clip skip").

        Raises BadInput where they have no more layers than that, or where prompts are read by another encoder.
        """
        what = f"it is {skip}, but {self.title} has no CLIP text encoder whose layers could be left out"
        raise BadInput("clip_skip", what, "set clip_skip to 0")

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's prediction [batch, ...] for noised latents [batch, ...] at timesteps [batch].

        `conditioning` holds what `encode_prompts` and `geometry` give and, where the base embeds guidance, "guidance"
        [batch]; without it, as in training, guidance is 1.
        """

    def geometry(self, frames: Sequence[Frame]) -> dict[str, Tensor]:
        """What `predict` needs to know of how pictures came to their size, tensors [batch, ...] by name."""
        return {}

    def usual_guidance(self, parts: Parts) -> float:
        """`guidance`, but where bases of this family differ that of this very one; 1 is none."""
        return self.guidance

    def call(self, guidance: float) -> str:
        """The arguments that tell its pipeline that guidance, as the code of a call."""
        return f"guidance_scale={guidance:g}"

    def embeds_guidance(self, parts: Parts) -> bool:
        """Whether the denoiser is told the guidance, instead of being run without the prompt too."""
        return False

    def guided(self, unconditional: Tensor, told: Tensor, guidance: float) -> Tensor:
        """The prediction [batch, ...] under classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598) of the
        predictions for the negative prompt and for the prompt."""
        return unconditional + guidance * (told - unconditional)

    def idle(self, parts: Parts, skip: int) -> Sequence[str]:
        """Patterns of layers, with their part in front, that get no adapter though `targets` matches them: what they
        compute is thrown away, so they could learn nothing. skip: how many layers of CLIP are left out."""
        return ()

    def cautions(self, parts: Parts) -> list[str]:
        """What one should know before one trains on this very base, a sentence each with what to do about it."""
        return []

    def tokens(self, parts: Parts, text: str) -> int:
        """Into how many tokens the text falls."""

    def built(self, names: Iterable[str]) -> "Family":
        """This family for those of its bases that have layers of these names, ours or those of other tools: where a
        base is built otherwise than the published ones, its layers may be called otherwise elsewhere."""
        return self

    def original(self, layer: str) -> Place | None:
        """Where that layer of an adapter ("unet. ... .to_q") stands in single-file checkpoints; None: nowhere."""
        return None

    def kohya(self, layer: str) -> Place:
        """Where that layer stands in adapters for kohya's tools, before they turn dots into underscores and put
        "lora_unet_", "lora_te_", ... in front: by default under its own name."""
        return Place(layer.partition(".")[2])


@functools.cache
def families() -> dict[str, Family]:
    """The families by name: the `FAMILY` of each file in `families/`. One more can be put in from outside."""
    names = [f"{folder.__name__}.{found.name}" for found in pkgutil.iter_modules(folder.__path__)]
    modules = [importlib.import_module(name) for name in names]
    return {module.FAMILY.name: module.FAMILY for module in modules}
