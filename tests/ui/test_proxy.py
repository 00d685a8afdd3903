"""The studio behind a proxy: on a path of a site, under another name, over https."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from lorastyle import BadInput, Users
from tests.jobs.conftest import kill_all
from tests.ui import seeding
from tests.ui.conftest import CODE, Running, running
from tests.ui.proxy import Proxy, proxied
from ui.address import TAKEN, Address
from ui.login import TRIES
from ui.server import serve

PASSWORD = "correct horse"
INK = CODE / "sample_data" / "ink"
Behind = tuple[Running, Proxy]


def behind(root: Path, prefix: str = "") -> Iterator[Behind]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, which makes the proxy's certificate")
    root.mkdir()
    Users.add(root / "users.json", "ann", PASSWORD)
    with proxied(root, prefix) as proxy:
        with running(root, "--auth-file", str(root / "users.json"), "--address", proxy.address) as studio:
            proxy.to = int(studio.address.rpartition(":")[2])
            yield studio, proxy
        kill_all(root)


@pytest.fixture(scope="module")
def on_a_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    yield from behind(tmp_path_factory.mktemp("path") / "root", "/tools/studio")


@pytest.fixture(scope="module")
def at_the_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    for there in behind(tmp_path_factory.mktemp("root") / "root"):
        there[1].tells_host = True
        yield there


@pytest.mark.parametrize("way", ["on_a_path", "at_the_root"])
def test_all_of_it_works(way: str, browser: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    studio, proxy = request.getfixturevalue(way)
    area, jobs = studio.workspace.area("ann"), studio.workspace.jobs
    card = area.library().add(seeding.adapter(tmp_path / "Sumi.safetensors", "sumi"), "Sumi")
    drawn = seeding.drawing(jobs, "a fox", 40, owner="ann")
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    asked: list[str] = []
    refused: list[tuple[int, str]] = []
    errors: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("response", lambda got: got.status >= 400 and refused.append((got.status, got.url)))
    page.on("pageerror", lambda error: errors.append(str(error)))

    page.goto(f"{proxy.address}/queue?job={drawn.id}")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{proxy.address}/queue?job={drawn.id}")
    page.get_by_role("button", name="a fox").wait_for()

    page.get_by_role("link", name="Train").click()
    page.wait_for_url(lambda url: url.partition("?")[0] == f"{proxy.address}/")
    page.set_input_files(".drop .files", [INK / "cat.png", INK / "cat.txt", INK / "owl.png"])
    page.get_by_text("Added 2 images.").wait_for()
    page.click("#to-review")
    page.locator(".review article").nth(1).wait_for()
    page.wait_for_function("[...document.querySelectorAll('.review img')].every((one) => one.naturalWidth)")

    page.get_by_role("link", name="Library").click()
    page.get_by_role("button", name="Sumi").click()
    page.get_by_role("button", name="Share it").click()
    # Chromium takes nothing home from a place whose certificate it does not trust, so a script asks for it instead.
    link = page.get_by_role("link", name="Download a zip")
    size = link.evaluate("async ({ href }) => (await (await fetch(href)).arrayBuffer()).byteLength")
    assert size == area.library().bundle(card.id).stat().st_size
    (cookie,) = (one for one in context.cookies() if one["name"] == "lorastyle-session")
    assert (cookie["secure"], cookie["path"]) == (True, proxy.prefix or "/")
    context.close()
    assert [url for url in asked if not url.startswith((f"{proxy.address}/", "blob:", "data:"))] == []
    assert (refused, errors) == ([], [])


@pytest.mark.parametrize("cuts", [True, False])
@pytest.mark.parametrize("tells_host", [True, False])
def test_however_the_proxy_passes_it_on(on_a_path: Behind, cuts: bool, tells_host: bool) -> None:
    _, proxy = on_a_path
    before, (proxy.cuts, proxy.tells_host) = (proxy.cuts, proxy.tells_host), (cuts, tells_host)
    host, prefix = f"{proxy.name}:{proxy.port}", proxy.prefix
    own = {"Origin": f"https://{host}"}
    with httpx.Client(base_url=proxy.here, headers={"Host": host}, verify=False, timeout=60) as client:
        login = client.get("/library").headers["location"]
        assert login == f"{prefix}/login?back={quote(f'{prefix}/library', safe='')}"
        told = {"data": {"username": "ann", "password": PASSWORD}, "headers": {"Accept": "text/html", **own}}
        assert client.post(login.removeprefix(prefix), **told).headers["location"] == f"{prefix}/library"
        assert client.get("/config").json()["root"] == proxy.address
        assert client.post("/gradio_api/reset", json={"event_id": "a"}, headers=own).status_code == 200
        assert client.post("/logout", headers=own).headers["location"] == f"{prefix}/login"
        assert client.get("/config").status_code == 401
    proxy.cuts, proxy.tells_host = before


def test_the_path_without_its_slash_leads_to_the_first_page(on_a_path: Behind) -> None:
    studio, proxy = on_a_path
    with studio.client() as client:
        assert client.get(proxy.prefix).headers["location"] == f"{proxy.prefix}/"
        lost = client.get(f"{proxy.prefix}/", headers={"Host": "evil.example", "Sec-Fetch-Mode": "navigate"})
        assert f'<a href="{proxy.prefix}/">' in lost.text


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "{host}",
        "http://{host}",
        "https://{name}",
        "https://{name}:1",
        "https://[",
        "//",
    ],
)
def test_a_foreign_origin_is_refused(on_a_path: Behind, origin: str) -> None:
    studio, proxy = on_a_path
    told = {"Origin": origin.format(host=f"{proxy.name}:{proxy.port}", name=proxy.name)}
    with studio.client() as client:
        for forwarded in ({}, {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}):
            answer = client.post("/login", headers=told | forwarded)
            assert (answer.status_code, answer.text) == (403, "Requests of other sites are refused.")


def test_a_foreign_host_is_refused(on_a_path: Behind) -> None:
    studio, proxy = on_a_path
    with studio.client() as client:
        for path in ("/", proxy.prefix, f"{proxy.prefix}/library"):
            forwarded = {"Host": "evil.example", "X-Forwarded-Host": proxy.name}
            assert client.get(path, headers=forwarded).status_code == 403


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example", "/other", "/tools/studio-two", "", "/tools/studio/../other",
     "/tools/studio/%2E./other", "/tools/studio/.."],
)  # fmt: skip
def test_a_login_leads_nowhere_else(on_a_path: Behind, elsewhere: str) -> None:
    studio, proxy = on_a_path
    form = {"username": "ann", "password": PASSWORD}
    with studio.client() as client:
        answer = client.post("/login", params={"back": elsewhere}, data=form, headers={"Accept": "text/html"})
        assert answer.headers["location"] == f"{proxy.prefix}/"


def test_what_is_forwarded_is_not_believed(studio: Running) -> None:
    """The studio was not told of a proxy, so these headers are somebody's own."""
    own = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "X-Gradio-Server": "http://evil.example",
           "X-Forwarded-Prefix": "/evil", "X-Forwarded-For": "192.0.2.7"}  # fmt: skip
    with studio.client() as client:
        assert client.get("/config", headers=own).json()["root"] == studio.address
        assert client.get("/", headers=own | {"Host": "evil.example"}).status_code == 403


