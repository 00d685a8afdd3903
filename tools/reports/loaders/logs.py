"""What a tool logs while it loads a file: most tell only there of the keys that they have no place for."""

import contextlib
import logging
from collections.abc import Iterator


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextlib.contextmanager
def warnings_of(*loggers: str) -> Iterator[list[str]]:
    """The warnings, and what is worse, that these loggers and those below them are given meanwhile; "": all loggers."""
    handler = _Kept()
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
    try:
        yield handler.said
    finally:
        for name in loggers:
            logging.getLogger(name).removeHandler(handler)
