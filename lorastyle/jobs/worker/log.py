"""Logs: everything that is printed, noted or warned of, line by line and without secrets.

A job has one in its folder; what the processes have to say outside of a job goes to worker.log beside the store.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from pathlib import Path

from lorastyle.jobs.redaction import Redaction

NAME = "lorastyle.jobs"
logger = logging.getLogger(NAME)


class Log(TextIOBase):
    """A text stream that appends whole lines to a file; of a line that was overwritten, as bars do, the last state."""

    encoding = "utf-8"

    def __init__(self, path: Path, redact: Callable[[str], str]) -> None:
        self._path, self._redact, self._begun = path, redact, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            shown = [self._redact(line.rstrip("\r").rpartition("\r")[2]) for line in lines]
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write("".join(f"{line}\n" for line in shown))
        return len(text)

    def close_line(self) -> None:
        if self._begun:
            self.write("\n")


@contextmanager
def logged(path: Path, redact: Callable[[str], str]) -> Iterator[None]:
    """Everything that this process says goes into the log at `path` until the block ends."""
    log = Log(path, redact)
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    before, logger.handlers = logger.handlers, [handler]
    with redirect_stdout(log), redirect_stderr(log), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module="lorastyle")
        warnings.showwarning = lambda message, *_args, **_more: logger.warning("Note: %s", message)
        try:
            yield
        finally:
            logger.handlers = before
            log.close_line()


@contextmanager
def process_log(root: Path) -> Iterator[None]:
    """What a process says outside of a job, and the error that ends it."""
    with logged(root / "worker.log", Redaction(root)):
        try:
            yield
        except Exception:
            logger.exception("The process ended by an error.")
            raise
