"""What people and logs are told never says where things lie on this machine, nor a secret."""

import re
import sys
from pathlib import Path
from typing import TextIO

from lorastyle import Redaction

_redactions = [Redaction()]
_INSIDE = re.compile(r"(?<![\w./-])(?:cache|jobs|users)/(?:[^\s/:]+/)+")  # folders of the studio


def hide(*folders: Path) -> None:
    """From now on, hide where these folders are too; what lies in them may be named."""
    _redactions.append(Redaction(*folders))


def hidden(text: str) -> str:
    """`text` as it may be told."""
    return _redactions[-1](text)


def by_name(text: str) -> str:
    """`text` as a page tells it: a file in the studio's folder is called by its name alone."""
    return _INSIDE.sub("", hidden(text))


class Hiding:
    """A stream for messages that passes on what may be told; Gradio prints tracebacks by itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(hidden(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:
        return self._stream.encoding


def hide_in_streams() -> None:
    """Let all that this process writes pass through here."""
    sys.stdout, sys.stderr = Hiding(sys.stdout), Hiding(sys.stderr)  # type: ignore[assignment]
