"""The recipe as a form, what is said of a trigger word, and uploads laid out as the person had them."""

from pathlib import Path
from typing import Any

import pytest

from lorastyle import BadInput, Recipe, Workspace, shipped_facts
from tests.ui import seeding
from ui import uploads
from ui.pages.train.form import MAIN, MORE, Choice, as_text, own_of, recipe_of, suggestions, table
from ui.pages.train.trigger import check_trigger

CAPTIONS = ["a cat", "a dog", "a red fox", "an owl"]


def chosen(purpose: str = "style", trigger: str = "inkpen") -> Choice:
    return Choice("pocket", purpose, trigger, CAPTIONS)


def test_the_form_has_every_setting_of_the_schema_with_its_help_and_reason() -> None:
    settings = table(chosen(), shipped_facts()["pocket"], {})["settings"]
    assert settings.keys() == Recipe.model_json_schema()["properties"].keys() - {"purpose", "trigger"}
    for field in settings.values():
        assert field["help"]
        assert field["reason"]
        assert field["range"]


@pytest.mark.parametrize("purpose", ["style", "character", "object"])
def test_six_settings_at_most_are_always_in_sight(purpose: str) -> None:
    shown = table(chosen(purpose), shipped_facts()["pocket"], {})["main"]
    assert shown == [*MAIN, *MORE[purpose]]
    assert len(shown) <= 6


def test_what_is_suggested_comes_from_the_preset_of_the_base_with_its_reason() -> None:
    preset = shipped_facts()["pocket"].presets["style"]
    settings = table(chosen(), shipped_facts()["pocket"], {})["settings"]
    assert settings["learning_rate"]["suggested"] == "0.0015"
    assert preset.suggestions["learning_rate"].reason in settings["learning_rate"]["reason"].lower()
    assert settings["steps"]["suggested"] == str(preset.steps(len(CAPTIONS)))


def test_of_an_unknown_base_the_defaults_are_suggested() -> None:
    values, _ = suggestions(chosen(), None)
    assert values["learning_rate"] == Recipe().learning_rate
    assert values["steps"] is None


def test_the_recipe_leaves_to_the_preset_what_the_person_did_not_set() -> None:
    recipe = recipe_of(chosen(), shipped_facts()["pocket"], {"rank": "8"})
    assert recipe.rank == 8
    assert "learning_rate" not in recipe.model_fields_set
    assert recipe.preview_prompts
    assert recipe.checkpoint_every == recipe.preview_every


def test_previews_can_be_turned_off() -> None:
    assert recipe_of(chosen(), shipped_facts()["pocket"], {"preview_every": "0"}).preview_every == 0


def test_previews_are_suggested_for_the_steps_that_the_person_wants() -> None:
    own = {"steps": "40"}
    assert table(chosen(), shipped_facts()["pocket"], own)["settings"]["preview_every"]["suggested"] == "10"
    assert recipe_of(chosen(), shipped_facts()["pocket"], own).preview_every == 10
    preset = shipped_facts()["pocket"].presets["style"].steps(len(CAPTIONS))
    assert table(chosen(), shipped_facts()["pocket"], own)["settings"]["steps"]["suggested"] == str(preset)
    epochs = {"epochs": "20", "batch": "1"}
    assert recipe_of(chosen(), shipped_facts()["pocket"], epochs).preview_every == 20 * len(CAPTIONS) / 4


def test_prompts_are_suggested_from_captions_that_say_something() -> None:
    captions = ["cat", "a red cat on a mat", "a red cat on a hat", "an old owl in the wood", "a dog and " * 20]
    recipe = recipe_of(Choice("pocket", "style", "inkpen", captions), shipped_facts()["pocket"], {})
    assert recipe.preview_prompts == ["inkpen a red cat on a mat", "inkpen an old owl in the wood"]


def test_a_long_caption_becomes_a_prompt_that_can_be_drawn() -> None:
    for long in ("many words that say what is to be seen " * 100, "x" * 4000):
        (prompt,) = recipe_of(
            Choice("pocket", "style", "inkpen", [long]), shipped_facts()["pocket"], {}
        ).preview_prompts
        assert prompt.startswith("inkpen")
        assert len(prompt) <= 320


def test_prompts_are_a_line_each() -> None:
    recipe = recipe_of(chosen(), shipped_facts()["pocket"], {"preview_prompts": "one\n\n two "})
    assert recipe.preview_prompts == ["one", "two"]


def test_a_setting_that_cannot_be_used_is_told_at_its_field() -> None:
    shown = table(chosen(), shipped_facts()["pocket"], {"rank": "many"})
    assert shown["wrong"] == "rank"
    assert "whole number" in shown["problem"]
    with pytest.raises(BadInput):
        recipe_of(chosen(), shipped_facts()["pocket"], {"rank": "many"})


