"""What is to be said about a trigger word before it is taught."""

from collections.abc import Iterable
from html import escape

from lorastyle import Card, word_pieces

PLACEHOLDER = "[trigger]"  # in captions
_LONG = 6  # pieces; each takes a place of the prompt, and has to be learnt


def check_trigger(base: str, trigger: str, cards: Iterable[Card], captions: Iterable[str]) -> list[tuple[bool, str]]:
    """Remarks on the word, each with whether it is good news; `cards` are the adapters that the person has, and `base`
    is what it is loaded by, "" for one that may not be used."""
    words = " ".join(trigger.split())
    if not words:
        return [(True, "Without a trigger word the adapter acts on every prompt. That suits a style.")]
    if PLACEHOLDER in words.casefold():
        return [(False, f"{PLACEHOLDER} stands for the trigger word in captions. Write the word itself, made up.")]
    remarks = [_read(base, words)] if base else []
    taken = [card.title for card in cards if card.trigger.casefold() == words.casefold()]
    if taken:
        remarks.append(
            (False, f"Your adapter “{taken[0]}” has this word already; used together, they would both answer to it.")
        )
    captions = list(captions)
    missing = sum(words.casefold() not in caption.casefold() and PLACEHOLDER not in caption for caption in captions)
    if missing:
        which = "None" if missing == len(captions) else f"{len(captions) - missing}"
        remarks.append((True, f"{which} of {len(captions)} captions have it; it is put in front of the others."))
    return remarks


def as_html(remarks: Iterable[tuple[bool, str]]) -> str:
    """The remarks as a list below the field."""
    items = "".join(f'<li class="{"fine" if good else "doubt"}">{escape(text)}</li>' for good, text in remarks)
    return f'<ul class="remarks">{items}</ul>'


def _read(base: str, words: str) -> tuple[bool, str]:
    pieces = word_pieces(base, words)
    if pieces is None:
        return (
            True,
            "The base's vocabulary is not on this machine yet, so the word cannot be looked up before training.",
        )
    if len(pieces) == 1:
        known = f"The base knows “{words}” as a word already; what it means there would mix with what you teach."
        return False, f"{known} A made-up word works better."
    cut = f"The base reads it as {len(pieces)} pieces ({' · '.join(pieces)})"
    if len(pieces) > _LONG:
        return False, f"{cut}. That is long; a shorter word is learnt sooner."
    return True, f"{cut}: new to it, so it can mean what you teach."
