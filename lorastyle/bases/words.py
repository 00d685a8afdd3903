"""How a base reads a word, looked up in its tokenizer's files alone; no torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

# CLIP splits text so before it looks for pieces (Radford et al. 2021, arXiv 2103.00020; `simple_tokenizer.py` there).
_CLIP_SPLIT = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_WORD_ENDS = "</w>"
_FILES = ("tokenizer.json", "vocab.json", "merges.txt")


def word_pieces(source: str | Path, words: str) -> list[str] | None:
    """The pieces that the base at `source` cuts `words` into, as its first text encoder gets them.

    A single piece is a word that the base has met often. None where the tokenizer is not on this machine as files of
    its own: a hub id that was never downloaded, or a single checkpoint.
    """
    files = {name: path for name in _FILES if (path := _located(str(source), name)) is not None}
    if "tokenizer.json" in files:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
    elif {"vocab.json", "merges.txt"} <= files.keys():
        tokenizer = _clip(files["vocab.json"], files["merges.txt"])
    else:
        return None
    pieces = tokenizer.encode(words, add_special_tokens=False).tokens
    return [piece.removesuffix(_WORD_ENDS) for piece in pieces]


def _located(source: str, name: str) -> Path | None:
    folder = Path(__file__).parent / source.replace("-", "_") if "/" not in source else Path(source)
    for place in (folder, Path(source)):
        if (place / "tokenizer" / name).is_file():
            return place / "tokenizer" / name
    return _in_hub_cache(source, name) if source.count("/") == 1 and not Path(source).exists() else None


def _in_hub_cache(source: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, f"tokenizer/{name}")
    return Path(found) if isinstance(found, str) else None


def _clip(vocabulary: Path, merges: Path) -> Any:
    """CLIP's tokenizer from the two files that it was first published as."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    read: Callable[..., Any] = models.BPE.from_file
    tokenizer = Tokenizer(read(str(vocabulary), str(merges), end_of_word_suffix=_WORD_ENDS, unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_CLIP_SPLIT), "removed", invert=True), pre_tokenizers.ByteLevel(False)]
    )
    return tokenizer