RECIPES: list[dict[str, Any]] = [
    {"rank": 8, "min_snr": None, "alpha": 4.0, "flip": True, "ranks": {".*attn1.*": 4}},
    {"targets": [".*attn1.*", ".*ff.*"], "preview_prompts": ["a cat", "a dog"], "preview_every": 5},
    {"kind": "lokr", "lokr_factor": 4, "background": "#00ff00", "learning_rate": 2.5e-4},
]


@pytest.mark.parametrize("settings", RECIPES)
def test_a_recipe_from_a_file_comes_back_out_of_the_form(settings: dict[str, Any]) -> None:
    recipe = Recipe(purpose="style", trigger="inkpen", **settings)
    again = recipe_of(chosen(), shipped_facts()["pocket"], own_of(recipe))
    assert {name: getattr(again, name) for name in settings} == settings


@pytest.mark.parametrize(("value", "text"), [(None, "auto"), (1e-4, "0.0001"), (True, "true"), ({}, ""), ([], "")])
def test_settings_are_written_the_way_toml_has_them(value: Any, text: str) -> None:
    assert as_text("alpha", value) == text


# trigger words


def remarks(word: str, captions: list[str] | None = None) -> str:
    return " ".join(text for _, text in check_trigger("pocket", word, [], CAPTIONS if captions is None else captions))


def test_a_made_up_word_is_told_in_its_pieces() -> None:
    assert "3 pieces" in remarks("inkpen")


def test_a_word_that_the_base_knows_is_doubted() -> None:
    (good, text), *_ = check_trigger("pocket", "cat", [], [])
    assert not good
    assert "knows" in text


def test_the_placeholder_of_captions_is_no_word() -> None:
    ((good, text),) = check_trigger("pocket", "[trigger]", [], CAPTIONS)
    assert not good
    assert "stands for the trigger word" in text
    assert table(chosen(trigger="[trigger]"), shipped_facts()["pocket"], {})["wrong"] == "trigger"
    with pytest.raises(BadInput, match="stands for the trigger word"):
        recipe_of(chosen(trigger="[trigger]"), shipped_facts()["pocket"], {})


def test_of_a_base_that_is_refused_no_vocabulary_is_told() -> None:
    assert check_trigger("", "inkpen", [], ["[trigger] cat"]) == []


def test_captions_without_the_word_are_counted() -> None:
    assert "None of 4 captions" in remarks("inkpen")
    assert "1 of 2 captions" in remarks("inkpen", ["an Inkpen cat", "a dog"])
    assert "captions" not in remarks("inkpen", ["[trigger] cat"])


def test_a_base_that_is_not_here_is_said_to_be_unread() -> None:
    (_, text), *_ = check_trigger("nobody/nothing", "inkpen", [], [])
    assert "cannot be looked up" in text


# uploads


def test_uploads_lie_as_the_person_had_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "abc").mkdir()
    for name in ("cat.png", "cat.txt"):
        (tmp_path / "abc" / name).write_text(name)
    sent = [{"path": str(tmp_path / "abc" / name), "name": f"pets/../{name}"} for name in ("cat.png", "cat.txt")]
    with uploads.laid_out(sent) as paths:
        assert [path.name for path in paths] == ["pets"]
        assert sorted(path.name for path in paths[0].iterdir()) == ["cat.png", "cat.txt"]
    uploads.discard(sent)
    assert not list((tmp_path / "abc").iterdir())


def test_uploads_of_equal_names_all_come_in_with_their_captions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of two folders of one name, as a browser sends them: one folder's files of a stem, then the other's."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    area, sent = Workspace(tmp_path / "studio").area(), []
    for number, name in enumerate(("cat.png", "cat.png", "cat.txt", "dog.png", "pets/cat.png", "pets/cat.png")):
        path = tmp_path / "store" / str(number)
        path.write_text("the second cat") if name.endswith("txt") else seeding.picture(path, 40 * number)
        sent.append({"path": str(path), "name": name})
    draft = area.new_dataset("pets")
    with uploads.laid_out(sent) as paths:
        took = draft.add(paths)
    assert (len(took.added), took.refused) == (5, ())
    captions = sorted((row.name, row.caption) for row in draft.rows())
    assert captions == [
        ("cat.png", ""), ("cat.png", ""), ("cat.png", ""), ("cat.png", "the second cat"), ("dog.png", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.png", ""])
def test_what_was_not_uploaded_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "store"))
    with pytest.raises(BadInput, match="not uploaded"), uploads.laid_out([{"path": path, "name": "x.png"}]):
        pass


def test_no_digit_of_a_number_is_lost() -> None:
    assert [as_text("learning_rate", rate) for rate in (0.0001, 1.0, 0.00012345678)] == ["0.0001", "1", "0.00012345678"]
