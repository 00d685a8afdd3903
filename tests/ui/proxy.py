"""A proxy as people put before a studio: it ends TLS, cuts off a prefix, and tells in headers what it did."""

import http.client
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}


@dataclass
class Proxy:
    """`to` is the port of the studio, `prefix` what comes before all paths; `cuts` it off, and passes the `Host` on."""

    port: int
    name: str = "studio.localhost"  # which browsers look for on this machine
    prefix: str = ""
    to: int = 0
    cuts: bool = True
    tells_host: bool = False

    @property
    def address(self) -> str:
        return f"https://{self.name}:{self.port}{self.prefix}"

    @property
    def here(self) -> str:
        """The same for who does not know that such names are this machine's."""
        return f"https://127.0.0.1:{self.port}{self.prefix}"


@contextmanager
def proxied(folder: Path, prefix: str = "") -> Iterator[Proxy]:
    """A proxy with a certificate of its own, which nobody trusts."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=studio.localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            self.close_connection = True
            if not f"{self.path}/".startswith(f"{prefix}/"):
                self.send_error(404, "Another application is here")
                return
            path = (self.path.removeprefix(prefix) or "/") if proxy.cuts else self.path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = {name: value for name, value in self.headers.items() if name.lower() not in HOP | {"host"}}
            sent["Host"] = proxy.name if proxy.tells_host else f"127.0.0.1:{proxy.to}"
            sent |= {"X-Forwarded-Proto": "https", "X-Forwarded-Host": self.headers["Host"], "Connection": "close"}
            studio = http.client.HTTPConnection("127.0.0.1", proxy.to)
            with suppress(ConnectionError, ssl.SSLError):  # the browser has left
                studio.request(self.command, path, body or None, sent)
                self._answer(studio.getresponse())
            studio.close()

        def _answer(self, answer: http.client.HTTPResponse) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while part := answer.read1(2**16):
                self.wfile.write(part)

        do_GET = do_POST = do_HEAD = pass_on

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False  # a page may still listen for news

        def handle_error(self, *_: object) -> None: ...  # a connection that a browser opened ahead and never used

    with Server(("127.0.0.1", 0), Handler) as server:
        # The handshake waits for the thread of each connection, or one that is slow to it would hold up all others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        proxy = Proxy(server.server_address[1], prefix=prefix)
        serving = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            serving.join()
