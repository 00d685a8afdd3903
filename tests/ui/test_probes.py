"""Probes of the server, as somebody would make who means no good."""

import http.client
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest

from lorastyle import Draft, Job, Users, Workspace
from tests.ui import seeding
from tests.ui.conftest import Running, running
from ui.bodies import Bodies
from ui.login import TRIES, Door

PASSWORD = "correct horse"
MODELS = "anns-models"
SECRET = "this is written in the studio's folder"
EVENTS = ("queue/join", "call/anything", "run/anything", "api/anything", "component_server")
MARK = "window.lorastyleRan = true"


@dataclass(frozen=True)
class Held:
    """What ann has."""

    draft: Draft
    image: str
    training: Job
    drawing: Job
    grid: Job
    adapter: str

    def addresses(self) -> list[str]:
        made = self.drawing.id
        return [
            f"/files/thumbnail/{self.draft.id}/{self.image}",
            f"/files/preview/{self.training.id}/10/0",
            f"/files/picture/{made}/0",
            f"/files/picture/{self.grid.id}/0",
            f"/files/result/{made}/000.png",
            f"/files/card/{self.adapter}",
            f"/files/bundle/{self.adapter}",
        ]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A studio that ann, ben and cleo log in to; at most 2 MiB can be sent at once."""
    folder = tmp_path_factory.mktemp("shared")
    for name in ("ann", "ben", "cleo"):
        Users.add(folder / "users.json", name, PASSWORD)
    root = folder / "root"
    (folder / MODELS).mkdir()
    changes = {"limits.upload_bytes": 2 * 2**20, "model_folders": [str(folder / MODELS)]}
    Workspace(root).save_settings(changes)
    (root / "secret.txt").write_text(SECRET)
    with running(root, "--auth-file", str(folder / "users.json"), "--admin", "ann") as studio:
        yield studio


@contextmanager
def changed(studio: Running, changes: dict[str, int]) -> Iterator[None]:
    """Other limits for a while, set in the studio's folder."""
    limits = studio.workspace.settings.limits
    studio.workspace.save_settings(changes)
    yield
    studio.workspace.save_settings({name: getattr(limits, name.removeprefix("limits.")) for name in changes})


@pytest.fixture(scope="module")
def held(shared: Running, tmp_path_factory: pytest.TempPathFactory) -> Held:
    folder = tmp_path_factory.mktemp("ann")
    area, jobs = shared.workspace.area("ann"), shared.workspace.jobs
    draft = area.new_dataset("hers")
    draft.add([seeding.picture(folder / "cat.png", 10)])
    trained = seeding.training(jobs, folder, "hers", (10,), owner="ann")
    drawing = seeding.drawing(jobs, "a cat", 30, owner="ann")
    grid = seeding.grid(jobs, trained, [1.0], ["a cat"], owner="ann")
    card = area.library().add(seeding.adapter(folder / "hers.safetensors"), "hers")
    return Held(draft, draft.rows()[0].id, trained, drawing, grid, card.id)


@contextmanager
def logged_in(studio: Running, name: str) -> Iterator[httpx.Client]:
    with studio.client() as client:
        assert client.post("/login", data={"username": name, "password": PASSWORD}).status_code == 200
        yield client


@pytest.fixture(scope="module")
def ann(shared: Running) -> Iterator[httpx.Client]:
    with logged_in(shared, "ann") as client:
        yield client


@pytest.fixture(scope="module")
def ben(shared: Running) -> Iterator[httpx.Client]:
    with logged_in(shared, "ben") as client:
        yield client


# Hosts and origins


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "[::1", "0.0.0.0"])
@pytest.mark.parametrize("path", ["/", "/gradio_api/info", "/files/card/some", "/login"])
def test_a_foreign_host_is_refused(studio: Running, host: str, path: str) -> None:
    with studio.client() as client:
        assert client.get(path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "//"])
@pytest.mark.parametrize("path", [*(f"/gradio_api/{event}" for event in EVENTS), "/gradio_api/upload", "/login"])
def test_a_foreign_origin_is_refused(studio: Running, origin: str, path: str) -> None:
    with studio.client() as client:
        assert client.post(path, json={}, headers={"Origin": origin}).status_code == 403


def test_what_other_sites_embed_is_refused_and_a_link_is_not(studio: Running) -> None:
    with studio.client() as client:
        embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert client.get("/theme.css", headers=embedded).status_code == 403
        assert client.get("/", headers=followed).status_code == 200
        assert client.get("/logout", headers=followed).status_code == 403


