"""A studio that is running, and a page in Chromium to look at it with."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from lorastyle import Workspace
from tests.jobs.conftest import kill_all

CODE = Path(__file__).parents[2]
OPENS_WITHIN = 120.0  # seconds; a machine that tests may be busy
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Running:
    """A studio in a process of its own; `workspace` is its folder."""

    address: str
    workspace: Workspace
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def host(self) -> str:
        return self.address.removeprefix("http://")

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=60)

    def kill(self) -> None:
        """As the system does where memory runs out."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(root: Path, *options: str, port: int | None = None) -> Iterator[Running]:
    """Start a studio in the folder `root` and wait until its pages are there; it ends with the block."""
    port = port or free_port()
    log = root / "studio.log"
    root.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ui", "--root", str(root), "--port", str(port), "--no-browser", *options]
    # Compiled files may be kept: without them each start would compile all of Gradio anew.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=CODE, stdout=out, stderr=out, env=environment)
    studio = Running(f"http://127.0.0.1:{port}", Workspace(root), process, log)
    try:
        wait_until_open(studio)
        yield studio
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_open(studio: Running) -> None:
    deadline = time.monotonic() + OPENS_WITHIN
    while time.monotonic() < deadline:
        assert studio.process.poll() is None, studio.log.read_text()
        try:
            if httpx.get(studio.address).status_code < 400:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.05)
    pytest.fail(f"The studio did not open: {studio.log.read_text()}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A studio for one person, without a login."""
    root = tmp_path_factory.mktemp("studio")
    with running(root) as studio:
        yield studio
    kill_all(root)  # the worker outlives its studio


@pytest.fixture(scope="session")
def browser() -> "Iterator[object]":
    """Chromium, by playwright."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; on Debian: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: object) -> "Iterator[object]":
    """A fresh page in a profile of its own."""
    context = browser.new_context()  # type: ignore[attr-defined]
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@contextmanager
def held(page: Any, url: str | re.Pattern[str], wanted: Callable[[Any], bool] = lambda _: True) -> Iterator[Any]:
    """Hold requests to `url` back, those that are wanted, until what is given is called."""
    waiting: list[Any] = []
    free = False

    def take(route: Any) -> None:
        if free or not wanted(route.request):
            route.continue_()
        else:
            waiting.append(route)

    def release() -> None:
        nonlocal free
        free = True
        for route in waiting:
            route.continue_()

    page.route(url, take)
    yield release
    page.unroute(url)
