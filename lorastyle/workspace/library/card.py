"""What is shown of one adapter."""

import html
from dataclasses import dataclass
from pathlib import Path

from lorastyle.workspace.names import file_stem


@dataclass(frozen=True)
class Card:
    """An adapter in the library: `bytes` its size, `date` seconds since 1970, `strength` the preferred one.

    `thumbnail` is a WebP, None where there is no picture of it; `previews` are pictures drawn with it. `job` is the
    training, import or mix that it is from, `step` the training step, None for the last one.
    """

    id: str
    title: str
    trigger: str
    base: str
    family: str
    kind: str
    rank: int
    date: float
    bytes: int
    tags: tuple[str, ...]
    notes: str
    thumbnail: Path | None
    strength: float
    path: Path
    binned: bool = False
    previews: tuple[Path, ...] = ()
    job: str = ""
    step: int | None = None

    @property
    def stem(self) -> str:
        """What its files are called where people take them home; `path` is called after the title it came in with."""
        return file_stem(self.title, "adapter")

    def matches(self, search: str) -> bool:
        """Whether each word of `search` is somewhere in what the card says."""
        said = " ".join(
            (self.title, self.trigger, self.base, self.family, self.kind, *self.tags, self.notes)
        ).casefold()
        return all(word in said for word in search.casefold().split())

    def readme(self) -> str:
        """The card as the README of a bundle, in Markdown."""
        call = f"Write `{_plain(self.trigger)}` in the prompt." if self.trigger else "It acts on every prompt."
        facts = {"Base": self.base, "Family": self.family, "Kind": f"{self.kind}, rank {self.rank}",
                 "Strength": f"{self.strength:g}", "Tags": ", ".join(self.tags)}  # fmt: skip
        told = "\n".join(f"- {name}: {_plain(value)}" for name, value in facts.items() if value)
        pictures = "\n\n".join(f"![preview](previews/{path.name})" for path in self.previews)
        parts = (f"# {_plain(self.title)}", call, told, _plain(self.notes), pictures, "Made with lorastyle.")
        return "\n\n".join(part for part in parts if part) + "\n"


def _plain(text: str) -> str:
    """Text of a person that stays text where Markdown is read."""
    return html.escape(text, quote=False).replace("`", "'")
