"""The content security policy: what a page of the studio may load, and which scripts it may run.

Gradio's page begins with inline scripts, and its components make functions of text, so that must be allowed. Inline
scripts run only where they bear the nonce of the answer, which is put into them here; so a script in a caption, a name
or a log would not run even where somebody forgot to escape it.
"""

import base64
import hashlib
import re
import secrets
from functools import cache

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

_SCRIPT = re.compile(rb"<script(?=[\s>])")


def policy(nonce: str = "") -> str:
    """The policy of an answer; without a nonce it may run no inline script at all."""
    scripts = f"'self' 'unsafe-eval' 'nonce-{nonce}' {own_scripts()}" if nonce else "'none'"
    rules = {
        "default-src": "'self'" if nonce else "'none'",
        "script-src": scripts,
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'" if nonce else "'none'",
        "worker-src": "'self' blob:" if nonce else "'none'",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


@cache
def own_scripts() -> str:
    """The hashes of our own inline scripts, which Gradio's front end puts into the page's head by itself."""
    from ui.theme import look

    found = re.findall(r"<script>(.*?)</script>", look()["head"], re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found)
    return " ".join(f"'sha256-{hash}'" for hash in hashes)


def nonced(send: Send, is_page: bool) -> tuple[Send, str | None]:
    """`send` for the answer to a page: its scripts get a nonce, which is also returned. Others stay as they are.

    The page is Gradio's template; what people wrote is not in it, or as JSON in which no "<" is left.
    """
    if not is_page:
        return send, None
    nonce = secrets.token_urlsafe(16)
    begun: list[Message] = []
    parts: list[bytes] = []

    async def with_nonce(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if not headers.get("content-type", "").startswith("text/html"):
                await send(message)
                return
            begun.append(message)
            return
        if not begun:
            await send(message)
            return
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            page = _SCRIPT.sub(f'<script nonce="{nonce}"'.encode(), b"".join(parts))
            headers = MutableHeaders(scope=begun[0])
            headers["Content-Length"] = str(len(page))
            headers["Content-Security-Policy"] = policy(nonce)
            await send(begun[0])
            await send({"type": "http.response.body", "body": page})

    return with_nonce, nonce
