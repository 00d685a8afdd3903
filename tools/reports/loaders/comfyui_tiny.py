"""Configurations of ComfyUI's model classes that have the shapes of our families' tiny bases; SD3's base is wider."""

from typing import Any

import torch

from tools.reports.loaders.weights import TINY_FLUX1

UNET: dict[str, Any] = {"image_size": 32, "use_checkpoint": False, "use_spatial_transformer": True, "legacy": False}
UNET |= {"dtype": torch.float32, "in_channels": 4, "out_channels": 4, "use_temporal_attention": False}
SD1 = UNET | {
    "model_channels": 16,
    "num_res_blocks": [2, 2],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 0, 0, 0],
    "use_linear_in_transformer": False,
    "context_dim": 32,
    "adm_in_channels": None,
}
SDXL = UNET | {
    "model_channels": 16,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 1, 2],
    "transformer_depth": [0, 0, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1],
    "use_linear_in_transformer": True,
    "context_dim": 80,
    "adm_in_channels": 96,
    "num_classes": "sequential",
}
SD3: dict[str, Any] = {  # 64 wide for each block, whatever is said
    "dtype": torch.float32,
    "in_channels": 4,
    "out_channels": 4,
    "patch_size": 2,
    "depth": 3,
    "input_size": None,
    "adm_in_channels": 80,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 96, "out_features": 192}},
    "num_patches": 64,
    "pos_embed_max_size": 8,
    "pos_embed_scaling_factor": None,
    "qk_norm": "rms",
    "x_block_self_attn_layers": [0],
}
FLUX1 = TINY_FLUX1 | {
    "image_model": "flux",
    "dtype": torch.float32,
    "in_channels": 4,
    "out_channels": 4,
    "patch_size": 2,
    "txt_ids_dims": [],
}
FLUX2 = {
    "image_model": "flux2",
    "dtype": torch.float32,
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": None,
    "context_in_dim": 96,
    "hidden_size": 32,
    "mlp_ratio": 3.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 2,
    "axes_dim": [4, 4, 4, 4],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "guidance_embed": True,
    "txt_ids_dims": [3],
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
}
Z_IMAGE = {
    "image_model": "lumina2",
    "dtype": torch.float32,
    "in_channels": 4,
    "dim": 32,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "multiple_of": 1,
    "ffn_dim_multiplier": 8 / 3,
    "norm_eps": 1e-5,
    "qk_norm": True,
    "cap_feat_dim": 32,
    "axes_dims": [4, 6, 6],
    "axes_lens": [128, 32, 32],
    "rope_theta": 256.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
}
QWEN_IMAGE = {
    "image_model": "qwen_image",
    "dtype": torch.float32,
    "in_channels": 16,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "axes_dims_rope": (4, 6, 6),
}
CLIP: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "projection_dim": 32, "num_hidden_layers": 3}
CLIP |= {"num_attention_heads": 4}
T5 = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_heads": 4, "num_layers": 2, "vocab_size": 100}
WIDER_CLIP = CLIP | {"hidden_size": 48, "projection_dim": 48}
# For each family ComfyUI's class, in `comfy.supported_models`, and its configuration.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "sd1": ("SD15", SD1),
    "sdxl": ("SDXL", SDXL),
    "sd3": ("SD3", SD3),
    "flux1": ("Flux", FLUX1),
    "flux2": ("Flux2", FLUX2),
    "zimage": ("ZImage", Z_IMAGE),
    "qwen_image": ("QwenImage", QWEN_IMAGE),
}
