"""Captions from a model that describes pictures, here tiny random ones of the real classes, and from files' names."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorastyle import BadFile, BadInput, Dataset, caption_folder, caption_images

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "of", "red", "old", "barn"]
NAMES = ["old_barn-02.png", "IMG_0042.png", "Red Fox.png"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def save_tokenizer(folder: Path) -> None:
    from transformers import BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
        set_seed,
    )

    folder = tmp_path_factory.mktemp("captioners") / "blip"
    save_tokenizer(folder)
    tiny = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(WORDS), "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    config = BlipConfig(
        text_config={**tiny, **text, "encoder_hidden_size": 16, "max_position_embeddings": 80},
        vision_config={**tiny, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    set_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(images, BertTokenizer.from_pretrained(folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such as ViT-GPT2: image processor and tokenizer lie beside each other, without a processor for both."""
    from transformers import (
        BertConfig,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
        set_seed,
    )

    folder = tmp_path_factory.mktemp("captioners") / "vit"
    save_tokenizer(folder)
    tiny = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    decoder = BertConfig(**tiny, vocab_size=len(WORDS), is_decoder=True, add_cross_attention=True)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**tiny, image_size=32, patch_size=16), decoder
    )
    set_seed(0)
    model = VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = model.config.decoder_start_token_id = 2
    model.generation_config.pad_token_id = model.config.pad_token_id = 0
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_file_names_become_words(pictures: Path) -> None:
    assert dict(caption_images(Dataset.open(pictures))) == {
        "old_barn-02.png": "old barn",
        "IMG_0042.png": "",
        "Red Fox.png": "Red Fox",
    }


def test_files_can_have_names_of_ones_own(pictures: Path) -> None:
    images = {"1": pictures / NAMES[0], "2": pictures / NAMES[1]}
    assert list(caption_images(images, called={"1": "cat_03.jpeg"})) == [("1", "cat"), ("2", "")]
    assert [name for name, _ in caption_images([pictures / NAMES[0]])] == [str(pictures / NAMES[0])]


@pytest.mark.parametrize("model", ["blip", "encoder_decoder"])
def test_a_model_describes_each_picture(model: str, pictures: Path, request: pytest.FixtureRequest) -> None:
    folder = str(request.getfixturevalue(model))
    data, told = Dataset.open(pictures), []
    captions = dict(caption_images(data, folder, progress=lambda done, total: told.append((done, total))))
    assert list(captions) == [sample.name for sample in data.samples]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert any(captions.values())
    assert all(set(caption.split()) <= set(WORDS[5:]) for caption in captions.values())
    assert dict(caption_images(data, folder)) == captions


def test_a_prompt_is_told_to_the_model(blip: Path, pictures: Path) -> None:
    prompted = dict(caption_images(Dataset.open(pictures), str(blip), prompt="a red"))
    assert all(caption.startswith("a red") for caption in prompted.values())


def test_a_prompt_needs_a_model_that_reads_prompts(encoder_decoder: Path, pictures: Path) -> None:
    with pytest.raises(BadInput, match="it reads no prompt"):
        list(caption_images(Dataset.open(pictures), str(encoder_decoder), prompt="a red"))


def test_it_ends_between_pictures(pictures: Path) -> None:
    seen = []
    for name, _ in caption_images(Dataset.open(pictures), stop=lambda: len(seen) == 2):
        seen.append(name)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("captioner", "message"),
    [
        (
            "somebody/no-such-captioner",
            "somebody/no-such-captioner: there is no such folder, and the hub does not give",
        ),
        ("../up", "there is no such folder"),
        ("{empty}", "holds no model that puts pictures into words"),
    ],
)
def test_a_captioner_that_is_not_there(captioner: str, message: str, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=message):
        list(caption_images(Dataset.open(pictures), captioner.format(empty=tmp_path / "empty")))


def test_a_model_with_weights_missing_is_refused(blip: Path, pictures: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(blip, tmp_path / "torn")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "vision_model.encoder" in name)
    save_file({name: value for name, value in weights.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(BadInput, match="its weights lack vision_model"):
        list(caption_images(Dataset.open(pictures), str(folder)))


def test_weights_in_a_pickle_are_not_read(blip: Path, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for path in blip.iterdir():
        (folder / path.name.replace("model.safetensors", "pytorch_model.bin")).write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match="holds no model"):
        list(caption_images(Dataset.open(pictures), str(folder)))


def test_a_picture_that_cannot_be_read_is_named(blip: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadFile, match="broken"):
        list(caption_images({"broken": tmp_path / "broken.png"}, str(blip)))


def test_what_a_person_wrote_stays(blip: Path, pictures: Path) -> None:
    (pictures / "old_barn-02.txt").write_text("a barn by the sea")
    (pictures / "Red Fox.txt").write_text("")
    written = caption_folder(pictures, "file names")
    assert written == {"Red Fox.png": "Red Fox"}
    assert (pictures / "old_barn-02.txt").read_text() == "a barn by the sea"
    assert not (pictures / "IMG_0042.txt").exists()
    assert set(caption_folder(pictures, str(blip))) <= {"IMG_0042.png"}
    assert (pictures / "Red Fox.txt").read_text() == "Red Fox\n"
