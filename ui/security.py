"""The guard in front of the studio: every request passes it, before Gradio or any route of ours sees it.

It refuses foreign Hosts and Origins, whoever is not logged in, routes that the studio does not need, bodies that are
too large, and files that are not the asking person's; it puts the person at the request, and the security headers at
every answer. What it refuses is told in a sentence that names no path of this machine.
"""

import logging
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from lorastyle import Workspace
from ui.address import Address
from ui.bodies import Bodies, Refused
from ui.login import Door, login_for
from ui.policy import nonced, policy
from ui.session import ALONE, Visit

if TYPE_CHECKING:
    from fastapi import FastAPI  # not loaded before the server listens

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
logger = logging.getLogger(__name__)
_BELIEVED = frozenset({b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server"})
_CROSS = frozenset({"cross-site", "same-site"})

# Gradio has more routes than the studio needs: a proxy to other hosts, recordings, an editor of its own source, ...
_NEEDED = re.compile(
    r"/files/[a-z]+/.+"
    r"|/(assets|static)/.+|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?"
    r"|/gradio_api/((info|openapi\.json|login_check|app_id|startup-events|theme\.css|user)/?"
    r"|queue/(join|data|status)|(call(/v2)?|run|api)/[\w-]+(/[\w-]*)?|component_server/?"
    r"|upload|upload_progress|heartbeat/[\w-]+|cancel|reset/?|file=.+)"
)
_REFUSED = """<!doctype html><html lang="en"><meta charset="utf-8"><title>lorastyle</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;
min-height:100vh;margin:0}main{text-align:center}</style>
<main><h1>@sentence</h1><p><a href="@first">To the studio</a></p></main></html>"""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), display-capture=(), payment=(), usb=()",
}


def is_loopback(host: str) -> bool:
    """Whether nobody but people at this machine can reach an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(host: str, more: Collection[str] = ()) -> frozenset[str]:
    """What a studio that listens at `host` may be called by: the names of this machine if `host` means all of it."""
    names = {host.lower(), *(name.lower() for name in more)}
    if is_loopback(host):
        return frozenset(names | LOOPBACK)
    if host in ("0.0.0.0", "::"):
        addresses = {one.address.partition("%")[0] for found in psutil.net_if_addrs().values() for one in found}
        own = socket.gethostname().lower()
        return frozenset(names | addresses | LOOPBACK | {own, f"{own}.local"})
    return frozenset(names)


@dataclass(frozen=True)
class Guard:
    """An ASGI application around another.

    `names` are the hosts that the studio may be called by, `pages` the paths of its pages; `door` is where people log
    in, None where one person is alone with it; `administrators` may change settings; `address` is where people open it,
    None where they do so without a proxy in between.
    """

    inside: "FastAPI"
    workspace: Workspace
    names: Collection[str]
    pages: Collection[str]
    bodies: Bodies
    door: Door | None = None
    administrators: Collection[str] = (ALONE,)
    address: Address | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.inside(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = Headers(scope=scope)
        scope = self.address.seen(scope) if self.address else scope
        is_page = scope["path"] in self.pages
        headed = _with_headers(send, kept=not (is_page and self.door))
        send, nonce = nonced(headed, self.workspace.settings.theme if is_page else None)
        try:
            self._require_known_caller(scope, sent)
            if self.address and scope["path"] == self.address.path:  # from there, the pages' links would lead elsewhere
                await RedirectResponse(f"{self.address.path}/", 307)(scope, receive, send)
                return
            if self.door and await self.door.answered(scope, receive, send):
                return
            user = self.door.user(scope) if self.door else ALONE
            if user is None:
                await self._turned_away(scope, receive, send)
                return
            self._require_needed(scope)
            receive = await self.bodies.checked(scope, receive, user)
        except Refused as refused:
            await _told(refused, scope)(scope, receive, send)
            return
        scope.setdefault("state", {})["visit"] = Visit(user, self.workspace, user in self.administrators)
        await self._pass_on(_trimmed(scope, whole=nonce is not None), receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the pages answer. What they could not do they have answered with a 500, and raise; raised further, it
        would make uvicorn close the connection, on which the next request may have been sent already."""
        answered = False

        async def noted(message: Message) -> None:
            nonlocal answered
            await send(message)
            answered = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await self.inside(scope, receive, noted)
        except Exception:
            if not answered:
                raise
            logger.exception("A request failed: %r", scope["path"])

    def _require_known_caller(self, scope: Scope, headers: Headers) -> None:
        """Refuse what another site's page makes a browser send: its name for us, or its own name, betrays it."""
        host = headers.get("host", "")
        if _name(host) not in self.names:
            raise Refused(403, "The studio is not known by this name.")
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin.lower(), host.lower()):
            raise Refused(403, "Requests of other sites are refused.")
        opened = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in _CROSS and not (opened and scope["path"] in self.pages):
            raise Refused(403, "Requests of other sites are refused.")

    def _is_own(self, origin: str, host: str) -> bool:
        named = origin.partition("://")[2]
        if self.address and self.address.host in (host, named):
            return origin == self.address.origin  # the same name without https is another site
        return named == host

    def _require_needed(self, scope: Scope) -> None:
        path: str = scope["path"]
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refused(405, "This cannot be done here.")
        climbs = any(part in ("..", ".") for part in re.split(r"[/\\]", path.replace("file=", "/")))
        if climbs or "\0" in path or "\\" in path:
            raise Refused(403, "This address is refused.")
        if path not in self.pages and not _NEEDED.fullmatch(path):
            raise Refused(404, "There is no such page.")

    async def _turned_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in self.pages and scope["method"] == "GET":
            query = scope["query_string"].decode("latin-1")
            page = f"{scope['root_path']}{scope['path']}"
            asked = f"{page}?{query}" if query else page
            await RedirectResponse(login_for(scope, asked), 303)(scope, receive, send)
        else:
            await PlainTextResponse("Log in first.", 401)(scope, receive, send)


def _told(refused: Refused, scope: Scope) -> Response:
    """The sentence alone, or a page with a way back where a person stands before it."""
    if Headers(scope=scope).get("sec-fetch-mode") != "navigate":
        return PlainTextResponse(refused.sentence, refused.status)
    page = _REFUSED.replace("@first", f"{scope['root_path']}/").replace("@sentence", refused.sentence)
    return HTMLResponse(page, refused.status)


def _name(host: str) -> str:
    """The host in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _with_headers(send: Send, kept: bool) -> Send:
    """`kept`: a browser may keep pages, to show them on its way back; who logged out would find nothing on them."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Content-Security-Policy", policy())
            headers.setdefault("Cache-Control", "no-cache" if kept and "set-cookie" not in headers else "no-store")
            if headers.get("content-type", "").startswith("text/event-stream"):
                headers["X-Accel-Buffering"] = "no"  # a proxy is to pass on each event as it comes
        await send(message)

    return with_headers


def _trimmed(scope: Scope, whole: bool) -> Scope:
    """Without the headers that Gradio would believe; `whole`: the answer must come as it is, not compressed."""
    unwanted = _BELIEVED | {b"accept-encoding"} if whole else _BELIEVED
    headers = [(name, value) for name, value in scope["headers"] if name not in unwanted]
    return {**scope, "root_path": "", "headers": headers}
