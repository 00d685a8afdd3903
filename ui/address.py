"""Where people open a studio that a proxy stands before: another name, https, a path on a site that holds more.

The address is told when the studio is started, and no header is believed for it: what a proxy forwards looks the same
as what anybody can send.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from starlette.types import Scope

from lorastyle import BadInput

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """`host` has the port too, if it is not the usual one; `path` is the prefix of all paths, "" for none."""

    scheme: str
    name: str
    host: str
    path: str

    @classmethod
    def read(cls, text: str) -> Self:
        """The address as a person writes it; raises BadInput where it is none."""
        try:
            parts = urlsplit(text.strip())
            name, port = parts.hostname or "", parts.port
        except ValueError:
            parts, name, port = urlsplit(""), "", None
        whole = not (parts.query or parts.fragment or parts.username or parts.password)
        path = parts.path.rstrip("/")
        if parts.scheme not in _PORTS or not name or not whole or any(part in path for part in ("//", "..", "\\", "%")):
            raise BadInput("ui.address", f"{text!r} is no address of a site",
                           "write it as people open it, such as https://studio.example/lorastyle")  # fmt: skip
        shown = f"[{name}]" if ":" in name else name
        host = shown if port in (None, _PORTS[parts.scheme]) else f"{shown}:{port}"
        return cls(parts.scheme, name, host, path)

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    def seen(self, scope: Scope) -> Scope:
        """A request as the browser sent it to the proxy; its path is that inside the studio, whether or not the proxy
        has cut off the prefix, which is the root path then."""
        path: str = scope["path"]
        inside = path.removeprefix(self.path) if self.path and path.startswith(f"{self.path}/") else path
        headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
        return {
            **scope,
            "scheme": self.scheme,
            "path": inside,
            "root_path": self.path,
            "headers": [(b"host", self.host.encode()), *headers],
        }