def test_tries_of_a_password_are_counted_by_name_where_all_come_from_the_proxy(at_the_root: Behind) -> None:
    studio, _ = at_the_root

    def told(name: str, tries: int) -> list[int]:
        form = {"username": name, "password": "wrong"}
        headers = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(tries)]
        with studio.client() as client:
            return [client.post("/login", data=form, headers=one).status_code for one in headers]

    assert told("bob", TRIES + 1) == [400] * TRIES + [429]
    assert told("ann", 1) == [400]


def test_events_are_passed_on_as_they_come(studio: Running) -> None:
    with studio.client() as client, client.stream("GET", "/gradio_api/heartbeat/somepage") as news:
        assert news.headers["content-type"].startswith("text/event-stream")
        assert news.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    ("text", "origin", "path"),
    [
        ("https://Studio.example", "https://studio.example", ""),
        ("https://studio.example:443/", "https://studio.example", ""),
        ("http://studio.example:8080/a/b/", "http://studio.example:8080", "/a/b"),
        ("https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443", "/a"),
    ],
)
def test_addresses(text: str, origin: str, path: str) -> None:
    read = Address.read(text)
    assert (read.origin, read.path, str(read)) == (origin, path, origin + path)


@pytest.mark.parametrize(
    "text",
    ["studio.example", "/studio", "ftp://studio.example", "https://", "https://studio.example:a", "https://[",
     "https://ann:secret@studio.example", "https://studio.example/?a", "https://studio.example/#a",
     "https://studio.example//a", "https://studio.example/../a", "https://studio.example/./a", "https://stüdio.example",
     "https://studio example", "https://studio.example/a b", "https://studio.example/a;b", "https://studio.example/ä"],
)  # fmt: skip
def test_what_is_no_address(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no address of a site. Write it as people open it"):
        serve(tmp_path, address=text)


def test_a_prefix_is_not_taken_for_a_page(tmp_path: Path) -> None:
    from ui.app import PAGES

    assert {path for _, path, _ in PAGES if path} < TAKEN
    for path in ("library", "queue/of/ours", "gradio_api"):
        with pytest.raises(BadInput, match=f"the studio has a path /{path.partition('/')[0]} of its own"):
            serve(tmp_path, address=f"https://studio.example/{path}")
    assert Address.read("https://studio.example/our/library").path == "/our/library"


def test_an_address_that_others_can_reach_needs_a_login(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Say who may log in with --auth-file"):
        serve(tmp_path, address="https://studio.example")


def test_it_says_where_people_open_it(on_a_path: Behind) -> None:
    studio, proxy = on_a_path
    assert f"The studio is at {proxy.address}/, behind a proxy" in studio.log.read_text()
