"""Single checkpoints in the names of the original Stable Diffusion code.

diffusers reads such files but does not write them, so the names are spelled out here.
"""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lorastyle.bases.base import Base
from lorastyle.bases.family import families
from lorastyle.bases.load import load_base
from lorastyle.errors import BadFile, Unsupported
from tests.bases.families.unets import vae_name

LAYERS = 2  # residual blocks in each level of the tiny UNet
RESIDUAL = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
MIDDLE = {"resnets.0": "middle_block.0", "attentions.0": "middle_block.1", "resnets.1": "middle_block.2"}


def unet_name(name: str) -> str:
    for ours, original in ENDS.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, original)
    if found := re.fullmatch(r"mid_block\.((?:resnets|attentions)\.\d)\.(.*)", name):
        return f"{MIDDLE[found[1]]}.{residual_name(found[2])}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
    assert found, name
    side, level, kind, number, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * (LAYERS + 1)}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":  # after the level's last residual block: the innermost level has no attention
        return f"output_blocks.{level * (LAYERS + 1) + LAYERS}.{1 if level == 0 else 2}.{rest}"
    block = level * (LAYERS + 1) + number + (1 if side == "down" else 0)
    place = 1 if kind == "attentions" else 0
    return f"{'input' if side == 'down' else 'output'}_blocks.{block}.{place}.{residual_name(rest)}"


def residual_name(rest: str) -> str:
    first, _, last = rest.partition(".")
    return f"{RESIDUAL[first]}.{last}" if first in RESIDUAL else rest


def original(base: Base) -> dict[str, Tensor]:
    """The weights of a base of Stable Diffusion's layout under their original names."""
    unet, vae, text = (base.parts[part].state_dict() for part in ("unet", "vae", "text_encoder"))
    weights = {f"model.diffusion_model.{unet_name(name)}": weight for name, weight in unet.items()}
    for name, weight in vae.items():
        linear = "attentions" in name and weight.ndim == 2
        weights[f"first_stage_model.{vae_name(name)}"] = weight[:, :, None, None] if linear else weight
    prefix = "cond_stage_model.transformer.text_model."
    weights |= {prefix + name.removeprefix("text_model."): weight for name, weight in text.items()}
    return {name: weight.contiguous() for name, weight in weights.items()}


@pytest.fixture
def made() -> Base:
    family = families()["sd1"]
    return Base("tiny", family, family.tiny(0))


@pytest.fixture
def checkpoint(made: Base, tmp_path: Path) -> Path:
    """A checkpoint with the base's configurations in the folder of its name beside it."""
    made.pipeline.save_pretrained(tmp_path / "tiny")
    for weights in (tmp_path / "tiny").rglob("*.safetensors"):
        weights.unlink()
    save_file(original(made), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_a_checkpoint_is_the_same_base(checkpoint: Path, made: Base) -> None:
    base = load_base(checkpoint)
    assert (base.name, base.family.name) == ("tiny", "sd1")
    for part in ("unet", "vae", "text_encoder"):
        expected, loaded = made.parts[part].state_dict(), base.parts[part].state_dict()
        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())
    assert base.tokens("a cat") == made.tokens("a cat") == 2
    assert torch.equal(base.noise.alphas_cumprod, made.noise.alphas_cumprod)
    for role in base.family.roles:
        assert base.fingerprint(role) == made.fingerprint(role)


def test_its_parts_leave_memory_and_come_back(checkpoint: Path) -> None:
    base = load_base(checkpoint)
    before = base.encode_prompts(["a cat"])["prompt"]
    base.unload("text")
    assert "text_encoder" not in base.parts.loaded
    assert torch.equal(base.encode_prompts(["a cat"])["prompt"], before)


@pytest.mark.parametrize(
    "missing", ["first_stage_model.", "first_stage_model.decoder.conv_in", "model.diffusion_model.out"]
)
def test_a_checkpoint_without_some_part_is_refused(made: Base, checkpoint: Path, missing: str) -> None:
    weights = {name: weight for name, weight in original(made).items() if not name.startswith(missing)}
    save_file(weights, checkpoint)
    base = load_base(checkpoint)
    with pytest.raises(BadFile, match=r"tiny.safetensors: (there is no vae|.* are missing|this cannot be loaded)"):
        [base.parts[part] for part in ("vae", "unet")]


def test_a_checkpoint_without_configurations_says_where_to_put_them(checkpoint: Path) -> None:
    alone = checkpoint.rename(checkpoint.with_name("alone.safetensors"))
    with pytest.raises(BadFile, match=r"(?i)put the base's configurations .* at .*alone"):
        load_base(alone).encode_prompts(["a cat"])


def test_an_inpainting_checkpoint_is_refused(made: Base, checkpoint: Path) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    save_file(original(made) | {first: torch.zeros(16, 9, 3, 3)}, checkpoint)
    with pytest.raises(Unsupported, match="of no family of bases that lorastyle knows"):
        load_base(checkpoint)


def test_a_file_is_known_by_the_hashes_that_other_tools_show(checkpoint: Path, made: Base) -> None:
    with checkpoint.open("ab") as stream:
        stream.write(bytes(2**20))  # longer than what the old hash looks at; it need not load
    data = checkpoint.read_bytes()
    base = Base("tiny", made.family, made.parts, source=checkpoint)
    assert base.file_hashes == {
        "ss_sd_model_hash": hashlib.sha256(data[2**20 : 2**20 + 2**16]).hexdigest()[:8],
        "ss_new_sd_model_hash": hashlib.sha256(data).hexdigest(),
    }
    assert made.file_hashes == {}
