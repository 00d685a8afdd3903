"""Starting the studio: where it listens, for whom, and what it loads."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import httpx
import pytest

from lorastyle import BadInput, Users, Workspace
from tests.ui.conftest import CODE, Running
from ui.security import LOOPBACK, names_of
from ui.server import Studio, serve

PASSWORD = "correct horse"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "studio.example"])
def test_an_address_that_others_can_reach_needs_a_login(tmp_path: Path, host: str) -> None:
    with pytest.raises(BadInput, match="--auth-file"):
        serve(tmp_path, host=host)


def test_who_may_change_settings_must_be_able_to_log_in(tmp_path: Path) -> None:
    Users.add(tmp_path / "users.json", "ann", PASSWORD)
    with pytest.raises(BadInput, match="ben"):
        serve(tmp_path / "root", auth_file=tmp_path / "users.json", administrators=["ben"])


def test_a_port_that_is_taken_is_told_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadInput, match=r"Choose another port\."):
            serve(tmp_path, port=taken.getsockname()[1])


def test_the_command_tells_it_too() -> None:
    command = [sys.executable, "-m", "lorastyle.cli", "ui", "--host", "0.0.0.0", "--no-browser"]
    done = subprocess.run(command, cwd=CODE, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--auth-file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_page_says_that_the_studio_is_opening(tmp_path: Path) -> None:
    async def ask() -> httpx.Response:
        studio = Studio(Workspace(tmp_path), lambda: pytest.fail("nobody has asked to open"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(studio), base_url="http://127.0.0.1") as client:
            return await client.get("/compare")

    with ThreadPoolExecutor(1) as other:  # where no browser of another test has left its loop running
        answer = other.submit(anyio.run, ask).result()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "The studio is opening." in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_names_that_a_studio_may_be_called_by() -> None:
    assert names_of("127.0.0.1") == LOOPBACK
    assert "studio.example" in names_of("192.0.2.7", ["Studio.Example"])
    assert "localhost" not in names_of("192.0.2.7")
    assert {"127.0.0.1", socket.gethostname().lower()} <= names_of("0.0.0.0")


def test_the_pages_load_no_torch_and_what_gradio_wastes_is_left_out(tmp_path: Path) -> None:
    """Gradio's insides are looked at, because ui/loading.py and ui/states.py depend on them as they are."""
    code = (
        "import sys, pathlib, ui.server; from lorastyle import Workspace\n"
        f"guard = ui.server.create_app(Workspace({str(tmp_path)!r}))\n"
        "states = next(r.app.state_holder for r in guard.inside.routes if hasattr(r, 'app') and r.path == '')\n"
        "assert states['a page'].config_values == {}\n"
        "import gradio.component_meta as meta; assert meta.create_or_modify_pyi() is None\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CODE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & {"torch", "diffusers", "transformers", "accelerate", "peft"} == set()


def test_all_pages_open(studio: Running) -> None:
    with studio.client() as client:
        for path in ("/", "/compare", "/generate", "/library", "/queue", "/settings"):
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "gradio_config" in answer.text


def test_it_says_where_it_is(studio: Running) -> None:
    assert f"The studio is at {studio.address}" in studio.log.read_text()
