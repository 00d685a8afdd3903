"""The SQLite file under the queue.

In WAL mode readers never wait for a writer. Every change is one transaction that takes the write lock at its
beginning, so that what it read still holds when it writes; that is what lets any process die at any moment.
"""

import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT = 30.0  # seconds for another process's write to end; each takes milliseconds

SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, task TEXT NOT NULL, lane TEXT NOT NULL, title TEXT NOT NULL,
    state TEXT NOT NULL, settings TEXT NOT NULL, place REAL NOT NULL,
    step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
    speed REAL NOT NULL DEFAULT 0, seconds_left REAL, error TEXT NOT NULL DEFAULT '', result TEXT NOT NULL DEFAULT '{}',
    created REAL NOT NULL, started REAL, ended REAL,
    sample INTEGER NOT NULL DEFAULT 0, save INTEGER NOT NULL DEFAULT 0, prompts TEXT NOT NULL DEFAULT '[]',
    lease TEXT NOT NULL DEFAULT '', pid INTEGER NOT NULL DEFAULT 0, born REAL NOT NULL DEFAULT 0,
    beat INTEGER NOT NULL DEFAULT 0, deaths INTEGER NOT NULL DEFAULT 0, died_at INTEGER NOT NULL DEFAULT -1
);
CREATE INDEX by_state ON jobs (state, lane, place);
CREATE INDEX by_owner ON jobs (owner, state);
CREATE TABLE events (job TEXT NOT NULL, at REAL NOT NULL, what TEXT NOT NULL);
CREATE INDEX by_job ON events (job);
CREATE TABLE processes (role TEXT PRIMARY KEY, pid INTEGER NOT NULL, born REAL NOT NULL);
"""


class Database:
    """One connection, shared by the threads of a process; each use of it takes well under a millisecond.

    `versions` are the statements that lead from each version of the file to the next, the first from an empty file.
    """

    versions: tuple[str, ...] = (SCHEMA,)

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
        self.close = weakref.finalize(self, self._connection.close)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing; a power cut may lose the last moments, and jobs go on from a little earlier.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._set_up()

    def _set_up(self) -> None:
        with self.change() as change:
            version = change.execute("PRAGMA user_version").fetchone()[0]
            for number, statements in enumerate(self.versions[version:], version + 1):
                for statement in statements.split(";"):
                    change.execute(statement)
                change.execute(f"PRAGMA user_version = {number}")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: kept when the block ends well, undone when it raises or cannot be kept."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()  # does nothing where SQLite has undone it by itself, as on a full disk
                raise


def note(change: sqlite3.Connection, job: str, what: str) -> None:
    """Add to the job's history, in the transaction that makes it true."""
    change.execute("INSERT INTO events VALUES (?, ?, ?)", (job, time.time(), what))
