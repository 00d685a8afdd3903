"""The UNet of Stable Diffusion and its like: its layers that can be adapted, and their names in the original code.

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ATTENTION = r".*\.attn[12]\.to_(?:q|k|v|out\.0)"
READS_TEXT = r"unet\..*\.attn2\.to_[kv]"
MLP = (r".*\.ff\.net\.(?:0\.proj|2)", r".*\.attentions\.\d+\.proj_(?:in|out)")
CONVOLUTIONS = (
    r".*\.resnets\.\d+\.(?:conv1|conv2|conv_shortcut|time_emb_proj)",
    r".*\.(?:down|up)samplers\.\d+\.conv",
)

_DIFFUSERS = re.compile(
    r"(?:^|[._])(mid|down|up)_blocks?[._](?:(\d+)[._])?(resnets|attentions|upsamplers)[._](\d+)[._]"
)
_DOWN = re.compile(r"(?:^|[._])input_blocks[._](\d+)[._](\d)[._](op)?")
_UPSAMPLER = re.compile(r"(?:^|[._])output_blocks[._](\d+)[._]([12])[._]conv(?:[._]|$)")
_MOST_BLOCKS = 8  # that a level is looked for; the published bases have 2
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


BLOCKS = frozenset({"DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"})
_OTHERWISE = ("class_embed_type", "num_class_embeds", "dual_cross_attention")


def usual(config: Mapping[str, Any]) -> bool:
    """Whether that configuration is of a UNet of the usual blocks, which reads the text and is told of no classes,
    pictures or hints besides."""
    blocks = {*config.get("down_block_types", ()), *config.get("up_block_types", ())}
    return (
        config.get("_class_name") == "UNet2DConditionModel"
        and blocks <= BLOCKS
        and config.get("encoder_hid_dim_type") in (None, "text_proj")
        and not any(config.get(setting) for setting in _OTHERWISE)
    )


def even(config: Mapping[str, Any]) -> bool:
    """Whether all levels have as many blocks, which is what names that count them through can be told from."""
    blocks = config.get("layers_per_block", 2)
    return isinstance(blocks, int) or len(set(blocks)) == 1


@dataclass(frozen=True)
class Build:
    """What the original names depend on.

    blocks: how many residual blocks each level has on the way down; it has one more on the way up.
    plain: the levels on the way up, counted from the middle, that have no attention before they double the size.
    """

    blocks: int = 2
    plain: frozenset[int] = frozenset()

    def told_by(self, names: Iterable[str]) -> "Build":
        """How the UNet is built that has layers of these names, diffusers' or original ones, with dots or underscores;
        like this one where they leave it open.

        Original names tell which blocks halve the size. Those of diffusers tell the number of blocks if they are of a
        whole UNet: of its middle, and of each level from the first block to the last, one more on the way up.
        """
        names = list(names)
        return self._told_by_original_names(names)._told_by_diffusers_names(names)

    def _told_by_original_names(self, names: Iterable[str]) -> "Build":
        halving = {int(found[1]): bool(found[3]) for name in names if (found := _DOWN.search(name)) and int(found[1])}
        fitting = [
            blocks
            for blocks in (self.blocks, *range(1, _MOST_BLOCKS + 1))
            if all((number % (blocks + 1) == 0) == halves for number, halves in halving.items())
        ]
        blocks = fitting[0] if fitting else self.blocks
        doubling = {int(found[1]): int(found[2]) for name in names if (found := _UPSAMPLER.search(name))}
        plain = {number // (blocks + 1) for number, place in doubling.items() if place == 1}
        return Build(blocks, frozenset(plain) if doubling else self.plain)

    def _told_by_diffusers_names(self, names: Iterable[str]) -> "Build":
        numbers: dict[tuple[str, str], dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for name in names:
            if found := _DIFFUSERS.search(name):
                numbers[found[1], found[3]][int(found[2] or 0)].add(int(found[4]))
        held = {
            side: {frozenset(level) for kind in ("resnets", "attentions") for level in numbers[side, kind].values()}
            for side in ("down", "mid", "up")
        }
        blocks = max((len(level) for level in held["down"]), default=0)
        if not held["mid"] or held["down"] != {_first(blocks)} or held["up"] != {_first(blocks + 1)}:
            return self
        attentive, doubling = numbers["up", "attentions"].keys(), numbers["up", "upsamplers"].keys()
        return Build(blocks, frozenset(doubling - attentive) if attentive and doubling else self.plain)


def _first(count: int) -> frozenset[int]:
    return frozenset(range(count))


def original_name(path: str, build: Build) -> str | None:
    """The name in the original code of the layer that diffusers calls `path`; None for one that is not there.

    There the blocks of all levels are counted through: input block 0 is the first convolution, then each level on the
    way down has its blocks and one that halves the size; on the way up each has one more, the last of which also
    doubles the size. A block's parts are the residual layers, then the attention if any, then the resizing.
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
        return f"input_blocks.{(level + 1) * (build.blocks + 1)}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{level * (build.blocks + 1) + build.blocks}.{1 if level in build.plain else 2}.conv"
    place = 1 if kind == "attentions" else 0
    side, first = ("input", 1) if found[1] == "down" else ("output", 0)
    return f"{side}_blocks.{first + level * (build.blocks + 1) + number}.{place}.{_within(kind, rest)}"


def _within(kind: str, rest: str) -> str:
    return _RESIDUAL.get(rest, rest) if kind == "resnets" else rest
