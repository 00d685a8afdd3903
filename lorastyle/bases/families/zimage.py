"""Z-Image: one stream of blocks over captions and pictures alike, told by the language model Qwen3.

Z-Image team 2025, "Z-Image: an efficient image generation foundation model with single-stream diffusion transformer",
arXiv 2511.22699.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorastyle.bases import autoencoder, presets, qwen
from lorastyle.bases.clip import token_count
from lorastyle.bases.family import Family, Place
from lorastyle.bases.flow import euler
from lorastyle.bases.layout import Layout
from lorastyle.bases.loading import companion, folder_loaders, load_by_names
from lorastyle.bases.noise import Flow
from lorastyle.bases.packing import packed_count
from lorastyle.bases.parts import Parts
from lorastyle.recipe import Preset

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
PREFIX = "model.diffusion_model."  # of the transformer's tensors in files that hold more than the transformer
LONGEST = 512  # tokens of a prompt and the conversation around it, as the pipeline reads

QKV = (1, 1, 1)  # relative rows of what is one layer in the original code
RENAMED = {
    **{f"to_{part}": Place("qkv", index, QKV) for index, part in enumerate("qkv")},
    "to_out.0": Place("out"),
    "norm_q": Place("q_norm"),
    "norm_k": Place("k_norm"),
}

# The embeddings of pictures and captions see the tokens of all rows in one, so that they cannot follow a routing.
BLOCK = r"(?:layers|noise_refiner|context_refiner)\.\d+"
ATTENTION = BLOCK + r"\.attention\.to_(?:[qkv]|out\.0)"
MLP = BLOCK + r"\.feed_forward\.w[123]"
MODULATION = r"(?:layers|noise_refiner)\.\d+\.adaLN_modulation\.0"


class ZImage(Family):
    """The family of Z-Image; see :class:`lorastyle.bases.family.Family`."""

    name = "zimage"
    title = "Z-Image base and turbo"
    known_as: Mapping[str, str] = {"kohya": "z_image", "networks": "networks.lora_zimage"}
    pipeline_class = "ZImagePipeline"
    roles: Mapping[str, Sequence[str]] = {
        "denoiser": ("transformer",),
        "autoencoder": ("vae",),
        "text": ("text_encoder", "tokenizer"),
    }
    adapted: Sequence[str] = ("transformer",)
    not_applicable: Mapping[str, str] = {
        "text_encoder": "a language model (Qwen3) reads the prompts, and the field trains none with adapters"
    }
    targets: Mapping[str, Mapping[str, Sequence[str]]] = {
        "attention": {"transformer": (ATTENTION,)},
        "attention+mlp": {"transformer": (ATTENTION, MLP)},
        "all": {"transformer": (ATTENTION, MLP, MODULATION)},
    }
    presets: Mapping[str, Preset] = presets.TRANSFORMER
    guidance = 5.0  # the pipeline's 4: it counts what is added to the prediction for the prompt, so that 0 is none

    # loading

    def recognises(self, layout: Layout) -> bool:
        if layout.tensors:
            # In Lumina, which is built alike, the modulation is the second of two.
            names = {name.removeprefix(PREFIX) for name in layout.tensors}
            return {"x_embedder.weight", "cap_embedder.1.weight", "layers.0.adaLN_modulation.0.weight"} <= names
        # The pipelines for editing are built of the same parts and one that reads pictures.
        return (
            layout.configs["model_index"].get("_class_name") == self.pipeline_class
            and layout.configs.get("transformer", {}).get("_class_name") == "ZImageTransformer2DModel"
        )

    def loaders(self, layout: Layout) -> Mapping[str, Callable[[], Any]]:
        if not layout.tensors:
            return folder_loaders(layout, PARTS)
        beside = companion(layout, "of a Z-Image checkpoint only the transformer is used, and it has no configurations")
        transformer = partial(load_by_names, layout, beside, "transformer", stored, PREFIX)
        return {**folder_loaders(beside, PARTS), "transformer": transformer}

    def tiny(self, seed: int) -> Parts:
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        return tiny_parts(seed, FlowMatchEulerDiscreteScheduler(shift=6.0))

    def pipeline(self, parts: Parts) -> Any:
        from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline

        return ZImagePipeline(**parts)

    # what it is

    def turbo(self, parts: Parts) -> bool:
        """Whether it was distilled to draw in eight steps. Only the shift of its scheduler tells: 3 instead of 6."""
        return bool(parts["scheduler"].config.shift <= 3)

    def architecture(self, parts: Parts) -> str:
        return "z-image-turbo" if self.turbo(parts) else "z-image"

    def usual_guidance(self, parts: Parts) -> float:
        return 1.0 if self.turbo(parts) else self.guidance

    def cautions(self, parts: Parts) -> list[str]:
        if not self.turbo(parts):
            return []
        return [
            "this is Z-Image turbo, distilled to draw in eight steps: training undoes that, and its pictures blur. "
            "Train on Z-Image itself; the adapter also works on turbo"
        ]

    def noise(self, parts: Parts) -> Flow:
        # Not the sampler's shift of 6 (3 in turbo), which would hardly train details: the field's trainers use 2.
        return Flow("logit_normal", lambda latents: 2.0)

    def scheduler(self, parts: Parts, steps: int, latents: Tensor) -> Any:
        return euler(parts["scheduler"], steps, latents, packed_count)

    def resolution(self, parts: Parts) -> int:
        return int(parts["vae"].config.sample_size)

    def divisor(self, parts: Parts) -> int:
        return 2 * self.scale(parts)

    def latent_shape(self, parts: Parts, width: int, height: int) -> tuple[int, ...]:
        scale = self.scale(parts)
        return (parts["transformer"].config.in_channels, height // scale, width // scale)

    def scale(self, parts: Parts) -> int:
        """How many pixels wide a latent is."""
        return 2 ** (len(parts["vae"].config.block_out_channels) - 1)

    # what it computes

    def encode_images(self, parts: Parts, pixels: Tensor) -> Tensor:
        return autoencoder.encoded(parts["vae"], pixels)

    def decode_latents(self, parts: Parts, latents: Tensor) -> Tensor:
        return autoencoder.decoded(parts["vae"], latents)

    def encode_prompts(self, parts: Parts, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The text encoder's hidden states before its last layer, {"prompt": [batch, tokens, width], "prompt_mask":
        [batch, tokens]}, padded to a fixed length; warns of words that are not read."""
        tokenizer, encoder = parts["tokenizer"], parts["text_encoder"]
        longest = min(tokenizer.model_max_length, LONGEST)
        told = qwen.asked(tokenizer, prompts, longest, thinking=True).to(encoder.device)
        states = encoder(told.input_ids, told.attention_mask.bool(), output_hidden_states=True).hidden_states[-2]
        return qwen.fixed_length(states, told.attention_mask, longest)

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Mapping[str, Tensor]) -> Tensor:
        # To the transformer a picture is a film of one frame, time runs from noise at 0 to the picture at 1, and so
        # does the velocity that it predicts. It pads captions itself.
        captions = zip(conditioning["prompt"], conditioning["prompt_mask"], strict=True)
        predicted = parts["transformer"](
            list(latents[:, :, None].unbind()),
            (1000 - timesteps.to(latents.dtype)) / 1000,
            [caption[mask] for caption, mask in captions],
        ).sample
        return -torch.stack(predicted)[:, :, 0]

    def tokens(self, parts: Parts, text: str) -> int:
        return token_count(parts["tokenizer"], text)

    # names in other tools

    def original(self, layer: str) -> Place | None:
        place = self.kohya(layer)
        return Place(PREFIX + place.name, place.index, place.widths)

    def kohya(self, layer: str) -> Place:
        return place_of(layer.partition(".")[2])


def place_of(name: str) -> Place:
    """Where that module of the transformer stands in the original code."""
    before, attention, within = name.rpartition(".attention.")
    if attention:
        place = RENAMED[within]
        return Place(f"{before}.attention.{place.name}", place.index, place.widths)
    return Place(re.sub(r"^all_(x_embedder|final_layer)\.2-1", r"\1", name))


def stored(name: str) -> list[Place]:
    """The piece that makes up that weight of the transformer, in the names of the original code."""
    module, _, leaf = name.rpartition(".")
    if not module:
        return [Place(name)]  # a token by itself, for padding
    place = place_of(module)
    return [Place(f"{place.name}.{leaf}", place.index, place.widths)]


def tiny_parts(seed: int, scheduler: Any) -> Parts:
    """The parts of a pipeline for pictures of 64 pixels, with random weights."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
    from transformers import Qwen3Model

    tokenizer = qwen.tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            axes_dims=[4, 6, 6],
            axes_lens=[128, 32, 32],
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            norm_num_groups=4,
            sample_size=64,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        text_encoder = Qwen3Model(qwen.tiny_config(tokenizer, layers=3))
    return Parts.of(
        transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler
    )


FAMILY = ZImage()
