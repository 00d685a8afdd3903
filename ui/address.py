"""Where people open a studio that a proxy stands before: another name, https, a path on a site that holds more.

The address is told when the studio is started, and no header is believed for it: what a proxy forwards looks the same
as what anybody can send.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from starlette.types import Scope

from lorastyle import BadInput

_PORTS = {"http": 80, "https": 443}
# What is spelled in one way only: browsers send other letters as xn-- or %, and some would end a header or a cookie.
_NAME = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_PATH = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)*")
# What paths inside begin with. With a prefix like one of these it could not be told whether a proxy has cut it off.
TAKEN = frozenset({
    "compare", "generate", "library", "queue", "settings", "login", "logout", "files", "assets", "static", "config",
    "gradio_api",
})  # fmt: skip


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
        if parts.scheme not in _PORTS or not whole or not _NAME.fullmatch(name) or not _PATH.fullmatch(path):
            raise BadInput("ui.address", f"{text!r} is no address of a site", "write it as people open it, in plain "
                           "letters, such as https://studio.example/lorastyle")  # fmt: skip
        if (first := path.split("/")[1:2]) and first[0] in TAKEN:
            raise BadInput("ui.address", f"the studio has a path /{first[0]} of its own", "choose another prefix")
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
