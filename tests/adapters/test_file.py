"""Adapter files: what is written, what is read back, and what is refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorastyle.adapters.file import Adapter, load, save
from lorastyle.errors import BadFile

TO_Q, CONV = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "unet.conv_in"
Q_PROJ = "text_encoder.encoder.layers.0.self_attn.q_proj"
SHAPES = {TO_Q: ((4, 6), (8, 4)), CONV: ((2, 6, 3, 3), (8, 2, 1, 1)), Q_PROJ: ((4, 6), (8, 4))}


def an_adapter(**changed: object) -> Adapter:
    generator = torch.Generator().manual_seed(0)
    factors = {
        layer: {name: torch.randn(shape, generator=generator) for name, shape in zip(("down", "up"), both, strict=True)}
        for layer, both in SHAPES.items()
    }
    settings: dict = {
        "family": "sd1",
        "factors": factors,
        "alphas": {TO_Q: 4.0, CONV: 8.0, Q_PROJ: 0.5},
        "trigger": "zwxü",
        "recipe": {"rank": 4, "purpose": "style", "prompts": ["a cat, ink style"]},
        "metadata": {"modelspec.title": "Ink", "modelspec.sai_model_spec": "1.0.1"},
    }
    return Adapter(**(settings | changed))


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", an_adapter())
    read, wanted = load(tmp_path / "a.safetensors"), an_adapter()
    on_disk = {layer: layer.replace("text_encoder.", "text_encoder.text_model.") for layer in SHAPES}
    for layer, published in on_disk.items():
        assert all(torch.equal(read.factors[published][name], wanted.factors[layer][name]) for name in ("down", "up"))
        assert read.alphas[published] == wanted.alphas[layer]
        assert read.scale(published) == wanted.scale(layer)
    assert len(read.factors) == len(SHAPES)
    for name in ("family", "kind", "rslora", "trigger", "recipe", "metadata"):
        assert getattr(read, name) == getattr(wanted, name)


def test_the_tensors_are_named_as_diffusers_and_peft_do(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", an_adapter(), dtype=torch.float16)
    tensors = load_file(tmp_path / "a.safetensors")
    layers = (TO_Q, CONV, "text_encoder.text_model.encoder.layers.0.self_attn.q_proj")
    assert set(tensors) == {f"{layer}.lora_{factor}.weight" for layer in layers for factor in "AB"}
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert load(tmp_path / "a.safetensors").factors[TO_Q]["down"].dtype == torch.float32


def test_the_header_says_what_peft_needs(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", an_adapter(rslora=True))
    header = header_of(tmp_path / "a.safetensors")
    assert header["format"] == "pt"
    config = json.loads(header["lora_adapter_metadata"])
    assert config["unet.use_rslora"] is config["text_encoder.use_rslora"] is True
    ranks = {TO_Q: 4, CONV: 2}
    for layer, rank in ranks.items():
        name = layer.removeprefix("unet.")
        assert config["unet.rank_pattern"].get(name, config["unet.r"]) == rank
        assert config["unet.alpha_pattern"].get(name, config["unet.lora_alpha"]) == an_adapter().alphas[layer]
    assert config["text_encoder.target_modules"] == ["encoder.layers.0.self_attn.q_proj"]
    assert config["text_encoder.lora_alpha"] == 0.5


def test_the_same_adapter_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in range(4):  # the order of a hash map of strings would change from one to the next
        save(tmp_path / str(number), an_adapter())
    first = (tmp_path / "0").read_bytes()
    assert all((tmp_path / str(number)).read_bytes() == first for number in range(1, 4))
    length = int.from_bytes(first[:8], "little")
    names = list(json.loads(first[8 : 8 + length])["__metadata__"])
    assert len(names) > 5
    assert names == sorted(names)
    assert length % 8 == 0


def test_the_scale_follows_alpha_rank_and_rslora() -> None:
    assert an_adapter().scale(CONV) == 8.0 / 2
    assert an_adapter(rslora=True).scale(TO_Q) == 4.0 / 2
    change = an_adapter().change(CONV)
    factors = an_adapter().factors[CONV]
    assert change.shape == (8, 6, 3, 3)
    torch.testing.assert_close(change, 4 * torch.einsum("or,rihw->oihw", factors["up"][..., 0, 0], factors["down"]))


def test_an_adapter_can_be_a_key_and_tells_of_itself() -> None:
    adapter = an_adapter()
    assert {adapter: 1.0}[adapter] == 1.0
    summary = adapter.summary()
    assert summary["layers"] == {"unet": 2, "text_encoder": 1}
    assert summary["ranks"] == {"2": 1, "4": 2}
    assert summary["parameters"] == sum(f.numel() for held in adapter.factors.values() for f in held.values())
    json.dumps(summary)


def test_a_file_of_other_tools_without_our_header_is_read(tmp_path: Path) -> None:
    pair = {f"{TO_Q}.lora_A.weight": torch.ones(4, 6), f"{TO_Q}.lora_B.weight": torch.ones(8, 4)}
    save_file(pair, tmp_path / "plain.safetensors")
    plain = load(tmp_path / "plain.safetensors")
    assert (plain.family, plain.trigger, plain.recipe, plain.alphas[TO_Q]) == ("", "", {}, 4.0)
    config = {"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {"^mid_block\\.\\S*": 1}}
    with pytest.raises(BadFile, match="is no plain name"):
        load(written(tmp_path, pair, lora_adapter_metadata=json.dumps(config)))
    config["unet.alpha_pattern"] = {"^mid_block.attentions.0.transformer_blocks.0.attn1.to_q$": 1}
    config["unet.lora_dropout"], config["unet.bias"] = 0.1, "none"
    read = load(
        written(tmp_path, pair, lora_adapter_metadata=json.dumps(config), **{"modelspec.trigger_phrase": "zwx"})
    )
    assert read.alphas[TO_Q] == 1.0
    assert read.trigger == "zwx"
    config["unet.alpha_pattern"] = {"attn1.to_k": 1}
    assert load(written(tmp_path, pair, lora_adapter_metadata=json.dumps(config))).alphas[TO_Q] == 8.0


# what is refused


def written(folder: Path, tensors: dict[str, Tensor], **header: str) -> Path:
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "bad.safetensors", header or None
    )
    return folder / "bad.safetensors"


def good(**changed: Tensor | None) -> dict[str, Tensor]:
    tensors = {f"{TO_Q}.lora_A.weight": torch.ones(4, 6), f"{TO_Q}.lora_B.weight": torch.ones(8, 4)}
    return {name: tensor for name, tensor in (tensors | changed).items() if tensor is not None}


A, B = f"{TO_Q}.lora_A.weight", f"{TO_Q}.lora_B.weight"
BAD_TENSORS: dict[str, tuple[dict[str, Tensor], str]] = {
    "empty": ({}, "there is nothing in it"),
    "nan": (good(**{A: torch.full((4, 6), torch.nan)}), r"lora_A\.weight holds numbers that are not finite"),
    "inf": (good(**{B: torch.full((8, 4), torch.inf)}), r"lora_B\.weight holds numbers that are not finite"),
    "half a pair": (good(**{B: None}), r"attn1\.to_q has no lora_B\.weight"),
    "other half": (good(**{A: None}), r"attn1\.to_q has no lora_A\.weight"),
    "ranks": (good(**{A: torch.ones(3, 6)}), r"do not belong together: \[3, 6\] and \[8, 4\]"),
    "dimensions": (good(**{A: torch.ones(4, 6, 3, 3)}), "do not belong together"),
    "integers": (good(**{A: torch.ones(4, 6, dtype=torch.int8)}), "holds torch.int8"),
    "unknown": (good(**{f"{TO_Q}.lora_C.weight": torch.ones(1)}), r"lora_C\.weight is of no kind of adapter"),
    "bias": (good(**{f"{TO_Q}.lora_B.bias": torch.ones(8)}), r"lora_B\.bias is of no kind of adapter"),
    "checkpoint": ({"unet.conv_in.weight": torch.ones(2)}, "a model's own weights, not an adapter"),
    "kohya": ({"lora_unet_mid_block_to_q.lora_down.weight": torch.ones(4, 6)}, "named as in the files of other tools"),
}


@pytest.mark.parametrize(("tensors", "what"), BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_unsound_tensors_are_refused(tmp_path: Path, tensors: dict[str, Tensor], what: str) -> None:
    with pytest.raises(BadFile, match=rf"bad\.safetensors: .*{what}"):
        load(written(tmp_path, tensors))


BAD_HEADERS: dict[str, tuple[dict[str, str], str]] = {
    "no json": ({"lora_adapter_metadata": "{"}, "lora_adapter_metadata of its header is not valid JSON"),
    "no object": ({"lora_adapter_metadata": "[1]"}, "no set of names and values"),
    "recipe": ({"lorastyle.recipe": "rank = 4"}, r"lorastyle\.recipe of its header is not valid JSON"),
    "alpha": ({"lora_adapter_metadata": '{"unet.lora_alpha": "many"}'}, "the alpha of .*to_q is 'many'"),
    "endless alpha": ({"lora_adapter_metadata": '{"unet.lora_alpha": Infinity}'}, "the alpha of .*to_q is inf"),
    "patterns": ({"lora_adapter_metadata": '{"unet.alpha_pattern": [1]}'}, "is no plain name"),
    "dora": ({"lora_adapter_metadata": '{"unet.use_dora": true}'}, "says use_dora, but the tensors"),
}


@pytest.mark.parametrize(("header", "what"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_unsound_headers_are_refused(tmp_path: Path, header: dict[str, str], what: str) -> None:
    with pytest.raises(BadFile, match=what):
        load(written(tmp_path, good(), **header))


def test_models_that_scale_differently_are_refused(tmp_path: Path) -> None:
    tensors = good() | {name.replace("unet.", "text_encoder."): tensor.clone() for name, tensor in good().items()}
    with pytest.raises(BadFile, match="only some of its models use rsLoRA"):
        load(written(tmp_path, tensors, lora_adapter_metadata='{"unet.use_rslora": true}'))


def a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}))


def a_torch_file(path: Path) -> None:
    torch.save({"a": torch.ones(2)}, path)


def half_a_file(path: Path) -> None:
    save_file(good(), path)
    path.write_bytes(path.read_bytes()[:-9])


def a_text(path: Path) -> None:
    path.write_text("<html>not found</html>")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (a_pickle, "this is a pickle file"),
        (a_torch_file, "this is a pickle file"),
        (half_a_file, "this is no whole .safetensors file"),
        (a_text, "this is no whole .safetensors file"),
        (Path.touch, "this is no whole .safetensors file"),
        (Path.mkdir, "this is no whole .safetensors file"),
        (lambda path: None, "there is no such file"),
    ],
    ids=["pickle", "torch", "half", "text", "nothing", "folder", "missing"],
)
def test_what_is_no_adapter_file_is_refused(tmp_path: Path, make: Callable[[Path], None], what: str) -> None:
    path = tmp_path / "given.safetensors"
    make(path)
    with pytest.raises(BadFile, match=rf"given\.safetensors: {what}"):
        load(path)
