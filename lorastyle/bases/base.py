"""A base: a frozen image model and what training and generation must know of it."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lorastyle.bases.family import Conditioning, Family, Frame
from lorastyle.bases.noise import Noise
from lorastyle.bases.parts import Parts
from lorastyle.errors import BadInput
from lorastyle.recipe import Precision, Preset, Recipe


@dataclass(eq=False)
class Base:
    """A frozen base of some family; :func:`lorastyle.bases.load.load_base` makes one.

    Its weights never require grad. Its parts are loaded when they are first needed, and again after `unload`.

    clip_skip: how many of the last layers of its CLIP text encoders are left out when it reads prompts.
    precision: what it reads prompts and predicts in; what it gives is fp32 in any case.
    source: the folder or file that it was read from, if it was.
    """

    name: str
    family: Family
    parts: Parts
    clip_skip: int = 0
    precision: Precision = "fp32"
    source: Path | None = None
    _fingerprints: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    # what it is

    @cached_property
    def file_hashes(self) -> dict[str, str]:
        """What other tools know a checkpoint file by; nothing for a folder.

        The old hash is the first 8 digits of the SHA-256 of 64 KiB that begin at 1 MiB, the new one that of the file.
        """
        if self.source is None or not self.source.is_file():
            return {}
        with open(self.source, "rb") as stream:
            whole = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(2**20)
            part = hashlib.sha256(stream.read(2**16)).hexdigest()
        return {"ss_sd_model_hash": part[:8], "ss_new_sd_model_hash": whole}

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline made of this base's very parts."""
        return self.family.pipeline(self.parts)

    @property
    def models(self) -> Mapping[str, nn.Module]:
        """The models that can carry adapters, by the names they have in adapter files."""
        return self.parts.only(self.adapted)

    @property
    def adapted(self) -> list[str]:
        """The names of the models that can carry adapters; the denoiser first."""
        return [part for part in self.family.adapted if part in self.parts]

    def role(self, role: str) -> list[str]:
        """The names of the parts that are the "denoiser", the "autoencoder" or what reads the "text"."""
        return [part for part in self.family.roles[role] if part in self.parts]

    @cached_property
    def noise(self) -> Noise:
        """How latents are noised, and what is predicted."""
        return self.family.noise(self.parts)

    @cached_property
    def architecture(self) -> str:
        """The architecture's identifier in the terms of ModelSpec 1.0.1, such as "stable-diffusion-v1"."""
        return self.family.architecture(self.parts)

    @cached_property
    def resolution(self) -> int:
        """The side in pixels of the square pictures it was trained on, or of the smallest that it can draw."""
        return max(self.family.resolution(self.parts), self.divisor)

    @cached_property
    def divisor(self) -> int:
        """What both sides of a picture, in pixels, must be a multiple of."""
        return self.family.divisor(self.parts)

    @property
    def guidance(self) -> float:
        """The usual strength of classifier-free guidance; 1 is none."""
        return self.family.usual_guidance(self.parts)

    @property
    def cautions(self) -> list[str]:
        """What one should know before one trains on this base, a sentence each."""
        return self.family.cautions(self.parts)

    def preset(self, purpose: str) -> Preset:
        """What its family suggests for training a "style", a "character" or an "object"."""
        return self.family.presets[purpose]

    @property
    def embeds_guidance(self) -> bool:
        """Whether the denoiser is told the guidance, instead of being run without the prompt too."""
        return self.family.embeds_guidance(self.parts)

    def scheduler(self, steps: int, latents: Tensor) -> Any:
        """A new deterministic diffusers sampler, set for that many steps from noise like `latents` [batch, ...]."""
        return self.family.scheduler(self.parts, steps, latents)

    def latent_shape(self, width: int, height: int) -> tuple[int, ...]:
        """The shape of the latents of one picture of that size in pixels."""
        return self.family.latent_shape(self.parts, width, height)

    def tokens(self, text: str) -> int:
        """Into how many tokens the text falls; a good trigger word falls into few, an unknown one into many."""
        return self.family.tokens(self.parts, text)

    def set_for(self, recipe: Recipe) -> "Base":
        """This base, its models shared, as it reads prompts and as noise runs with these settings.

        Raises BadInput where it cannot do what they ask.
        """
        if (rate := recipe.text_encoder_learning_rate) and len(self.adapted) == 1:
            what = f"it is {rate:g}, but {self.family.title} has no text encoder that carries adapters"
            raise BadInput("recipe.text_encoder_learning_rate", what, "set it to 0")
        if recipe.precision != self.precision:
            what = f"it is {recipe.precision}, but {self.name} is loaded in {self.precision}"
            raise BadInput("recipe.precision", what, f"load the base with precision {recipe.precision} too")
        if recipe.clip_skip == self.clip_skip and not recipe.zero_terminal_snr:
            return self
        parts = self.parts
        if recipe.zero_terminal_snr:
            parts = parts.replaced(scheduler=self.family.zero_terminal_snr(parts))
        base = Base(self.name, self.family, parts, recipe.clip_skip, self.precision, self.source)
        base._fingerprints.update({role: known for role, known in self._fingerprints.items() if role != "text"})
        if recipe.clip_skip != self.clip_skip:
            base.encode_prompts([""])  # refuses to leave out layers that are not there
        return base

    # what it computes

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Latents [batch, channels, height / 8, width / 8] of pixels [batch, 3, height, width] in -1..1.

        They are the mode of the autoencoder's distribution, so the same pixels give the same latents.
        """
        return self.family.encode_images(self.parts, pixels.to(self.device))

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Pixels [batch, 3, height, width], about -1..1, of latents as `encode_images` gives them."""
        return self.family.decode_latents(self.parts, latents.to(self.device))

    def encode_prompts(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """What `predict` needs to know of the prompts, tensors [batch, ...] by name; gradients can flow."""
        with self._computing():
            if self.clip_skip:
                told = self.family.encode_prompts_skipping(self.parts, prompts, self.clip_skip)
            else:
                told = self.family.encode_prompts(self.parts, prompts)
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in told.items()}

    def predict(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The prediction [batch, ...] for noised latents [batch, ...] at timesteps [batch]; gradients can flow."""
        with self._computing():
            return self.family.predict(self.parts, latents, timesteps, conditioning).float()

    def _computing(self) -> AbstractContextManager[object]:
        # Entered anew for each prediction: its cache of cast weights would go stale on factors that change.
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def guided(self, unconditional: Tensor, told: Tensor, guidance: float) -> Tensor:
        """The prediction [batch, ...] under guidance, of those for the negative prompt and for the prompt."""
        return self.family.guided(unconditional, told, guidance)

    def geometry(self, frames: Sequence[Frame]) -> dict[str, Tensor]:
        """What `predict` needs to know of how pictures came to their size, tensors [batch, ...] by name."""
        return {name: tensor.to(self.device) for name, tensor in self.family.geometry(frames).items()}

    # what trains on it

    def target_patterns(self, recipe: Recipe) -> dict[str, list[str]]:
        """For each trained model the patterns (each matches a whole dotted name) of the layers that get an adapter.

        The text encoders are trained where the recipe gives them a learning rate. A pattern of the recipe's own
        belongs to every model that has a layer of that name, with or without the model's own name in front.

        What is thrown away gets none. Raises BadInput where such a pattern matches no layer, or all of them nothing
        else.
        """
        trained = self.adapted if recipe.text_encoder_learning_rate else self.adapted[:1]
        if isinstance(recipe.targets, str):
            targets = self.family.targets[recipe.targets]
            return {part: [self._busy(part, pattern) for pattern in targets[part]] for part in trained}
        patterns: dict[str, list[str]] = {part: [] for part in trained}
        for pattern in recipe.targets:
            matched = {part: _matched(self.parts[part], part, pattern) for part in trained}
            if not any(matched.values()):
                what = f"{pattern!r} matches no layer of {' or '.join(trained)}"
                raise BadInput("recipe.targets", what, "correct the pattern")
            for part, names in matched.items():
                patterns[part] += [re.escape(name) for name in names if not self.is_idle(f"{part}.{name}")]
        if not any(patterns.values()):
            what = "what these layers compute is thrown away by this base, so they could learn nothing"
            raise BadInput("recipe.targets", what, "choose others")
        return {part: names for part, names in patterns.items() if names}

    def is_idle(self, layer: str) -> bool:
        """Whether what that layer ("unet.mid_block. ... .to_q") computes is thrown away."""
        return any(re.fullmatch(pattern, layer) for pattern in self.family.idle(self.parts, self.clip_skip))

    def _busy(self, part: str, pattern: str) -> str:
        """The pattern, but for layers whose outputs are thrown away."""
        begins = re.escape(f"{part}.")
        idle = [found for found in self.family.idle(self.parts, self.clip_skip) if found.startswith(begins)]
        without = "|".join(found.removeprefix(begins) for found in idle)
        return f"(?!(?:{without})$)(?:{pattern})" if idle else pattern

    def checkpoint_gradients(self, on: bool) -> None:
        """Save memory in training: keep only the inputs of each block of the denoiser, and run it again backward."""
        for part in self.role("denoiser"):
            model = self.parts[part]
            model.enable_gradient_checkpointing() if on else model.disable_gradient_checkpointing()

    def fingerprint(self, role: str) -> str:
        """A hash of the weights and settings of the "denoiser", the "autoencoder" or what reads the "text".

        It is computed once; ask for it before layers are put in place of others.
        """
        if role not in self._fingerprints:
            digest = hashlib.blake2b(digest_size=16)
            for part in self.role(role):
                _add_content(digest, self.parts[part])
            if role == "text" and self.clip_skip:
                digest.update(f"without its last {self.clip_skip}".encode())
            if role == "text" and self.precision != "fp32":
                digest.update(f"in {self.precision}".encode())
            self._fingerprints[role] = digest.hexdigest()
        return self._fingerprints[role]

    # where it is

    @property
    def device(self) -> torch.device:
        return self.parts.device

    def to(self, device: torch.device | str) -> None:
        """Move everything to `device`."""
        self.parts.to(torch.device(device))

    def unload(self, role: str) -> None:
        """Let the "autoencoder" or what reads the "text" go from memory until it is needed again."""
        for part in self.role(role):
            self.parts.drop(part)


def _matched(model: nn.Module, part: str, pattern: str) -> list[str]:
    """The layers of `model` that `pattern` matches, with or without the part's name in front."""
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return [name for name in layers if re.fullmatch(pattern, name) or re.fullmatch(pattern, f"{part}.{name}")]


def _add_content(digest: Any, part: Any) -> None:
    if isinstance(part, nn.Module):
        digest.update(json.dumps(_settings(part), sort_keys=True, default=str).encode())
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(part, bool | int | float | str):
        digest.update(json.dumps(part).encode())
    else:
        vocabulary = {"tokens": part.get_vocab(), "longest": part.model_max_length}
        digest.update(json.dumps(vocabulary, sort_keys=True).encode())


def _settings(model: nn.Module) -> dict[str, Any]:
    """The settings that decide what the model computes, not where it came from or how it was stored."""
    config: Any = model.config
    return _deciding(config.to_dict() if hasattr(config, "to_dict") else dict(config))


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    told = ("architectures", "dtype", "torch_dtype", "transformers_version")
    return {
        name: _deciding(value) if isinstance(value, Mapping) else value  # a model made of models has settings of each
        for name, value in settings.items()
        if not str(name).startswith("_") and name not in told
    }
