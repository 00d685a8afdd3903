"""The server of the studio.

It listens at once and loads Gradio, which takes a few seconds, while a small page says so and waits. It keeps a worker
at work as long as jobs wait.
"""

import asyncio
import logging
import os
import socket
import sqlite3
import sys
import threading
import warnings
import webbrowser
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from lorastyle import BadInput, Users, Workspace
from ui.address import Address
from ui.bodies import Bodies
from ui.hiding import hide, hide_in_streams
from ui.loading import prepare
from ui.login import Door
from ui.security import LOOPBACK, Guard, is_loopback, names_of
from ui.session import ALONE

FIRST_PORT, PORTS = 7860, 40
LOOKS_AFTER = 2.0  # seconds between looks at whether a worker is there for the jobs that wait
SWEEPS_AFTER = 3600.0  # seconds between looks for uploads that nobody has taken in
AT_ONCE = 16  # events of one kind
logger = logging.getLogger(__name__)

STARTING = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="1">
<title>lorastyle</title><style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;
place-items:center;min-height:100vh;margin:0}</style><p role="status">The studio is opening.</p></html>"""


def create_app(workspace: Workspace, door: Door | None = None, *, names: Collection[str] = LOOPBACK,
               administrators: Collection[str] = (ALONE,), address: Address | None = None) -> Guard:  # fmt: skip
    """The studio as an ASGI application behind its guard. Loads Gradio.

    `names` are the hosts that it may be called by; with a `door` people log in, and `administrators` among them may
    change the settings. `address` is where people open it, if a proxy stands before it.
    """
    store = workspace.root / "cache"
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    prepare(store)
    import gradio as gr
    from fastapi import FastAPI

    # Gradio says that it does not render pages of several on the server, although nobody asked it to.
    warnings.filterwarnings("ignore", "SSR mode is not supported", UserWarning)

    from ui import app, files, receiving, states, theme
    from ui.session import visit_of

    bodies = Bodies(store, lambda: workspace.settings.limits.upload_bytes)
    bodies.sweep()
    with states.one_app():
        pages = app.build(workspace, with_login=door is not None).queue(default_concurrency_limit=AT_ONCE)
    inside = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    inside.include_router(files.router)
    inside.include_router(receiving.receiver(store))
    gr.mount_gradio_app(
        inside,
        pages,
        path="/",
        root_path=str(address) if address else None,
        auth_dependency=lambda request: visit_of(request).user,
        allowed_paths=[],
        max_file_size=None,  # Gradio would keep what holds now; `bodies` and the receiver ask each time
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        mcp_server=False,
        pwa=False,
        **theme.look(),
    )
    states.keep_small(inside, pages)
    paths = {"/", *(f"/{path}{end}" for path, *_ in pages.pages if path for end in ("", "/"))}
    return Guard(inside, workspace, names, paths, bodies, door, administrators, address)


class Studio:
    """The ASGI application that `serve` runs: a page that waits, until the pages of `create` are there.

    Where they cannot be made, `error` says why, and `give_up` is called.
    """

    def __init__(self, workspace: Workspace, create: Callable[[], Guard]) -> None:
        self.workspace = workspace
        self.create = create
        self.inside: Guard | None = None
        self.error: Exception | None = None
        self.give_up: Callable[[], None] = lambda: None
        self._closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self.inside is not None:
            await self.inside(scope, receive, send)
        elif scope["type"] == "http":
            headers = {"Retry-After": "1", "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
            await HTMLResponse(STARTING, 503, headers)(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        tasks = [asyncio.create_task(self._open()), asyncio.create_task(self._keep_worker())]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._closing.set()
        await asyncio.wait(tasks)
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> None:
        """Load the pages and hold them open; Gradio's own start and end happen in this one task."""
        try:
            guard = await asyncio.to_thread(self.create)
        except Exception as error:  # noqa: BLE001 - whatever it is, `serve` raises it once the server has ended
            self.error = error
            self.give_up()
            return
        async with guard.inside.router.lifespan_context(guard.inside):
            self.inside = guard
            while not await self._closed_within(SWEEPS_AFTER):
                await asyncio.to_thread(guard.bodies.sweep)

    async def _keep_worker(self) -> None:
        """See to it that a worker is there as long as there is work: one that was killed is missed here."""
        jobs = self.workspace.jobs
        while not self._closing.is_set():
            try:
                if await asyncio.to_thread(jobs.list, None, states=("queued", "running", "pausing")):
                    await asyncio.to_thread(jobs.ensure_worker)
            except (OSError, sqlite3.Error):
                logger.exception("The queue could not be looked at")
            await self._closed_within(LOOKS_AFTER)

    async def _closed_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)
        return self._closing.is_set()


def serve(
    root: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    auth_file: Path | None = None,
    administrators: Collection[str] = (),
    names: Collection[str] = (),
    address: str = "",
    browser: bool = False,
) -> None:
    """Serve the studio in the folder `root` until it is interrupted.

    `address` is where people open it, if a proxy stands before it.

    Raises BadInput where others could reach it without a login, or where it cannot listen at that address.
    """
    if auth_file is None and not is_loopback(host):
        raise BadInput("ui.host", f"everybody who can reach {host} could use this studio",
                       "leave it at 127.0.0.1, or say who may log in with --auth-file")  # fmt: skip
    opened = Address.read(address) if address else None
    if auth_file is None and opened and not is_loopback(opened.name):
        raise BadInput("ui.address", f"everybody who can reach {opened} could use this studio",
                       "say who may log in with --auth-file")  # fmt: skip
    users = Users.from_file(auth_file) if auth_file else None
    if strangers := set(administrators) - set(users.names if users else ()):
        raise BadInput("ui.admin", f"{sorted(strangers)[0]} is not among those who may log in", "add them first")
    workspace = Workspace(root)
    hide(workspace.root)
    hide_in_streams()
    listening = _listen(host, port)
    door = Door(users, behind_proxy=opened is not None) if users else None
    may = tuple(administrators) if users else (ALONE,)
    known = names_of(host, [*names, *([opened.name] if opened else [])])
    studio = Studio(workspace, lambda: create_app(workspace, door, names=known, administrators=may, address=opened))
    listens, place = _address(listening, host), f"{opened}/" if opened else ""
    behind = f", behind a proxy that passes it on to {listens}" if place else ""
    print(f"The studio is at {place or listens}{behind}  (Ctrl+C ends it)", file=sys.stderr, flush=True)
    if browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(place or listens,), daemon=True).start()
    config = uvicorn.Config(
        studio,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    studio.give_up = lambda: setattr(server, "should_exit", True)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if studio.error:
        raise studio.error


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens at `port`, or at the first free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS):
        # Only where the protocol is named does asyncio send small answers at once; else they wait 40 ms for more.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, tried))
            return listening
        except OSError as error:
            listening.close()
            reason = error.strerror or str(error)
    raise BadInput("ui.port", f"nothing can listen at {host}:{port or FIRST_PORT} ({reason})", "choose another port")


def _has_screen() -> bool:
    """Whether a browser can open a window; one that draws letters would take over the terminal."""
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _address(listening: socket.socket, host: str) -> str:
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{name}]' if ':' in name else name}:{listening.getsockname()[1]}"
