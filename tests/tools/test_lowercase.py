"""The lower-casing character map, as T5's own tokenizer reads it."""

import string
from pathlib import Path

import pytest
from transformers import T5Tokenizer

from tools.pocket_flux.lowercase import lowercase_map


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> T5Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase, *string.digits, "é"]
    made = T5Tokenizer(
        vocab=[(piece, -3.0) for piece in pieces], _spm_precompiled_charsmap=lowercase_map(), extra_ids=0
    )
    made.save_pretrained(folder)
    return T5Tokenizer.from_pretrained(folder)


def test_every_letter_is_lowered(tokenizer: T5Tokenizer) -> None:
    pieces = tokenizer.tokenize(string.ascii_uppercase)
    assert pieces == ["▁", *string.ascii_lowercase]


def test_all_else_stays(tokenizer: T5Tokenizer) -> None:
    assert tokenizer.tokenize("az09é") == ["▁", *"az09é"]
    assert tokenizer.tokenize("a Z") == ["▁", "a", "▁", "z"]
