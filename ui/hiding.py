"""What people and logs are told never says where things lie on this machine, nor a secret."""

import sys
from pathlib import Path
from typing import TextIO

from lorastyle import Redaction

_redactions = [Redaction()]


def hide(*folders: Path) -> None:
    """From now on, hide where these folders are too; what lies in them may be named."""
    _redactions.append(Redaction(*folders))


def hidden(text: str) -> str:
    """`text` as it may be told."""
    return _redactions[-1](text)


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
