"""Qwen-Image: a transformer of double blocks over packed latents, told by the vision-language model Qwen2.5-VL.

Wu et al. 2025, "Qwen-Image technical report", arXiv 2508.02324.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lorastyle.bases import presets, qwen
from lorastyle.bases.clip import token_count
from lorastyle.bases.family import Family, Place
from lorastyle.bases.flow import euler, flow
from lorastyle.bases.layout import Layout
from lorastyle.bases.loading import companion, folder_loaders, load_by_names
from lorastyle.bases.noise import Flow
from lorastyle.bases.packing import packed, packed_count, unpacked
from lorastyle.bases.parts import Parts
from lorastyle.recipe import Preset

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
PREFIX = "model.diffusion_model."  # of the transformer's tensors in files that hold more than the transformer
RESOLUTION = "_lorastyle_resolution"  # an entry of the transformer's config, for bases of another than the usual one
USUAL_RESOLUTION = 1024

# What the text encoder is asked; of what it says, only that after the question is kept.
ASKED = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"
ASKED_TOKENS = 34
READ = 1024  # tokens of a prompt that the text encoder reads
LONGEST = 512  # tokens of what it says that are kept, as the pipeline does unless told otherwise

ATTENTION = r"transformer_blocks\.\d+\.attn\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
MLP = r"transformer_blocks\.\d+\.(?:img|txt)_mlp\.net\.(?:0\.proj|2)"
MODULATION = r"transformer_blocks\.\d+\.(?:img|txt)_mod\.1"


class QwenImage(Family):
    """The family of Qwen-Image; see :class:`lorastyle.bases.family.Family`."""

    name = "qwen_image"
    title = "Qwen-Image"
    known_as: Mapping[str, str] = {"kohya": "qwen_image", "networks": "networks.lora_qwen_image"}
    pipeline_class = "QwenImagePipeline"
    roles: Mapping[str, Sequence[str]] = {
        "denoiser": ("transformer",),
        "autoencoder": ("vae",),
        "text": ("text_encoder", "tokenizer"),
    }
    adapted: Sequence[str] = ("transformer",)
    not_applicable: Mapping[str, str] = {
        "text_encoder": "a language model (Qwen2.5-VL) reads the prompts, and the field trains none with adapters"
    }
    targets: Mapping[str, Mapping[str, Sequence[str]]] = {
        "attention": {"transformer": (ATTENTION,)},
        "attention+mlp": {"transformer": (ATTENTION, MLP)},
        "all": {"transformer": (ATTENTION, MLP, MODULATION)},
    }
    presets: Mapping[str, Preset] = presets.TRANSFORMER
    guidance = 4.0

    # loading

    def recognises(self, layout: Layout) -> bool:
        if layout.tensors:
            names = {name.removeprefix(PREFIX) for name in layout.tensors}
            return {"txt_norm.weight", "transformer_blocks.0.img_mod.1.weight", "img_in.weight"} <= names
        # The editing pipelines are built of the same parts but read pictures too.
        return (
            layout.configs["model_index"].get("_class_name") == self.pipeline_class
            and layout.configs.get("transformer", {}).get("_class_name") == "QwenImageTransformer2DModel"
        )

    def loaders(self, layout: Layout) -> Mapping[str, Callable[[], Any]]:
        if not layout.tensors:
            return folder_loaders(layout, PARTS)
        beside = companion(layout, "a Qwen-Image checkpoint holds only the transformer, and no configurations")
        transformer = partial(load_by_names, layout, beside, "transformer", lambda name: [Place(name)], PREFIX)
        return {**folder_loaders(beside, PARTS), "transformer": transformer}

    def tiny(self, seed: int) -> Parts:
        from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
        from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        tokenizer = qwen.tiny_tokenizer(re.findall(r"\w+", ASKED))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            transformer = QwenImageTransformer2DModel(
                in_channels=16,
                out_channels=4,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=32,
                axes_dims_rope=(4, 6, 6),
            )
            vae = AutoencoderKLQwenImage(
                base_dim=8,
                z_dim=4,
                dim_mult=[1, 1, 1, 1],
                num_res_blocks=1,
                latents_mean=[-0.7, 0.1, 0.4, -0.3],
                latents_std=[2.8, 1.4, 2.3, 1.9],
            )
            text = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
            rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}
            config = Qwen2_5_VLConfig(
                text_config={
                    **text,
                    "intermediate_size": 64,
                    "vocab_size": len(tokenizer),
                    "rope_parameters": rope,
                    "bos_token_id": None,
                    "eos_token_id": tokenizer.eos_token_id,
                },
                vision_config={
                    "depth": 1,
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_heads": 2,
                    "out_hidden_size": 32,
                },
            )
            text_encoder = Qwen2_5_VLForConditionalGeneration(config)
        transformer.register_to_config(**{RESOLUTION: 64})
        scheduler = FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_image_seq_len=4, max_image_seq_len=64, max_shift=0.9, shift_terminal=0.02
        )
        return Parts.of(
            transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler
        )

    def pipeline(self, parts: Parts) -> Any:
        from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline

        return QwenImagePipeline(**parts)

    # what it is

    def architecture(self, parts: Parts) -> str:
        return "qwen-image"

    def noise(self, parts: Parts) -> Flow:
        # The pipeline's shift is about 2 for a megapixel, near the 2.2 that the field's trainers use.
        return flow(parts["scheduler"], packed_count)

    def scheduler(self, parts: Parts, steps: int, latents: Tensor) -> Any:
        return euler(parts["scheduler"], steps, latents, packed_count)

    def resolution(self, parts: Parts) -> int:
        return int(parts["transformer"].config.get(RESOLUTION, USUAL_RESOLUTION))

    def divisor(self, parts: Parts) -> int:
        return 2 * self.scale(parts)

    def latent_shape(self, parts: Parts, width: int, height: int) -> tuple[int, ...]:
        scale = self.scale(parts)
        return (parts["vae"].config.z_dim, height // scale, width // scale)

    def scale(self, parts: Parts) -> int:
        """How many pixels wide a latent is."""
        return 2 ** len(parts["vae"].config.temperal_downsample)

    # what it computes

    def encode_images(self, parts: Parts, pixels: Tensor) -> Tensor:
        # To the autoencoder, which is one for films, a picture is a film of one frame.
        vae = parts["vae"]
        latents = vae.encode(pixels[:, :, None]).latent_dist.mode()[:, :, 0]
        mean, scale = statistics(vae, latents)
        return (latents - mean) * scale

    def decode_latents(self, parts: Parts, latents: Tensor) -> Tensor:
        vae = parts["vae"]
        mean, scale = statistics(vae, latents)
        return vae.decode((latents / scale + mean)[:, :, None]).sample[:, :, 0]

    def encode_prompts(self, parts: Parts, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The text encoder's last hidden states of what comes after the question, {"prompt": [batch, tokens, width],
        "prompt_mask": [batch, tokens]}, padded to a fixed length; warns of words that are not read."""
        tokenizer, encoder = parts["tokenizer"], parts["text_encoder"]
        longest = min(tokenizer.model_max_length, LONGEST)
        qwen.warn_of_unread(tokenizer, prompts, longest)
        asked = [ASKED + prompt + ANSWER for prompt in prompts]
        options = {"padding": True, "truncation": True, "max_length": READ + ASKED_TOKENS, "return_tensors": "pt"}
        told = tokenizer(asked, **options).to(encoder.device)
        # Not the encoder itself, which would go on to guess the next word.
        states = encoder.model(**told, output_hidden_states=True).hidden_states[-1]
        return qwen.fixed_length(states, told.attention_mask, longest, skip=ASKED_TOKENS)

    def idle(self, parts: Parts, skip: int) -> Sequence[str]:
        # After the last block only the image is read: nothing of the prompt asks or is passed on there any more.
        last = parts["transformer"].config.num_layers - 1
        return [rf"transformer\.transformer_blocks\.{last}\.(?:attn\.(?:add_q_proj|to_add_out)|txt_mlp\..*)"]

    def predict(self, parts: Parts, latents: Tensor, timesteps: Tensor, conditioning: Mapping[str, Tensor]) -> Tensor:
        mask = conditioning["prompt_mask"]
        longest = int(mask.sum(1).max())
        prompt, mask = conditioning["prompt"][:, :longest], mask[:, :longest]
        height, width = latents.shape[2] // 2, latents.shape[3] // 2
        predicted = parts["transformer"](
            hidden_states=packed(latents),
            timestep=timesteps.to(latents.dtype) / 1000,
            encoder_hidden_states=prompt,
            encoder_hidden_states_mask=None if mask.all() else mask,
            img_shapes=[[(1, height, width)]] * len(latents),
        ).sample
        return unpacked(predicted, height, width)

    def call(self, guidance: float) -> str:
        # Its pipeline guides only where it is given a negative prompt.
        return f'negative_prompt=" ", true_cfg_scale={guidance:g}'

    def guided(self, unconditional: Tensor, told: Tensor, guidance: float) -> Tensor:
        """Guidance that leaves every token as long as without it, so that colours do not burn out."""
        mixed, plain = packed(super().guided(unconditional, told, guidance)), packed(told)
        mixed = mixed * (plain.norm(dim=-1, keepdim=True) / mixed.norm(dim=-1, keepdim=True))
        return unpacked(mixed, told.shape[2] // 2, told.shape[3] // 2)

    def tokens(self, parts: Parts, text: str) -> int:
        return token_count(parts["tokenizer"], text)

    # names in other tools

    def original(self, layer: str) -> Place | None:
        return Place(PREFIX + layer.partition(".")[2])  # its own code is diffusers'


def statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """What is taken from latents [batch, c, h, w] and what they are then multiplied by, each [1, c, 1, 1]."""
    mean, deviation = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    return mean.view(1, -1, 1, 1).to(like), 1 / deviation.view(1, -1, 1, 1).to(like)


FAMILY = QwenImage()
