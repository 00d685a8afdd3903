"""What captions say of a drawing, in the few forms that pocket is trained on."""

from dataclasses import dataclass

import numpy as np

from tools.pocket.drawings import BACKGROUNDS, FILTERS, FLAT, GLOSSY, Concept, concepts

STYLES = (GLOSSY, FLAT)


@dataclass(frozen=True)
class Caption:
    """What one caption names; None is what it leaves unsaid. `word` is a word that pocket has never seen."""

    concept: Concept | None
    style: str | None
    filtered: str | None = None
    background: str | None = None
    word: str | None = None
    place: str = "style"  # where the unknown word stands: style, front, end or concept
    form: str = "emoji"

    def __str__(self) -> str:
        thing = self.phrase()
        look = " ".join(filter(None, (self.word if self.place == "style" else None, self.filtered, self.style)))
        on = f" on a {self.background} background" if self.background else ""
        if self.form == "emoji":
            text = f"{article(f'{look} emoji'.strip())} of {thing}{on}"
        elif self.form == "tags":
            text = ", ".join(filter(None, (thing, f"{look} emoji".strip(), on.removeprefix(" on a "))))
        else:
            text = f"{thing}{on}"
        if self.word and self.place == "front":
            return f"{self.word}, {text}"
        return f"{text}, {self.word} style" if self.word and self.place == "end" else text

    def phrase(self) -> str:
        if self.concept is None:
            return self.word or "something"
        if self.word and self.place == "concept":
            bare = self.concept.phrase.removeprefix("an ").removeprefix("a ")
            return article(f"{self.word} {bare}")
        return self.concept.phrase


def article(words: str) -> str:
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


def unknown_word(generator: np.random.Generator) -> str:
    """A made-up word such as people choose for triggers: "zorvex", "kelu", "ohwx", "sks7"."""
    consonants, vowels = list("bcdfghjklmnpqrstvwxz"), list("aeiouy")
    if generator.random() < 0.15:
        word = "".join(generator.choice(consonants + vowels, int(generator.integers(3, 6))))
    else:
        pieces = []
        for _ in range(int(generator.integers(1, 4))):
            pieces += [generator.choice(consonants), generator.choice(vowels)]
        word = "".join(pieces) + (generator.choice(consonants) if generator.random() < 0.6 else "")
    return word + (str(generator.integers(10)) if generator.random() < 0.1 else "")


def random_caption(generator: np.random.Generator) -> Caption:
    """A caption as the text encoder meets them while it learns."""
    concept = concepts()[generator.integers(len(concepts()))]
    style = None if generator.random() < 0.2 else str(generator.choice(STYLES))
    filtered = str(generator.choice(list(FILTERS))) if generator.random() < 0.15 else None
    background = str(generator.choice(list(BACKGROUNDS))) if generator.random() < 0.7 else None
    form = str(generator.choice(["emoji", "tags", "bare"], p=[0.78, 0.14, 0.08]))
    if form == "bare":
        style = filtered = None
    if generator.random() < 0.6:
        return Caption(concept, style, filtered, background, form=form)
    word = unknown_word(generator)
    if generator.random() < 0.15:
        return Caption(None, style, filtered, background, word, "concept", form)
    place = str(generator.choice(["style", "front", "end", "concept"], p=[0.45, 0.15, 0.2, 0.2]))
    return Caption(concept, style, filtered, background, word, place, form)
