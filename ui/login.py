"""The door of a studio that others can reach: the page to log in at, and who is in."""

import asyncio
import hashlib
import re
import secrets
import time
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from lorastyle import Users

COOKIE = "lorastyle-session"
STAYS = 12 * 3600  # seconds since the last request
FORM_BYTES = 8192
TRIES, WINDOW = 10, 60.0  # of a password by one caller, in this many seconds
AT_ONCE = 2  # passwords that are looked at; others wait, but not in threads, which all answers need

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Log in - lorastyle</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;
min-height:100vh;margin:0}form{display:grid;gap:1rem;width:min(20rem,90vw)}h1{font-size:1.4rem;margin:0}
label{display:grid;gap:.25rem}input,button{font:inherit;padding:.6rem .8rem;border:1px solid #8a8a86;border-radius:8px}
button{background:#1b7663;color:#fff;border:0;cursor:pointer}p{margin:0}</style>
<main><form method="post" action="@here"><h1>lorastyle</h1>@note
<label>Name<input name="username" autocomplete="username" required autofocus></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button></form></main></html>"""
# A page of this studio with what is open on it; two slashes, or a backslash, would lead to another site, and two dots
# out of its path.
_OURS = re.compile(r"(?:/(?!/|(?:\.|%2e){1,2}(?:[/?#]|$))[^\\\s/?#]*)+(?:[?#][^\\\s]*)?", re.IGNORECASE)
_OUT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Log out - lorastyle</title>
<main><form method="post" action="@here"><button>Log out</button></form></main></html>"""


@dataclass
class _Session:
    user: str
    seen: float


@dataclass(frozen=True)
class Door:
    """Who may come in, and who is in. Sessions are kept in memory: after a restart people log in again.

    behind_proxy: whether all come from the same address, so that tries of a password are counted by name instead.
    """

    users: Users
    behind_proxy: bool = False
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _tries: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _looking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def user(self, scope: Scope) -> str | None:
        """The person whose cookie came with a request."""
        key = _key(_cookie(scope))
        session = self._sessions.get(key)
        if session is None or time.monotonic() - session.seen > STAYS:
            self._sessions.pop(key, None)
            return None
        session.seen = time.monotonic()
        return session.user

    async def answered(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a request to log in or out; False for all others."""
        path, posts = scope["path"].rstrip("/"), scope["method"] == "POST"
        if path == "/login":
            response = await self._log_in(scope, receive) if posts else _page(scope)
        elif path == "/logout":
            response = self._log_out(scope) if posts else HTMLResponse(_OUT.replace("@here", f"{_root(scope)}/logout"))
        else:
            return False
        await response(scope, receive, send)
        return True

    async def _log_in(self, scope: Scope, receive: Receive) -> Response:
        form = parse_qs((await _form(receive)).decode("utf-8", "replace"))
        name, password = (form.get(field, [""])[0] for field in ("username", "password"))
        caller = _key(name) if self.behind_proxy else str((scope.get("client") or ["?"])[0])
        if self._must_wait(caller):
            return _page(scope, "Too many tries. Wait a minute.", 429)
        # Counted before it is looked at, which takes long: many at once would all find that nobody has tried yet.
        tried = time.monotonic()
        self._tries[caller].append(tried)
        async with self._looking:
            fits = await run_in_threadpool(self.users.check, name, password)
        if not fits:
            return _page(scope, "This name and password do not fit.", 400)
        with suppress(ValueError):  # so long ago that it is forgotten
            self._tries[caller].remove(tried)
        token = secrets.token_urlsafe(32)
        self._forget_old()
        self._sessions[_key(token)] = _Session(name, time.monotonic())
        wants_page = "text/html" in Headers(scope=scope).get("accept", "")
        response: Response = RedirectResponse(_back(scope), 303) if wants_page else JSONResponse({"success": True})
        secure = scope["scheme"] == "https"
        place = _root(scope) or "/"
        response.set_cookie(COOKIE, token, max_age=STAYS, path=place, httponly=True, samesite="lax", secure=secure)
        return response

    def _log_out(self, scope: Scope) -> Response:
        self._sessions.pop(_key(_cookie(scope)), None)
        response = RedirectResponse(f"{_root(scope)}/login", 303)
        response.delete_cookie(COOKIE, path=_root(scope) or "/")
        return response

    def _must_wait(self, caller: str) -> bool:
        begin = time.monotonic() - WINDOW
        for known, times in list(self._tries.items()):
            while times and times[0] < begin:
                times.popleft()
            if not times:
                del self._tries[known]
        return len(self._tries.get(caller, ())) >= TRIES

    def _forget_old(self) -> None:
        now = time.monotonic()
        for key in [key for key, session in self._sessions.items() if now - session.seen > STAYS]:
            del self._sessions[key]


def login_for(scope: Scope, page: str) -> str:
    """The address to log in at, from where one comes back to the page that was asked for."""
    root = _root(scope)
    return f"{root}/login" if page == f"{root}/" else f"{root}/login?back={quote(page, safe='')}"


def _back(scope: Scope) -> str:
    first = f"{_root(scope)}/"
    asked = parse_qs(scope["query_string"].decode("latin-1")).get("back", [first])[0]
    return asked if _OURS.fullmatch(asked) and asked.startswith(first) else first


def _root(scope: Scope) -> str:
    """What all paths begin with that a browser asks for, "" for nothing."""
    return str(scope.get("root_path", ""))


def _page(scope: Scope, note: str = "", status: int = 200) -> Response:
    told, here = f'<p role="alert">{note}</p>' if note else "", login_for(scope, _back(scope))
    return HTMLResponse(_PAGE.replace("@note", told).replace("@here", escape(here)), status)


def _cookie(scope: Scope) -> str:
    """What our cookie says, "" where there is none. Other applications of the site may have put any text into theirs;
    of several of this name the first is the one of the longest path, and so of this studio."""
    pairs = (one.strip().partition("=") for one in Headers(scope=scope).get("cookie", "").split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")


def _key(token: str) -> str:
    """Sessions are found by the hash of their token, so that the time of a look-up tells nothing about it."""
    return hashlib.sha256(token.encode()).hexdigest()


async def _form(receive: Receive) -> bytes:
    data = b""
    while True:
        message: Message = await receive()
        data += message.get("body", b"")
        if len(data) > FORM_BYTES or not message.get("more_body"):
            return data[:FORM_BYTES]
