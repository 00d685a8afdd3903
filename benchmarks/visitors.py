"""Who visits the studio while it is measured: one person with a browser, and many without."""

import random
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from statistics import median, quantiles
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, Response, sync_playwright

from lorastyle import Draft, Job

CLIENTS, ROUNDS, REPEATS = 16, 5, 7
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
CAPTION = "#page article textarea"


def require_chromium() -> None:
    """End with a sentence where there is none."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed; on Debian: apt install chromium")


def alone(studio: str, dataset: str, watched: str) -> dict[str, float]:
    """What one person sees who opens a large dataset, edits a caption, and watches a long training."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        times = [_review(page, f"{studio}/?data={dataset}&step=review") for _ in range(REPEATS)]
        rows = _edit(page)
        browser.close()
    with httpx.Client(base_url=studio, timeout=60) as client:
        poll = _poll(client, watched)
    return {
        "review_500_cold_seconds": round(times[0], 2),
        "review_500_seconds": round(median(times[1:]), 2),
        "rows_sent_per_edit": rows,
        "poll_10000_ms": round(1000 * poll, 1),
    }


def _review(page: Page, address: str) -> float:
    """Seconds from opening the address until a caption can be edited."""
    page.goto("about:blank")
    begin = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator(CAPTION).first.click()
    return time.perf_counter() - begin


def _edit(page: Page) -> int:
    """How many rows come back for one edited caption."""

    def saves(response: Response) -> bool:
        return "component_server" in response.url and '"set_caption"' in (response.request.post_data or "")

    with page.expect_response(saves) as answered:
        page.locator(CAPTION).first.fill("a caption that somebody wrote, inkpen")
        page.locator(CAPTION).nth(1).click()
    return len(answered.value.json()["rows"])


def _poll(client: httpx.Client, job: str) -> float:
    """Seconds of one look at a training that has gone on since the page looked last; the connection is open already."""
    config = client.get("/config").json()
    plots = {one["id"] for one in config["components"] if one["type"] == "nativeplot"}
    ticks = [one for one in config["dependencies"] if _ticks(one) and plots & set(one["outputs"])]
    times = []
    for looked_at in [job, ""] * REPEATS:  # between two looks the page shows nothing, so that each draws all of it
        event = {"fn_index": ticks[0]["id"], "data": [looked_at, None], "session_hash": "poll"}
        begin = time.perf_counter()
        answer = client.post("/gradio_api/run/predict", json=event)
        if looked_at:
            times.append(time.perf_counter() - begin)
        if answer.status_code != 200:
            sys.exit(f"The poll failed: {answer.text}")
    return median(times)


def together(studio: str, draft: Draft, watched: Job, training: Job) -> dict[str, float]:
    """Many at once who upload, edit, queue, cancel and look."""
    ids = [row.id for row in draft.rows()]
    visitors = [Visitor(studio, number, draft.id, ids[number::CLIENTS], watched.id, training.id)
                for number in range(CLIENTS)]  # fmt: skip
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(Visitor.visit, visitors))
    seconds = [second for visitor in visitors for second in visitor.seconds]
    captions = {row.id: row.caption for row in draft.rows()}
    wrote = {id: text for visitor in visitors for id, text in visitor.wrote.items()}
    errors = [error for visitor in visitors for error in visitor.errors]
    for error in errors[:5]:
        print(error, file=sys.stderr)
    return {
        "clients": CLIENTS,
        "requests": len(seconds),
        "errors": len(errors),
        "lost_edits": sum(captions[id] != text for id, text in wrote.items()),
        "p95_seconds": round(quantiles(seconds, n=100)[94], 3),
    }


@dataclass
class Visitor:
    """One of many; `images` are those whose captions this one edits."""

    studio: str
    number: int
    dataset: str
    images: list[str]
    watched: str
    training: str
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrote: dict[str, str] = field(default_factory=dict)

    def visit(self) -> None:
        with httpx.Client(base_url=self.studio, timeout=60) as client:
            self.client = client
            config = client.get("/config").json()
            self.review = next(one["id"] for one in config["components"] if _serves(one, "set_caption"))
            self.drop = next(one["id"] for one in config["components"] if _serves(one, "add"))
            for turn in range(ROUNDS):
                self._upload(turn)
                self._edit(turn)
                self._queue_and_cancel()
                self._look(turn)

    def _upload(self, turn: int) -> None:
        files = {"files": (f"{self.number}-{turn}.png", _picture(self.number, turn))}
        path = self._ask("/gradio_api/upload", files=files)
        if path:
            self._serve(self.drop, "add", {"data": "", "files": [{"path": path[0], "name": f"{turn}.png"}]})

    def _edit(self, turn: int) -> None:
        for place in range(3):
            id = self.images[(3 * turn + place) % len(self.images)]
            self.wrote[id] = f"edit {turn} of {place} by {self.number}, inkpen"
            self._serve(self.review, "set_caption", {"data": self.dataset, "id": id, "text": self.wrote[id]})

    def _queue_and_cancel(self) -> None:
        added = self._call("queue_clone", [self.training])
        if added:
            self._call("queue_cancel", [added[0]["id"]])

    def _look(self, turn: int) -> None:
        self._ask(f"/files/preview/{self.watched}/5000/0")
        self._ask(f"/files/thumbnail/{self.dataset}/{self.images[turn]}")

    def _serve(self, component: int, name: str, ask: dict[str, Any]) -> None:
        event = {"data": ask, "component_id": component, "fn_name": name, "session_hash": f"visitor{self.number}"}
        answer = self._ask("/gradio_api/component_server", json=event)
        if isinstance(answer, dict) and answer.get("error"):
            self.errors.append(f"{name}: {answer['error']}")

    def _call(self, name: str, data: list[Any]) -> list[Any] | None:
        """What an endpoint answers, from asking until it is there; both requests count as one."""
        begin = time.perf_counter()
        event = self.client.post(f"/gradio_api/call/{name}", json={"data": data})
        if event.status_code != 200:
            self.errors.append(f"{name}: {event.status_code} {event.text}")
            return None
        told = self.client.get(f"/gradio_api/call/{name}/{event.json()['event_id']}").text
        self.seconds.append(time.perf_counter() - begin)
        if "event: complete" not in told:
            self.errors.append(f"{name}: {told}")
            return None
        return list(httpx.Response(200, text=told.rpartition("data: ")[2]).json())

    def _ask(self, path: str, **body: Any) -> Any:
        begin = time.perf_counter()
        answer = self.client.post(path, **body) if body else self.client.get(path)
        self.seconds.append(time.perf_counter() - begin)
        if answer.status_code != 200:
            self.errors.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer.json() if answer.headers["content-type"].startswith("application/json") else True


def _ticks(event: dict[str, Any]) -> bool:
    return [name for _, name in event["targets"]] == ["tick"]


def _serves(component: dict[str, Any], name: str) -> bool:
    return name in (component["props"].get("server_fns") or [])


def _picture(number: int, turn: int) -> bytes:
    """A PNG that nobody else sends."""
    noise = random.Random(1000 * number + turn)
    image = Image.frombytes("RGB", (16, 16), noise.randbytes(768)).resize((512, 512), Image.Resampling.NEAREST)
    data = BytesIO()
    image.save(data, format="PNG")
    return data.getvalue()