def test_its_own_origin_is_welcome(studio: Running) -> None:
    with studio.client() as client:
        headers = {"Origin": studio.address, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/gradio_api/reset", json={"event_id": "a"}, headers=headers).status_code == 200


# Sizes and forms


def test_bodies_that_are_too_large_are_refused(ann: httpx.Client) -> None:
    large = b'{"data": "' + b"x" * (5 * 2**20) + b'"}'
    told = {"Content-Type": "application/json"}
    assert ann.post("/gradio_api/queue/join", content=large, headers=told).status_code == 413
    pieces = (large[start : start + 2**16] for start in range(0, len(large), 2**16))
    assert ann.post("/gradio_api/queue/join", content=pieces, headers=told).status_code == 413  # no length is told


def test_uploads_that_are_too_large_are_refused(ann: httpx.Client) -> None:
    fits, exceeds = ({"files": ("a.png", b"x" * size)} for size in (2**20, 2 * 2**20 + 2**19))
    assert ann.post("/gradio_api/upload", files=fits).status_code == 200
    assert ann.post("/gradio_api/upload", files=exceeds).status_code == 413
    assert ann.post("/gradio_api/upload", files={"files": ("a.png", b"x" * 2**22)}).status_code == 413


def test_a_new_limit_of_uploads_holds_at_once(shared: Running, ann: httpx.Client) -> None:
    larger = {"files": ("a.png", b"x" * (3 * 2**20 + 2**19))}
    with changed(shared, {"limits.upload_bytes": 4 * 2**20}):
        assert ann.post("/gradio_api/upload", files=larger).status_code == 200
        assert ann.post("/gradio_api/upload", files={"files": ("a.png", b"x" * (6 * 2**20))}).status_code == 413
    assert ann.post("/gradio_api/upload", files=larger).status_code == 413


def test_uploads_take_room_until_they_are_taken_in(shared: Running) -> None:
    """Both those that came earlier and those that came since the room was looked at."""
    workspace, megabyte = shared.workspace, {"files": ("a.png", b"x" * 2**20)}
    earlier = workspace.root / "cache" / "from-people" / "cleo" / "some" / "a.png"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"x" * 2**20)
    room = workspace.area("cleo").usage() + 2 * 2**20 + 2**19
    with changed(shared, {"limits.disk_bytes": room}), logged_in(shared, "cleo") as cleo:
        assert cleo.post("/gradio_api/upload", files=megabyte).status_code == 200
        refused = cleo.post("/gradio_api/upload", files=megabyte)
    assert refused.status_code == 413
    assert "no room left" in refused.text


