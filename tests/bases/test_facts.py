"""What a form knows of a base without torch: the facts that ship, and how it reads a word."""

import json
from pathlib import Path

import pytest

import lorastyle
from lorastyle import BaseFacts, Recipe, describe_base, shipped_facts, word_pieces

TOKENIZER = Path(lorastyle.__file__).parent / "bases" / "pocket" / "tokenizer"


@pytest.mark.parametrize("base", ["pocket", "pocket-flux"])
def test_the_shipped_facts_are_what_the_base_says_of_itself(base: str) -> None:
    """Where this fails, the base has changed: write `describe_base(...).as_json()` to its file in lorastyle/bases."""
    assert describe_base(lorastyle.load_base(base)) == shipped_facts()[base]


def test_facts_come_back_from_json() -> None:
    facts = shipped_facts()["pocket"]
    assert BaseFacts.from_json(json.loads(json.dumps(facts.as_json()))) == facts


def test_a_recipe_is_resolved_by_facts_alone() -> None:
    facts = shipped_facts()["pocket"]
    recipe = Recipe(purpose="style").resolved(facts.presets["style"], 28, facts.resolution, facts.guidance)
    assert (recipe.steps, recipe.resolution) == (196, 128)


def test_a_known_word_is_one_piece_and_a_made_up_one_several() -> None:
    assert word_pieces("pocket", "cat") == ["cat"]
    assert word_pieces("pocket", "inkpen") == ["in", "k", "pen"]


def test_a_folder_is_read_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "base" / "tokenizer").mkdir(parents=True)
    (tmp_path / "base" / "tokenizer" / "tokenizer.json").write_bytes((TOKENIZER / "tokenizer.json").read_bytes())
    assert word_pieces(tmp_path / "base", "inkpen") == ["in", "k", "pen"]


def test_clip_s_first_two_files_are_understood_too(tmp_path: Path) -> None:
    model = json.loads((TOKENIZER / "tokenizer.json").read_text())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    assert word_pieces(tmp_path, "Inkpen  cat") == ["in", "k", "pen", "cat"]


@pytest.mark.parametrize("source", ["nobody/nothing", "nowhere", "/etc"])
def test_without_a_tokenizer_nothing_is_said(source: str) -> None:
    assert word_pieces(source, "cat") is None
