"""Captioners of all kinds that people use: asked in a conversation, told a task, or unasked."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorastyle import BadInput, Dataset, caption_folder, caption_images
from tests.captioning.tiny import ASKED, CAPTIONERS, WORDS, saved, saved_qwen

SHAPES = {"grey.png": ("L", (40, 60)), "clear.png": ("RGBA", (60, 40)), "wide.png": ("RGB", (300, 9))}
LONGEST = 75  # tokens
SAYING = [name for name in CAPTIONERS if name != "blip2"]  # its language model cannot be told what to say


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name, (mode, (width, height)) in SHAPES.items():
        levels = np.random.default_rng(len(name)).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
        Image.fromarray(levels.squeeze(), mode).save(folder / name)
    return folder


def captions(pictures: Path, captioner: str) -> list[str]:
    return [text for _, text in caption_images(sorted(pictures.glob("*.png")), captioner)]


def caption(pictures: Path, captioner: str, prompt: str = "") -> str:
    ((_, text),) = caption_images([pictures / "wide.png"], captioner, prompt=prompt)
    return text


@pytest.mark.parametrize("name", CAPTIONERS)
def test_a_model_describes_pictures_of_any_kind(name: str, pictures: Path, tmp_path: Path) -> None:
    made = captions(pictures, saved(tmp_path / name, name))
    assert len(made) == len(SHAPES)
    assert any(made)
    assert set(" ".join(made).split()) <= set(" ".join(WORDS).split())


@pytest.mark.parametrize("name", CAPTIONERS)
def test_a_model_in_half_precision_says_the_same_each_time(name: str, pictures: Path, tmp_path: Path) -> None:
    captioner = saved(tmp_path / name, name, half=True)
    assert caption(pictures, captioner) == caption(pictures, captioner) != ""


@pytest.mark.parametrize("name", SAYING)
def test_a_question_is_told_and_does_not_come_back(name: str, pictures: Path, tmp_path: Path) -> None:
    captioner = saved(tmp_path / name, name, says="dog")
    begun = "asked a " if name == "git" else ""  # for which it is how the caption begins
    assert caption(pictures, captioner, "asked a").startswith(f"{begun}dog dog")


@pytest.mark.parametrize("name", ["llava", "blip2", "git"])
def test_a_question_changes_what_is_said(name: str, pictures: Path, tmp_path: Path) -> None:
    captioner = saved(tmp_path / name, name)
    answers = {caption(pictures, captioner, question) for question in ("old old old", "dog of", "a a red barn")}
    assert len(answers) > 1
    if name != "git":
        assert not any(one.startswith(("old old old", "dog of ", "a a red barn")) for one in answers)


@pytest.mark.parametrize("name", SAYING)
def test_who_has_nothing_to_say_writes_nothing(name: str, pictures: Path, tmp_path: Path) -> None:
    captioner = saved(tmp_path / name, name, says="")
    assert captions(pictures, captioner) == [""] * len(SHAPES)
    assert caption_folder(pictures, captioner) == {}
    assert list(pictures.glob("*.txt")) == []


@pytest.mark.parametrize("name", SAYING)
def test_what_is_too_long_ends_with_a_whole_sentence_or_word(name: str, pictures: Path, tmp_path: Path) -> None:
    sentences = caption(pictures, saved(tmp_path / "sentences", name, says="cat. red"))
    assert sentences == "cat. " + "red cat. " * (LONGEST - 2) + "red cat."
    words = caption(pictures, saved(tmp_path / "words", name, says="dog"))
    assert words == " ".join(["dog"] * (LONGEST - 1))


@pytest.mark.parametrize("name", ["llava", "florence2"])
def test_it_ends_between_pictures(name: str, pictures: Path, tmp_path: Path) -> None:
    made = []
    for one in caption_images(Dataset.open(pictures), saved(tmp_path / name, name), stop=lambda: bool(made)):
        made.append(one)
    assert len(made) == 1


def test_a_model_of_tasks_is_told_one(pictures: Path, tmp_path: Path) -> None:
    captioner = saved(tmp_path / "florence", "florence2")
    assert caption(pictures, captioner) == caption(pictures, captioner, "<CAPTION>")
    with pytest.raises(BadInput, match="could not describe a picture .Task token <CAPTION>.*another prompt"):
        caption(pictures, captioner, "<CAPTION> of a cat")


@pytest.mark.parametrize("name", ASKED)
def test_a_model_of_conversations_without_a_template_says_what_it_misses(
    name: str, pictures: Path, tmp_path: Path
) -> None:
    captioner = saved(tmp_path / name, name, chats=False)
    with pytest.raises(BadInput, match=f"{name}: it could not describe a picture .* Give it another prompt"):
        caption(pictures, captioner, "asked")


def test_a_prompt_may_say_where_the_picture_stands(pictures: Path, tmp_path: Path) -> None:
    captioner = saved(tmp_path / "llava", "llava", says="dog", chats=False)
    assert caption(pictures, captioner, "asked <image> a").startswith("dog dog")


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_model_that_needs_another_package_says_which(pictures: Path, tmp_path: Path) -> None:
    told = "this model needs the package torchvision, which is not installed. Install it .pip install torchvision."
    with pytest.raises(BadInput, match=told):
        caption(pictures, saved_qwen(tmp_path / "qwen"))
