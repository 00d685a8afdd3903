"""How a picture was drawn is kept in its file, and read back from there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lorastyle import BadFile, BadInput, generate, read_parameters, write_image
from lorastyle.adapters.file import Adapter, save
from lorastyle.bases.base import Base

FEW = {"steps": 2, "guidance": 3.0}


@pytest.fixture
def ink(make: Callable[[int], Adapter], tmp_path: Path) -> Path:
    path = tmp_path / "ink.safetensors"
    save(path, make(1))
    return path


def test_all_parameters_are_in_the_file(base: Base, ink: Path, tmp_path: Path) -> None:
    image = generate(
        base, ["a cat, día\nseen from above"], {ink: 0.7}, seed=5, numbers=[3], width=32, height=64, **FEW
    )[0]
    write_image(tmp_path / "cat.png", image)
    told = read_parameters(tmp_path / "cat.png")
    (adapter,) = told.pop("adapters")
    assert (adapter["name"], adapter["strength"], len(adapter["hash"])) == ("ink", 0.7, 10)
    assert told.pop("lorastyle")
    assert told == {
        "prompt": "a cat, día\nseen from above",
        "negative": "",
        "seed": 5,
        "number": 3,
        "steps": 2,
        "guidance": 3.0,
        "width": 32,
        "height": 64,
        "clip_skip": 0,
        "zero_terminal_snr": False,
        "precision": "fp32",
        "base": "tiny",
        "family": base.family.name,
    }


def test_what_is_read_draws_the_same_picture_again(base: Base, ink: Path, tmp_path: Path) -> None:
    drawn = generate(base, ["a dog", "a cat"], {ink: 0.5}, seed=2, batch=1, **FEW)
    write_image(tmp_path / "cat.png", drawn[1])
    told = read_parameters(tmp_path / "cat.png")
    again = generate(
        base,
        [told["prompt"]],
        {ink: told["adapters"][0]["strength"]},
        seed=told["seed"],
        numbers=[told["number"]],
        steps=told["steps"],
        guidance=told["guidance"],
    )
    assert again[0].tobytes() == drawn[1].tobytes()


def test_other_tools_find_what_they_show(base: Base, ink: Path, tmp_path: Path) -> None:
    image = generate(base, ["a cat"], {ink: 0.7}, seed=5, **FEW)[0]
    write_image(tmp_path / "cat.png", image)
    with Image.open(tmp_path / "cat.png") as read:
        prompt, values = read.info["parameters"].split("\n")
    assert prompt == "a cat <lora:ink:0.7>"
    assert values.startswith("Steps: 2, CFG scale: 3, Seed: 5, Size: ")
    assert 'Lora hashes: "ink: ' in values


def test_a_checkpoint_is_named_by_its_step_and_no_place_is_told(base: Base, ink: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "step-000100" / "adapter.safetensors"
    checkpoint.parent.mkdir()
    ink.rename(checkpoint)
    write_image(tmp_path / "cat.png", generate(base, ["a cat"], {checkpoint: 1.0}, **FEW)[0])
    assert read_parameters(tmp_path / "cat.png")["adapters"][0]["name"] == "step-000100"
    assert str(tmp_path).encode() not in (tmp_path / "cat.png").read_bytes()


def test_other_texts_of_a_picture_are_not_kept(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    image.info["Author"] = "somebody"
    write_image(tmp_path / "plain.png", image)
    assert b"somebody" not in (tmp_path / "plain.png").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "does not say how"), ("{", "cannot be read"), ("[1]", "does not say"), ("[" * 99999, "cannot be read")],
)
def test_pictures_that_do_not_say_are_refused(text: str | None, message: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    if text:
        image.info["lorastyle"] = text
    write_image(tmp_path / "plain.png", image)
    with pytest.raises(BadFile, match=message):
        read_parameters(tmp_path / "plain.png")


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.png").write_text(json.dumps({"prompt": "a cat"}))
    for name, message in (("other.png", "cannot be read as a PNG"), ("none.png", "no such file")):
        with pytest.raises(BadFile, match=message):
            read_parameters(tmp_path / name)


def test_one_number_for_each_prompt(base: Base) -> None:
    with pytest.raises(BadInput, match="numbers: there are 1 numbers for 2 prompts"):
        generate(base, ["a", "b"], numbers=[0], **FEW)
