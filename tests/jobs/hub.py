"""A hub on this machine: what publishing asks of the Hugging Face hub, and what came to it."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Hub:
    """`repos` say who may see them, `files` are those of the repositories by "owner/name/path".

    `refusals` are answers (status, message) by a part of the path that is asked for.
    """

    address: str = ""
    repos: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        self.asked.append((method, path))
        for part, (status, message) in self.refusals.items():
            if part in path:
                return status, {"error": message}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if method == "PUT" and path.startswith("/lfs/"):
            self.stored[path.removeprefix("/lfs/")] = body
            return 200, {}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"objects": [self._place(one) for one in json.loads(body)["objects"]]}
        repo = "/".join(path.removeprefix("/api/models/").split("/")[:2])
        if repo not in self.repos:
            return 404, {"error": "Repository not found"}
        if "/preupload/" in path:
            return 200, {"files": [self._mode(one) for one in json.loads(body)["files"]]}
        if "/commit/" in path:
            return self._commit(repo, [json.loads(line) for line in body.splitlines()])
        return 200, {"id": repo, "private": self.repos[repo] == "private", "sha": "0" * 40, "siblings": [], "tags": []}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        repo = f"{asked['organization']}/{asked['name']}"
        told = {"url": f"{self.address}/{repo}"}
        if repo in self.repos:
            return 409, told | {"error": "You already created this model repo"}
        self.repos[repo] = asked.get("visibility", "public")
        return 200, told

    def _place(self, one: dict[str, Any]) -> dict[str, Any]:
        return one | {"actions": {"upload": {"href": f"{self.address}/lfs/{one['oid']}", "header": {}}}}

    def _mode(self, one: dict[str, Any]) -> dict[str, Any]:
        large = one["path"].endswith((".safetensors", ".png"))
        return {"path": one["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": None}

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        for line in lines:
            told = line["value"]
            if line["key"] == "file":
                self.files[f"{repo}/{told['path']}"] = base64.b64decode(told["content"])
            elif line["key"] == "lfsFile":
                data = self.stored[told["oid"]]
                assert sha256(data).hexdigest() == told["oid"]
                self.files[f"{repo}/{told['path']}"] = data
        oid = "1" * 40
        return 200, {"commitUrl": f"{self.address}/{repo}/commit/{oid}", "commitOid": oid, "success": True}


@contextmanager
def hub_on_this_machine() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            hub.tokens.add(self.headers.get("Authorization", ""))
            body = self._body()
            status, told = hub.answer(self.command, self.path.partition("?")[0], body)
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        serving = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        try:
            yield hub
        finally:
            server.shutdown()
            serving.join()
