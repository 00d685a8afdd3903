"""Refusals as people read them: fields by their names, files by theirs."""

import pytest

from lorastyle import BadFile, BadInput
from ui.answers import failure, sentence
from ui.hiding import by_name


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BadInput("recipe.preview_every", "it is -4", "give 0 or more"), "Preview every: it is -4. Give 0 or more."),
        (BadInput("the bin", "it is empty", "delete something first"), "the bin: it is empty. Delete something first."),
        (BadFile("cat.png", "it is torn", "save it again"), "cat.png: it is torn. Save it again."),
        (
            BadFile("cache/from-people/me/1a/my recipe.toml", "it is torn", "save it again"),
            "my recipe.toml: it is torn. Save it again.",
        ),
    ],
)
def test_a_refusal_names_what_a_person_knows(error: BadInput, told: str) -> None:
    assert sentence(error) == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("recipe.preview_every: it is -4. Give 0 or more.", "Preview every: it is -4. Give 0 or more."),
        ("generate.width: 4096 is too much. Choose less.", "Width: 4096 is too much. Choose less."),
        ("recipe.png: it is torn. Save it again.", "recipe.png: it is torn. Save it again."),
        ("jobs/x1/upload/Ink 2.safetensors: it is torn.", "Ink 2.safetensors: it is torn."),
        ("There was not enough memory.", "There was not enough memory."),
    ],
)
def test_the_failure_of_a_job_is_worded_like_a_refusal(error: str, told: str) -> None:
    assert failure(error) == told


def test_what_is_no_folder_of_the_studio_stays() -> None:
    assert by_name("users/me/library/x1/Ink.safetensors: no") == "Ink.safetensors: no"
    for text in ("https://hub.example/users/ann/model", "owner/name: no such base", "my-jobs/a/b"):
        assert by_name(text) == text
