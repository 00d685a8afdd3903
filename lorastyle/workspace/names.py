"""Ids, which cannot be guessed, and names that people chose, which are never paths."""

import re
import secrets
import unicodedata

from lorastyle.errors import BadInput

MOST_TITLE_CHARACTERS = 120
_USER = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def new_id() -> str:
    """A new id: 96 random bits, safe as a file's name and in an address; it begins with a letter."""
    return f"{secrets.choice('abcdefghkmnpqrstuvwxyz')}{secrets.token_urlsafe(12)}"


def is_id(text: object) -> bool:
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def user_name(name: object) -> str:
    """The name, where it can be a user's; raises BadInput."""
    if not isinstance(name, str) or not _USER.fullmatch(name) or name in _RESERVED:
        do = "use 1 to 32 small letters, digits, - and _, beginning with a letter or digit"
        raise BadInput("user", f"{str(name)[:40]!r} cannot be the name of a user", do)
    return name


def title(text: str, where: str = "title") -> str:
    """`text` as one line without control characters; raises BadInput where nothing is left or it is too long."""
    line = one_line(text)
    if not line:
        raise BadInput(where, "it is empty", "give it a name")
    if len(line) > MOST_TITLE_CHARACTERS:
        what = f"it has {len(line)} characters"
        raise BadInput(where, what, f"choose a name of at most {MOST_TITLE_CHARACTERS}")
    return line


def one_line(text: str) -> str:
    """Single spaces instead of line breaks, and no characters that cannot be seen (category C of Unicode)."""
    spaced = " ".join(text.split())
    return "".join(letter for letter in spaced if unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn"))


def file_stem(text: str, otherwise: str) -> str:
    """`text` as the stem of a file's name that every system and every tool can take."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:60].strip("-")
    return stem if stem and stem.lower() not in _RESERVED else otherwise
