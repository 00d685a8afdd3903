"""The content security policy: what a page of the studio may load, and which scripts it may run.

Gradio's page begins with inline scripts, and its components make functions of text, so that must be allowed. Inline
scripts run only where they bear the nonce of the answer, which is put into them here; so a script in a caption, a name
or a log would not run even where somebody forgot to escape it.
"""

import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from ui.widgets.parts import part

_SCRIPT = re.compile(rb"<script(?=[\s>])")


def policy(nonce: str = "") -> str:
    """The policy of an answer; without a nonce it may run no inline script at all."""
    scripts = f"'self' 'unsafe-eval' 'nonce-{nonce}'" if nonce else "'none'"
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


def nonced(send: Send, theme: str | None) -> tuple[Send, str | None]:
    """`send` for the answer to a page: its scripts get a nonce, which is also returned, and one of ours comes first,
    which knows the studio's `theme`. Without a theme it is no page, and stays as it is.

    The page is Gradio's template; what people wrote is not in it, or as JSON in which no "<" is left.
    """
    if theme is None:
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
            # Gradio's own way of adding scripts to the head runs them after it has read the theme.
            first = f"<head><script>{part('head.js').replace('@theme', theme)}</script>".encode()
            whole = b"".join(parts).replace(b"<head>", first, 1)
            page = _SCRIPT.sub(f'<script nonce="{nonce}"'.encode(), whole)
            headers = MutableHeaders(scope=begun[0])
            headers["Content-Length"] = str(len(page))
            headers["Content-Security-Policy"] = policy(nonce)
            await send(begun[0])
            await send({"type": "http.response.body", "body": page})

    return with_nonce, nonce
