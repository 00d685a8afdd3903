"""What comes in with a request: how much, in which form, and whose files it names."""

import json
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

EVENT_BYTES = 4 * 2**20  # of the JSON of one event
AROUND_FILES = 2**20  # what a form adds to the files in it
KEPT = 24 * 3600  # seconds that an upload waits to be taken into a dataset
MOST_SESSIONS = 20_000
UPLOAD = "/gradio_api/upload"
HEARTBEAT = "/gradio_api/heartbeat/"
FILE = "/gradio_api/file="
BY_PEOPLE = "from-people"  # the folder in the store of uploads with what people sent, by person


class Refused(Exception):
    """A request that is not let in, with the status and the sentence to answer it with."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status = status
        self.sentence = sentence


@dataclass(frozen=True)
class Bodies:
    """Checks bodies before they go in. `store` is Gradio's folder of uploads, `upload_bytes` tells the most at once."""

    store: Path
    upload_bytes: Callable[[], int]
    _sessions: OrderedDict[str, str] = field(default_factory=OrderedDict)

    async def checked(self, scope: Scope, receive: Receive, user: str) -> Receive:
        """`receive` for the application, with a body that has been checked; raises Refused."""
        path: str = scope["path"]
        headers = Headers(scope=scope)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if path.startswith(HEARTBEAT):
            self._require_own_session(path.removeprefix(HEARTBEAT), user)
        if path.startswith(FILE):
            self._require_shown(path.removeprefix(FILE))
        for session in query.get("session_hash", []):
            self._require_own_session(session, user)
        uploads = path == UPLOAD
        most = self.upload_bytes() + AROUND_FILES if uploads else EVENT_BYTES
        _require_length(headers, most)
        if uploads or scope["method"] != "POST":
            return _capped(receive, most)
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused(415, "Only JSON is understood here.")
        body = await _read(_capped(receive, most))
        self._check(_parsed(body), user, headers["host"])
        return _again(body, receive)

    def sweep(self) -> None:
        """Remove what was sent or shown long ago and never taken in."""
        old = time.time() - KEPT
        for folder in [*self.store.glob("*"), *self.store.glob(f"{BY_PEOPLE}/*/*")]:
            with suppress(FileNotFoundError):  # it has been taken in meanwhile
                if folder.name != BY_PEOPLE and folder.stat().st_mtime < old:
                    shutil.rmtree(folder, ignore_errors=True)

    def _check(self, event: Any, user: str, host: str) -> None:
        if not isinstance(event, dict):
            raise Refused(400, "This is no event.")
        session = event.get("session_hash")
        if isinstance(session, str):
            self._require_own_session(session, user)
        for one in _dicts(event):
            self._require_own_file(one, user, host)

    def _require_own_session(self, session: str, user: str) -> None:
        """A session of Gradio belongs to whoever began it; its name is made up by a browser and could be guessed."""
        owner = self._sessions.setdefault(session, user)
        self._sessions.move_to_end(session)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        if owner != user:
            raise Refused(403, "This page was opened by somebody else.")

    def _require_own_file(self, value: dict[str, Any], user: str, host: str) -> None:
        """Where a value stands for a file, the file must be one of Gradio's, and this person's if people brought it."""
        url, path = value.get("url"), value.get("path")
        is_file = isinstance(value.get("meta"), dict) and value["meta"].get("_type") == "gradio.FileData"
        if (is_file or "path" in value) and url is not None and not _is_ours(url, host):
            raise Refused(403, "This file is not from here.")
        if path is None and not is_file:
            return
        if path is None and url is not None:
            return
        if not isinstance(path, str) or not self._may_use(path, user):
            raise Refused(403, "This file was not uploaded here.")

    def _may_use(self, path: str, user: str) -> bool:
        inside = _inside(self.store, path)
        if inside is None:
            return False
        return inside.parts[:1] != (BY_PEOPLE,) or inside.parts[1:2] == (user,)

    def _require_shown(self, path: str) -> None:
        """Gradio may show what its components made; what people brought is shown as a thumbnail only."""
        inside = _inside(self.store, path)
        if inside is None or inside.parts[:1] == (BY_PEOPLE,):
            raise Refused(403, "This file is not shown.")


def _inside(store: Path, path: str) -> Path | None:
    """A path relative to the store, None where it does not lie in there."""
    if "\0" in path or not Path(path).is_absolute():
        return None
    try:
        found = Path(path).resolve()
    except (OSError, RuntimeError):  # too long a name, or links in a circle
        return None
    return found.relative_to(store) if found != store and found.is_relative_to(store) else None


def _is_ours(url: Any, host: str) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("", "http", "https") and parts.netloc.lower() in ("", host.lower())


def _dicts(event: Any) -> Iterator[dict[str, Any]]:
    """All tables in an event, however deep; without recursion, so that depth is no way to stop the server."""
    left = [event]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "This is not valid JSON.") from None


def _require_length(headers: Headers, most: int) -> None:
    told = headers.get("content-length", "0")
    if not told.isascii() or not told.isdigit():
        raise Refused(400, "The length of the request cannot be read.")
    if int(told) > most:
        raise Refused(413, f"This is too large: at most {most // 2**20:,} MB can be sent at once.")


def _capped(receive: Receive, most: int) -> Receive:
    """`receive`, which counts what comes: a request need not tell its length, or may lie about it."""
    seen = 0

    async def capped() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise Refused(413, f"This is too large: at most {most // 2**20:,} MB can be sent at once.")
        return message

    return capped


async def _read(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "The request ended early.")
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, to be read once more; then whatever comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
