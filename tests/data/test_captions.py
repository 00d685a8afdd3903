"""Trigger words put in and taken out, tag orders, encodings."""

from dataclasses import replace

import pytest

from lorastyle.data.captions import caption_text, variants, with_trigger, without_trigger
from lorastyle.draws import Key
from lorastyle.errors import BadFile

KEY = Key(seed=3, member="ink")


@pytest.mark.parametrize(
    ("caption", "trigger", "prefix", "wanted"),
    [
        ("a photo of [trigger] asleep", "sks", True, "a photo of sks asleep"),
        ("[Trigger] and [TRIGGER]", "sks", True, "sks and sks"),
        ("a cat", "ink style", True, "ink style, a cat"),
        ("a cat", "ink style", False, "a cat"),
        ("a cat, Ink Style", "ink style", True, "a cat, Ink Style"),
        ("an inkwell", "ink", True, "ink, an inkwell"),
        ("", "ink", True, "ink"),
        ("", "ink", False, ""),
        ("a [trigger] cat", "", True, "a cat"),
        ("[trigger], a cat", "", True, "a cat"),
        ("a \\1 cat, [trigger]", r"\1x", True, r"a \1 cat, \1x"),
        ("a (big) cat", "c++ (v2)", True, "c++ (v2), a (big) cat"),
    ],
)
def test_with_trigger(caption: str, trigger: str, prefix: bool, wanted: str) -> None:
    assert with_trigger(caption, trigger, prefix) == wanted


@pytest.mark.parametrize("caption", ["a cat", "[trigger] asleep", "", "sks, a cat", "a cat,, on a mat , red"])
@pytest.mark.parametrize("prefix", [True, False])
def test_the_trigger_is_put_in_only_once(caption: str, prefix: bool) -> None:
    once = with_trigger(caption, "sks", prefix)
    assert with_trigger(once, "sks", prefix) == once
    assert once.count("sks") <= 1


@pytest.mark.parametrize(
    ("caption", "class_word", "wanted"),
    [
        ("a photo of sks asleep", "dog", "a photo of dog asleep"),
        ("a photo of sks dog asleep", "dog", "a photo of dog asleep"),
        ("a photo of [trigger] Dog", "dog", "a photo of Dog"),
        ("sks, smiling", "dog", "dog, smiling"),
        ("sks, a brown dog", "dog", "a brown dog"),
        ("sks, a hotdog", "dog", "dog, a hotdog"),
        ("sks, smiling", "", "smiling"),
        ("smiling, sks, hat", "", "smiling, hat"),
        ("sks", "dog", "dog"),
        ("sks", "", ""),
        ("sksy things", "dog", "sksy things"),
        ("a cat", "dog", "a cat"),
    ],
)
def test_without_trigger(caption: str, class_word: str, wanted: str) -> None:
    assert without_trigger(caption, "sks", class_word) == wanted


def test_without_any_trigger_the_placeholder_becomes_the_class() -> None:
    assert without_trigger("a photo of [trigger] asleep", "", "dog") == "a photo of dog asleep"


@pytest.mark.parametrize("caption", ["a cat", "[trigger] asleep", "", "a dog, [trigger]"])
def test_what_was_put_in_is_gone_again(caption: str) -> None:
    assert "sks" not in without_trigger(with_trigger(caption, "sks"), "sks", "dog")


def test_variants_begin_with_the_caption_as_written() -> None:
    caption = "sks,  red ,blue, green, white"
    found = variants(caption, True, 1, 10, KEY)
    assert found[0] == caption
    assert len(found) == len(set(found)) == 10


def test_variants_keep_their_first_tags_and_lose_none() -> None:
    for variant in variants("a, b, c, d, e, f", True, 2, 20, KEY):
        tags = variant.split(", ")
        assert tags[:2] == ["a", "b"]
        assert sorted(tags) == list("abcdef")


def test_variants_are_a_finite_list_of_their_key() -> None:
    caption = "a, b, c, d, e"
    assert variants(caption, True, 0, 12, KEY) == variants(caption, True, 0, 12, KEY)
    assert variants(caption, True, 0, 12, KEY) != variants(caption, True, 0, 12, replace(KEY, seed=4))
    assert variants(caption, True, 0, 12, KEY) != variants(caption, True, 0, 12, replace(KEY, member="other"))


def test_more_variants_begin_with_the_fewer() -> None:
    caption = "a, b, c, d, e"
    assert variants(caption, True, 0, 12, KEY)[:5] == variants(caption, True, 0, 5, KEY)


def test_variants_stop_where_there_are_no_more_orders() -> None:
    assert set(variants("sks, a, b", True, 1, 16, KEY)) == {"sks, a, b", "sks, b, a"}


@pytest.mark.parametrize(
    ("caption", "shuffle_tags", "keep_tags", "count"),
    [
        ("a, b, c", False, 1, 9),
        ("a whole sentence", True, 0, 9),
        ("a, b", True, 1, 9),
        ("a, b, c", True, 0, 1),
        ("", True, 1, 9),
    ],
)
def test_some_captions_have_no_variants(caption: str, shuffle_tags: bool, keep_tags: int, count: int) -> None:
    assert variants(caption, shuffle_tags, keep_tags, count, KEY) == [caption]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf_8_captions_become_one_line(encoding: str) -> None:
    assert caption_text("  ein Bär,\r\n\tgrün \n".encode(encoding), "x.txt") == "ein Bär, grün"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(BadFile) as caught:
        caption_text("a bear, grün".encode(encoding), "x.txt")
    assert caught.value.where == "x.txt"
    assert "UTF-8" in caught.value.do


def test_utf_16_without_bom_is_told_from_utf_8() -> None:
    with pytest.raises(BadFile, match="NUL"):
        caption_text("a bear".encode("utf-16-le"), "x.txt")
