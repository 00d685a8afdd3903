import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, Frame, families
from lorastyle.bases.layout import MARKER, read_layout
from lorastyle.bases.load import detect, load_base
from lorastyle.errors import BadFile, BadInput, Unsupported

NO_CHECKER = {"safety_checker": None}  # only the oldest pipelines have one; the others pass over it


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def own_folder(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "mine"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of the family that the others are told from, as diffusers writes it."""
    family, path = families()["sd1"], tmp_path_factory.mktemp("plain") / "tiny"
    family.pipeline(family.tiny(0)).save_pretrained(path)
    return path


@pytest.fixture
def own_plain(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "mine"))


def change_json(path: Path, **entries: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def predictions(base: Base) -> torch.Tensor:
    """What the denoiser makes of fixed latents and a prompt: it depends on the denoiser and the text encoders."""
    latents = torch.ones(1, *base.latent_shape(base.resolution, base.resolution))
    frame = Frame.drawn(base.resolution, base.resolution)
    with torch.no_grad():
        told = {**base.encode_prompts(["a cat"]), **base.geometry([frame])}
        return base.predict(latents, torch.tensor([500]), told)


# Folders


@pytest.mark.usefixtures("no_network")
def test_a_folder_is_loaded_whole_and_without_the_network(folder: Path, family: Family) -> None:
    base, made = load_base(folder), Base("tiny", family, family.tiny(0))
    assert (base.name, base.family) == ("tiny", family)
    assert torch.equal(predictions(base), predictions(made))
    for role in family.roles:
        assert base.fingerprint(role) == made.fingerprint(role)


def test_a_base_is_called_as_its_folder(own_plain: Path) -> None:
    dotted = own_plain.rename(own_plain.with_name("sd.v1"))
    assert load_base(dotted).name == "sd.v1"


def test_nothing_is_loaded_before_it_is_needed(folder: Path) -> None:
    base = load_base(str(folder), device="cpu")
    assert base.parts.loaded == []
    base.encode_prompts(["a cat"])
    assert set(base.parts.loaded) == set(base.role("text"))


def test_half_precision_files_are_loaded_in_fp32(folder: Path, tmp_path: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float16, **NO_CHECKER)
    pipeline.save_pretrained(tmp_path / "plain")
    pipeline.save_pretrained(tmp_path / "variant", variant="fp16")
    assert list((tmp_path / "variant").rglob("diffusion_pytorch_model.fp16.safetensors"))
    plain, variant = load_base(tmp_path / "plain"), load_base(tmp_path / "variant")
    for base in (plain, variant):
        assert {weight.dtype for model in base.models.values() for weight in model.parameters()} == {torch.float32}
    assert torch.equal(predictions(plain), predictions(variant))


def dtypes(base: Base, role: str) -> set[torch.dtype]:
    models = [base.parts[part] for part in base.role(role) if isinstance(base.parts[part], torch.nn.Module)]
    return {weight.dtype for model in models for weight in model.parameters()}


def test_in_bf16_what_is_large_takes_half_the_memory_and_predicts_nearly_the_same(folder: Path) -> None:
    whole, halved = load_base(folder, device="cpu"), load_base(folder, device="cpu", precision="bf16")
    assert dtypes(halved, "denoiser") == dtypes(halved, "text") == {torch.bfloat16}
    assert dtypes(halved, "autoencoder") == {torch.float32}
    exact, near = predictions(whole), predictions(halved)
    assert near.dtype == torch.float32
    # A rounding is 2^-9 of a number; weights, inputs and sums of some tens of layers are rounded (0.5 to 1.4 % here).
    assert 0 < (near - exact).norm() < 0.05 * exact.norm()
    assert halved.fingerprint("text") != whole.fingerprint("text")  # so the cache keeps them apart


def test_parts_leave_memory_and_come_back(folder: Path) -> None:
    base = load_base(folder)
    before, latents = predictions(base), torch.ones(1, *base.latent_shape(base.resolution, base.resolution))
    pixels = base.decode_latents(latents)
    base.unload("text")
    base.unload("autoencoder")
    assert set(base.role("denoiser")) <= set(base.parts.loaded)
    assert not {*base.role("text"), *base.role("autoencoder")} & set(base.parts.loaded)
    assert torch.equal(predictions(base), before)
    assert torch.equal(base.decode_latents(latents), pixels)


def test_what_came_from_no_file_stays(base: Base) -> None:
    before = predictions(base)
    base.unload("text")
    assert torch.equal(predictions(base), before)


def test_the_pipeline_is_made_of_the_bases_own_models(folder: Path) -> None:
    base = load_base(folder)
    assert type(base.pipeline).__name__ == base.family.pipeline_class
    for part in base.adapted:
        assert getattr(base.pipeline, part) is base.models[part]


def test_everything_moves_to_a_device_and_later_parts_follow(folder: Path) -> None:
    base = load_base(folder)
    assert base.models[base.adapted[0]].device.type == base.device.type
    base.to("meta")
    assert {base.models[part].device.type for part in base.models} == {"meta"}


# Detection


def test_the_marker_outlives_diffusers(own_folder: Path, family: Family, tmp_path: Path) -> None:
    DiffusionPipeline.from_pretrained(own_folder, **NO_CHECKER).save_pretrained(tmp_path / "again")
    assert detect(read_layout(tmp_path / "again")) is family


def test_a_layout_is_of_one_family(own_folder: Path, family: Family) -> None:
    """A family that is known by its marker looks like another without it; all others are told by their layout."""
    layout = read_layout(own_folder)
    takers = [taker.name for taker in families().values() if taker.recognises(layout)]
    assert len(takers) == 1
    assert (layout.marker or takers[0]) == family.name


def test_an_unknown_marker_is_refused(own_folder: Path, family: Family) -> None:
    change_json(own_folder / family.adapted[0] / "config.json", **{MARKER: "pocket-9"})
    with pytest.raises(Unsupported, match=r"family 'pocket-9', which this version .* Update lorastyle"):
        load_base(own_folder)


def test_other_denoisers_are_of_no_family(own_folder: Path, family: Family) -> None:
    denoiser = own_folder / family.adapted[0] / "config.json"
    config = json.loads(denoiser.read_text())
    config.pop(MARKER, None)
    denoiser.write_text(json.dumps(config | {"_class_name": "SanaTransformer2DModel"}))
    change_json(own_folder / "model_index.json", _class_name="SanaPipeline")
    with pytest.raises(Unsupported, match=r"mine: a SanaPipeline laid out like this is of no family"):
        load_base(own_folder)


# What cannot be loaded


def test_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither a file nor a folder"):
        load_base(tmp_path / "nowhere")


def test_a_hub_id_without_the_hub() -> None:
    with pytest.raises(
        BadInput, match=r"^nobody/nothing: it is not on this machine, and the hub cannot be reached\. Check"
    ):
        load_base("nobody/nothing")


def test_a_hub_id_is_downloaded(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: asked.append(name) or str(plain))
    monkeypatch.setattr(DiffusionPipeline, "download", lambda name, **_: asked.append(name) or str(plain))
    base = load_base("somebody/tiny")
    assert (base.name, asked) == ("somebody/tiny", ["somebody/tiny"] * 2)
    assert predictions(base).isfinite().all()


@pytest.mark.parametrize("suffix", [".ckpt", ".bin", ".pt", ".pth", ".pkl"])
def test_pickles_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"whatever")
    with pytest.raises(BadFile, match=r"pickle file, which can run any code .* as \.safetensors"):
        load_base(path)


def test_a_folder_with_pickled_weights_is_refused(own_plain: Path) -> None:
    weights = own_plain / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(BadFile, match=r"text_encoder: its weights are in a pickle file"):
        load_base(own_plain).encode_prompts(["a cat"])


def test_missing_weights_are_refused(own_plain: Path) -> None:
    (own_plain / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BadFile, match=r"vae: there are no weights"):
        load_base(own_plain).decode_latents(torch.zeros(1, 4, 8, 8))


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_incomplete_weights_are_refused(own_plain: Path, file: str) -> None:
    weights = load_file(own_plain / file)
    name = sorted(weights)[-1]
    del weights[name]
    save_file(weights, own_plain / file, {"format": "pt"})
    with pytest.raises(BadFile, match=rf"1 weights are missing in it, the first is {name}"):
        predictions(load_base(own_plain))


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_damaged_weights_are_refused(own_plain: Path, file: str) -> None:
    whole = (own_plain / file).read_bytes()
    (own_plain / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="cannot be loaded"):
        predictions(load_base(own_plain))


def test_weights_of_another_shape_are_refused(own_plain: Path) -> None:
    change_json(own_plain / "unet" / "config.json", cross_attention_dim=48)
    with pytest.raises(BadFile, match="unet: this cannot be loaded"):
        predictions(load_base(own_plain))


def test_a_missing_part_is_refused(own_plain: Path) -> None:
    shutil.rmtree(own_plain / "tokenizer")
    with pytest.raises(BadFile, match="tokenizer: there is no such folder"):
        load_base(own_plain).tokens("cat")


def test_only_classes_of_diffusers_and_transformers_are_loaded(own_plain: Path) -> None:
    change_json(own_plain / "model_index.json", vae=["os", "system"])
    with pytest.raises(BadFile, match="vae is of no class of diffusers or transformers"):
        load_base(own_plain).decode_latents(torch.zeros(1, 4, 8, 8))


def test_other_folders_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="there is no model_index.json in it"):
        load_base(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadFile, match="this is an adapter, not a base"):
        load_base(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BadFile, match="this is no model file"):
        load_base(tmp_path / "notes.txt")


def test_an_adapter_file_is_not_a_base(tmp_path: Path) -> None:
    save_file({"unet.conv_in.lora_A.weight": torch.zeros(4, 4)}, tmp_path / "ink.safetensors")
    with pytest.raises(Unsupported, match="this is an adapter, not a base"):
        load_base(tmp_path / "ink.safetensors")


def test_a_torn_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(BadFile, match=r"no whole \.safetensors file"):
        load_base(tmp_path / "torn.safetensors")


# The embedded base


@pytest.mark.usefixtures("no_network")
def test_the_embedded_base_loads_without_the_network() -> None:
    base = load_base()
    assert (base.name, base.family.name, base.resolution) == ("pocket", "pocket", 128)
    assert predictions(base).isfinite().all()
