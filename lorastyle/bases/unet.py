"""The UNet of Stable Diffusion and its like: its layers that can be adapted, and their names in the original code.

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752.
"""

import re

ATTENTION = r".*\.attn[12]\.to_(?:q|k|v|out\.0)"
READS_TEXT = r"unet\..*\.attn2\.to_[kv]"
MLP = (r".*\.ff\.net\.(?:0\.proj|2)", r".*\.attentions\.\d+\.proj_(?:in|out)")
CONVOLUTIONS = (
    r".*\.resnets\.\d+\.(?:conv1|conv2|conv_shortcut|time_emb_proj)",
    r".*\.(?:down|up)samplers\.\d+\.conv",
)

BLOCKS = 2  # residual blocks in each level; one more on the way up. The same in all bases of these families.
_RESIDUAL = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1"} | {
    "conv_shortcut": "skip_connection"
}
_ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def original_name(path: str, without_attention: int) -> str | None:
    """The name in the original code of the layer that diffusers calls `path`; None for one that is not there.

    There the blocks of all levels are counted through: input block 0 is the first convolution, then each level on the
    way down has `BLOCKS` blocks and one that halves the size; on the way up each has `BLOCKS` + 1, the last of which
    also doubles the size. A block's parts are the residual layers, then the attention if any, then the resizing.

    Args:
        without_attention: the level on the way up, counted from the middle, that has no attention.
    """
    if path in _ENDS:
        return _ENDS[path]
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", path):
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{_within(found[1], found[3])}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", path)
    if found is None:
        return None
    level, kind, number, rest = int(found[2]), found[3], int(found[4]), found[5]
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * (BLOCKS + 1)}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{level * (BLOCKS + 1) + BLOCKS}.{1 if level == without_attention else 2}.conv"
    place = 1 if kind == "attentions" else 0
    side, first = ("input", 1) if found[1] == "down" else ("output", 0)
    return f"{side}_blocks.{first + level * (BLOCKS + 1) + number}.{place}.{_within(kind, rest)}"


def _within(kind: str, rest: str) -> str:
    return _RESIDUAL.get(rest, rest) if kind == "resnets" else rest
