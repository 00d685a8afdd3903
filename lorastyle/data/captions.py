"""What a caption becomes: its trigger word put in or taken out, its tags in other orders.

A caption is one line. The placeholder ``[trigger]`` stands for the trigger word, so that one set of captions serves
any word; tags are what commas separate. The orders are pure draws and a finite list, so that the embedding of each
can be cached before training draws among them.
"""

import dataclasses
import math
import re

from lorastyle import draws
from lorastyle.draws import Key
from lorastyle.errors import BadFile

_PLACEHOLDER = re.compile(r"\[trigger\]", re.IGNORECASE)


def caption_text(data: bytes, name: str) -> str:
    """The caption in a text file's bytes: UTF-8 with or without BOM, its lines joined to one.

    Raises BadFile for other encodings.
    """
    return " ".join(decoded_text(data, name).split())


def decoded_text(data: bytes, name: str) -> str:
    """The text in a file's bytes, which must be UTF-8, with or without BOM; raises BadFile where they are not."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(name, f"is not UTF-8 text (byte {error.start + 1})", "save it with the encoding UTF-8") from error
    if "\0" in text:  # UTF-16 without BOM is valid UTF-8 for most of English
        raise BadFile(name, "has NUL characters, as UTF-16 does", "save it with the encoding UTF-8")
    return text


def says(caption: str, trigger: str) -> bool:
    """Whether `caption` has the trigger word, or ``[trigger]`` in its place."""
    return bool(_PLACEHOLDER.search(caption) or _phrase(trigger).search(caption))


def with_trigger(caption: str, trigger: str, prefix: bool = True) -> str:
    """`caption` with the trigger word in place of ``[trigger]``.

    With `prefix`, a caption that does not say the trigger anywhere gets it as its first tag. Without a trigger the
    placeholder is left out.
    """
    if not trigger:
        return _tidy(_PLACEHOLDER.sub("", caption))
    text = _tidy(_PLACEHOLDER.sub(lambda _: trigger, caption))
    if not prefix or _phrase(trigger).search(text):
        return text
    return f"{trigger}, {text}" if text else trigger


def without_trigger(caption: str, trigger: str, class_word: str = "") -> str:
    """`caption` with `class_word` in place of the trigger and of ``[trigger]``, for preservation.

    The class word is not said twice: "sks dog" becomes "dog" for the class "dog", and a trigger that is a tag of its
    own goes where the rest of the caption names the class.
    """
    text = with_trigger(caption, trigger, prefix=False) if trigger else _PLACEHOLDER.sub(class_word, caption)
    if not trigger:
        return _tidy(text)
    if class_word:
        text = re.sub(f"{_phrase(trigger).pattern}\\s+(?={_phrase(class_word).pattern})", "", text, flags=re.IGNORECASE)
    tags = [tag.strip() for tag in text.split(",")]
    others = [tag for tag in tags if not _phrase(trigger).fullmatch(tag)]
    if class_word and _phrase(class_word).search(", ".join(others)):
        tags = others
    return _tidy(_phrase(trigger).sub(lambda _: class_word, ", ".join(tags)))


def variants(caption: str, shuffle_tags: bool, keep_tags: int, count: int, key: Key) -> list[str]:
    """At most `count` different captions with the same tags: first the caption as written, then shuffles of it in
    which the first `keep_tags` tags stay where they are. Fewer where there are not so many orders."""
    tags = [tag.strip() for tag in caption.split(",") if tag.strip()]
    kept, moved = tags[:keep_tags], tags[keep_tags:]
    if not shuffle_tags or len(moved) < 2:
        return [caption]
    found = {", ".join(tags): caption}
    attempts = 4 * count  # repeats are rare but for a few tags, where the list may stay shorter
    for attempt in range(attempts):
        if len(found) >= min(count, math.factorial(len(moved))):
            break
        order = draws.permutation(dataclasses.replace(key, position=attempt), f"tags: {caption}", len(moved))
        shuffled = ", ".join([*kept, *(moved[place] for place in order)])
        found.setdefault(shuffled, shuffled)
    return list(found.values())


def _phrase(words: str) -> re.Pattern[str]:
    """Matches `words` in any case, but not as part of a longer word."""
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE)


def _tidy(text: str) -> str:
    """Single spaces, and no comma at an end, doubled, or after a space."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+,", ",", text)
    text = re.sub(r",(\s*,)+", ",", text)
    return text.strip(" ,")