def test_a_sweep_does_without_what_vanishes_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")  # listed, and not there when it is looked at
    old = tmp_path / "from-people" / "ann" / "old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    Bodies(tmp_path, lambda: 2**20).sweep()
    assert not old.exists()
    assert old.parent.is_dir()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[" * 100_000, b'{"data": ' + b"9" * 10_000 + b"}", b"\xff", b'"text"']
)
@pytest.mark.parametrize("event", EVENTS)
def test_bodies_that_are_no_event_are_refused(studio: Running, event: str, body: bytes) -> None:
    with studio.client() as client:
        answer = client.post(f"/gradio_api/{event}", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_events_are_json(studio: Running, kind: str) -> None:
    with studio.client() as client:
        answer = client.post("/gradio_api/component_server", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 415


# Files


def traversals(root: Path) -> list[str]:
    inside, outside = str(root / "secret.txt"), str(root / "cache" / ".." / "secret.txt")
    climbing = ["../secret.txt", "../../../../etc/passwd", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt",
                "..%5c..%5csecret.txt", "....//secret.txt", "/etc/passwd", "%00", ".%2e/secret.txt"]  # fmt: skip
    routes = ["/gradio_api/file=", "/gradio_api/file/", "/static/", "/assets/", "/svelte/", "/files/thumbnail/a/",
              "/files/card/", "/files/result/a/", "/files/bundle/", "/files/", "/gradio_api/custom_component/a/client/",
              "/gradio_api/stream/", "/gradio_api/proxy="]  # fmt: skip
    whole = [f"/gradio_api/file={quote(path)}" for path in (inside, outside, inside.upper(), f"file://{inside}")]
    elsewhere = ["/gradio_api/file=http://127.0.0.1:1/a.png", "/gradio_api/file=//127.0.0.1/share/a.png",
                 "/gradio_api/file=https://example.com/a.png"]  # fmt: skip
    return [*(route + path for route in routes for path in climbing), *whole, *elsewhere]


def raw(studio: Running, path: str, cookie: str = "") -> tuple[int, bytes]:
    """Ask for a path as it stands, which a client with manners would mend."""
    connection = http.client.HTTPConnection(studio.host, timeout=60)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    connection.putheader("Cookie", cookie)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_no_path_leads_out_of_a_file_route(shared: Running, ann: httpx.Client) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in ann.cookies.items())
    for path in traversals(shared.workspace.root):
        status, body = raw(shared, path, cookie)
        assert 400 <= status < 500, path
        assert SECRET.encode() not in body
        assert b"root:" not in body


def test_what_people_brought_is_never_shown_as_it_is(ann: httpx.Client) -> None:
    page = {"files": ("page.html", f"<script>{MARK}</script>")}
    path = ann.post("/gradio_api/upload", files=page).json()[0]
    assert ann.get(f"/gradio_api/file={path}").status_code == 403


def file_data(path: Any, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


@pytest.mark.parametrize("event", EVENTS)
def test_files_that_were_not_uploaded_are_refused(shared: Running, ann: httpx.Client, event: str) -> None:
    root = shared.workspace.root
    mine = ann.post("/gradio_api/upload", files={"files": ("a.png", b"a")}).json()[0]
    hostile = [
        file_data(str(root / "secret.txt")),
        file_data("/etc/passwd"),
        file_data(f"{Path(mine).parent}/../../../../../secret.txt"),
        file_data("secret.txt"),
        file_data("http://127.0.0.1:1/a.png"),
        file_data("/proc/self/environ"),
        file_data("a\0b"),
        file_data(7),
        file_data(None),
        file_data(["/etc/passwd"]),
        file_data(mine, url="https://evil.example/a.png"),
        file_data(mine, url="file:///etc/passwd"),
        {"path": "/etc/passwd", "name": "a.png"},
        {"path": "x" * 10_000},
    ]
    for value in hostile:
        for data in ([value], [{"deep": [[value]]}], value):
            answer = ann.post(f"/gradio_api/{event}", json={"data": data, "session_hash": "annsown", "fn_index": 0})
            assert answer.status_code == 403, value


def test_uploads_of_others_are_refused(ann: httpx.Client, ben: httpx.Client) -> None:
    hers = ann.post("/gradio_api/upload", files={"files": ("a.png", b"hers")}).json()[0]
    event = {"data": [file_data(hers)], "session_hash": "bensown", "fn_index": 0}
    assert ben.post("/gradio_api/queue/join", json=event).status_code == 403
    added = {"data": {"data": "", "files": [{"path": hers, "name": "a.png"}]}, "session_hash": "bensown"}
    assert ben.post("/gradio_api/component_server", json=added).status_code == 403


# People


def test_nothing_is_there_for_whoever_has_not_logged_in(shared: Running, held: Held) -> None:
    with shared.client() as client:
        for path in ("/", "/queue", "/settings"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")
        asked = ["/config", "/theme.css", "/gradio_api/info", "/gradio_api/app_id", "/gradio_api/heartbeat/a"]
        for path in [*asked, *held.addresses()]:
            assert client.get(path).status_code == 401, path
        for path in (*(f"/gradio_api/{event}" for event in EVENTS), "/gradio_api/upload", "/gradio_api/cancel"):
            assert client.post(path, json={}).status_code == 401, path


def test_who_logs_in_is_where_they_wanted_to_be(shared: Running) -> None:
    form = {"username": "ben", "password": PASSWORD}
    with shared.client() as client:
        wanted = client.get("/library?adapter=x&job=y").headers["location"]
        assert wanted == "/login?back=%2Flibrary%3Fadapter%3Dx%26job%3Dy"
        assert f'action="{wanted}"' in client.get(wanted).text
        assert f'action="{wanted}"' in client.post(wanted, data=form | {"password": "wrong"}).text
        answer = client.post(wanted, data=form, headers={"accept": "text/html"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/library?adapter=x&job=y")
        assert client.get("/library").headers["cache-control"] == "no-store"  # of use to nobody who has logged out


@pytest.mark.parametrize(
    "elsewhere", ["https://example.org/", "//example.org", "/\\example.org", "javascript:x", "/a\nb"]
)
def test_a_login_leads_to_no_other_site(shared: Running, elsewhere: str) -> None:
    form = {"username": "ben", "password": PASSWORD}
    with shared.client() as client:
        answer = client.post("/login", params={"back": elsewhere}, data=form, headers={"accept": "text/html"})
        assert answer.headers["location"] == "/"


def test_who_was_logged_out_in_another_tab_logs_in_and_is_back(shared: Running, page: Any) -> None:
    from playwright.sync_api import TimeoutError as Timeout

    def log_in() -> None:
        page.get_by_label("Name").fill("ben")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Generate").wait_for()

    page.goto(f"{shared.address}/generate?adapter=none")
    log_in()
    page.context.clear_cookies()
    with suppress(Timeout):  # a page that is still loading asks by itself, and is at the login before the click
        page.get_by_role("button", name="Add another adapter").click(timeout=10_000)
    page.wait_for_url("**/login?back=*")
    log_in()
    assert page.url == f"{shared.address}/generate?adapter=none"


def test_a_wrong_password_lets_nobody_in(shared: Running) -> None:
    with shared.client() as client:
        for name, password in (("ann", "wrong password"), ("nobody", PASSWORD), ("", "")):
            assert client.post("/login", data={"username": name, "password": password}).status_code == 400
        client.cookies.set("lorastyle-session", "made-up")
        assert client.get("/config").status_code == 401


def test_many_tries_at_once_are_as_few_as_one_after_the_other(tmp_path: Path) -> None:
    Users.add(tmp_path / "users.json", "ann", PASSWORD)
    door, told = Door(Users.from_file(tmp_path / "users.json")), []

    async def app(*request: Any) -> None:
        assert await door.answered(*request)

    async def log_in(client: httpx.AsyncClient, password: str) -> None:
        told.append((await client.post("/login", data={"username": "ann", "password": password})).status_code)

    async def try_all() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://studio") as client:
            for _ in range(TRIES):
                await log_in(client, PASSWORD)  # who is let in has not tried
            async with anyio.create_task_group() as tries:
                for _ in range(2 * TRIES):
                    tries.start_soon(log_in, client, "wrong password")

    with ThreadPoolExecutor(1) as other:  # where no browser of another test has left its loop running
        other.submit(anyio.run, try_all).result()
    assert (told.count(200), told.count(400), told.count(429)) == (TRIES, TRIES, TRIES)


def test_a_flood_of_logins_leaves_threads_to_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Users.add(tmp_path / "users.json", "ann", PASSWORD)
    users, enough = Users.from_file(tmp_path / "users.json"), Event()
    monkeypatch.setattr(users, "check", lambda *_: enough.wait(60))  # seconds, so that a failure ends too
    door = Door(users, behind_proxy=True)

    async def app(*request: Any) -> None:
        assert await door.answered(*request)

    async def log_in(client: httpx.AsyncClient, name: str) -> None:
        await client.post("/login", data={"username": name, "password": PASSWORD})

    async def flood() -> None:
        threads = int(anyio.to_thread.current_default_thread_limiter().total_tokens)
        asks = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://studio")
        async with asks as client, anyio.create_task_group() as tries:
            for number in range(2 * threads):
                tries.start_soon(log_in, client, f"somebody {number}")
            await anyio.wait_all_tasks_blocked()
            taken = anyio.to_thread.current_default_thread_limiter().borrowed_tokens
            enough.set()
        assert 0 < taken < threads / 2

    with ThreadPoolExecutor(1) as other:
        other.submit(anyio.run, flood).result()


def test_the_cookie_is_for_this_server_alone(shared: Running) -> None:
    with shared.client() as client:
        told = client.post("/login", data={"username": "ben", "password": PASSWORD}).headers["set-cookie"].lower()
    assert "httponly" in told
    assert "samesite=lax" in told


@pytest.mark.parametrize("theirs", ['prefs={"a": 1, "b": [1]}', "a b=1", "x[1]=y", "=", "lorastyle-session-2=a"])
def test_cookies_of_other_applications_keep_nobody_out(shared: Running, theirs: str) -> None:
    with logged_in(shared, "ben") as client:
        ours = f"lorastyle-session={client.cookies['lorastyle-session']}"
    with shared.client() as client:
        for cookies in (f"{theirs}; {ours}", f"{ours}; {theirs}", f"{ours}; lorastyle-session=of-a-shorter-path"):
            assert client.get("/config", headers={"Cookie": cookies}).status_code == 200
        assert client.get("/config", headers={"Cookie": theirs}).status_code == 401


def test_logging_out_ends_a_session(shared: Running) -> None:
    with logged_in(shared, "ben") as client:
        cookies = dict(client.cookies)
        assert client.get("/config").status_code == 200
        client.post("/logout")
        client.cookies.update(cookies)
        assert client.get("/config").status_code == 401


def test_ones_own_files_are_there(held: Held, ann: httpx.Client) -> None:
    for path in held.addresses():
        if not path.startswith("/files/card/"):  # nobody has drawn with that adapter
            assert ann.get(path).status_code == 200, path


def test_files_of_others_are_not_there(held: Held, ben: httpx.Client) -> None:
    for path in held.addresses():
        assert ben.get(path).status_code == 404, path


def test_things_of_others_cannot_be_asked_for(held: Held, ben: httpx.Client) -> None:
    asked = {
        "review_rows": [{"data": held.draft.id}],
        "review_set_caption": [{"data": held.draft.id, "id": held.image, "text": "bens"}],
        "training_cancel": [held.training.id],
        "queue_cancel": [held.training.id],
        "queue_remove": [held.training.id],
        "library_delete": [held.adapter],
    }
    names = ben.get("/gradio_api/info").json()["named_endpoints"]
    for name, data in asked.items():
        if f"/{name}" in names:
            told = called(ben, name, data)
            assert "there is no such" in told.casefold(), name
            assert "hers" not in told
    assert held.draft.rows()[0].caption != "bens"


def test_only_bases_that_the_studio_allows_are_looked_at(shared: Running, ben: httpx.Client) -> None:
    for base in ("/etc", "..", str(shared.workspace.root)):
        assert "that may be used here" in called(ben, "look_at_base", [base])
    assert shared.workspace.jobs.list(task="describe") == []


def test_nobody_is_told_where_models_lie_by_the_pages_themselves(ben: httpx.Client) -> None:
    for path in ("/config", "/settings"):
        assert MODELS not in ben.get(path).text


def called(client: httpx.Client, name: str, data: list[Any]) -> str:
    """What an endpoint answers, be it a result or an error."""
    event = client.post(f"/gradio_api/call/{name}", json={"data": data}).json()
    if "event_id" not in event:
        return json.dumps(event)
    return client.get(f"/gradio_api/call/{name}/{event['event_id']}").text


def test_a_page_that_somebody_else_opened_cannot_be_listened_to(ann: httpx.Client, ben: httpx.Client) -> None:
    event = {"data": [], "session_hash": "annspage", "event_id": "a", "fn_index": 0}
    ann.post("/gradio_api/cancel", json=event)
    assert ben.get("/gradio_api/queue/data?session_hash=annspage").status_code == 403
    assert ben.post("/gradio_api/cancel", json=event).status_code == 403


# What is off, and what is told


@pytest.mark.parametrize(
    "path",
    ["/monitoring", "/monitoring/summary", "/monitoring/key", "/gradio_api/runs", "/gradio_api/run-history/buckets",
     "/gradio_api/proxy=https://a.hf.space/", "/gradio_api/deep_link?session_hash=a", "/gradio_api/token", "/docs",
     "/gradio_api/vibe-code", "/gradio_api/dev/reload", "/gradio_api/mcp/sse", "/openapi.json", "/gradio_api/unknown"],
)  # fmt: skip
def test_what_the_studio_does_not_need_is_off(studio: Running, path: str) -> None:
    with studio.client() as client:
        assert client.get(path).status_code == 404
        assert client.post(path, json={}).status_code in (404, 405)


def test_who_opens_a_page_that_is_not_there_finds_the_way_back(studio: Running) -> None:
    with studio.client() as client:
        opened = client.get("/nowhere", headers={"sec-fetch-mode": "navigate"})
        assert opened.status_code == 404
        assert '<a href="/">' in opened.text
        assert client.get("/nowhere").text == "There is no such page."


def test_nothing_is_reported_or_shared(studio: Running) -> None:
    with studio.client() as client:
        config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False


@pytest.mark.parametrize("path", ["/", "/files/card/none", "/theme.css", "/nowhere", "/gradio_api/info"])
def test_every_answer_has_the_security_headers(studio: Running, path: str) -> None:
    with studio.client() as client:
        headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert "unsafe-inline" not in rules["script-src"]
    assert rules["frame-ancestors"] == rules["object-src"] == "'none'"
    assert "access-control-allow-origin" not in headers


def test_refusals_do_not_tell_where_the_studio_lies(shared: Running, ann: httpx.Client) -> None:
    root = shared.workspace.root
    answers = [
        ann.get("/nowhere"),
        ann.get(f"/gradio_api/file={quote(str(root / 'none'))}"),
        ann.get("/files/card/none"),
        ann.post("/gradio_api/queue/join", json={"data": [], "session_hash": "annsown", "fn_index": 99_999}),
        ann.post("/gradio_api/component_server", json={"data": [], "session_hash": "annsown"}),
        ann.post("/gradio_api/component_server", json={"data": 1, "session_hash": "annsown", "component_id": 99_999,
                                                       "fn_name": "add"}),
        ann.post("/gradio_api/call/none", json={"data": []}),
    ]  # fmt: skip
    told = "".join(answer.text for answer in answers)
    for place in (root.parent, Path.home(), Path(__file__).parents[2]):
        assert str(place) not in told
    assert "Traceback" not in told
