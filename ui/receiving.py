"""Taking in what people send: each upload into a folder of its own, among those of the person who sent it."""

import secrets
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from gradio.route_utils import FileUploadProgress, upload_fn
from gradio.routes import file_upload_statuses
from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException

from ui.bodies import BY_PEOPLE, UPLOAD
from ui.session import area, visit_of

COUNTED_AFTER = 10.0  # seconds
NO_ROOM = "There is no room left for you here. Delete something first. What was sent and not taken in goes after a day."


@dataclass
class _Taken:
    """What a person takes on the disk: `bytes` when it was `looked` at (monotonic seconds), and `since` then."""

    bytes: int
    looked: float
    since: int = 0


def receiver(store: Path) -> APIRouter:
    """The route of Gradio's uploads, which Gradio itself would put all into one folder, named by what is in them."""
    router = APIRouter()
    coming: Counter[str] = Counter()  # bytes that people are sending
    taken: dict[str, _Taken] = {}

    def look(request: Request) -> _Taken:
        """What the person takes, uploads included; looked at only now and then: a folder comes as many uploads."""
        user = visit_of(request).user
        if user not in taken or time.monotonic() - taken[user].looked >= COUNTED_AFTER:
            taken[user] = _Taken(area(request).usage(store / BY_PEOPLE / user), time.monotonic())
        return taken[user]

    @router.post(UPLOAD)
    async def upload(request: Request, upload_id: str | None = None) -> Response:
        visit = visit_of(request)
        limits = visit.workspace.settings.limits
        length = int(request.headers.get("content-length", limits.upload_bytes))
        now = await run_in_threadpool(look, request)
        if now.bytes + now.since + coming[visit.user] + length > limits.disk_bytes:
            return PlainTextResponse(NO_ROOM, 413)
        folder = store / BY_PEOPLE / visit.user / secrets.token_urlsafe(12)
        progress: FileUploadProgress = file_upload_statuses
        coming[visit.user] += length
        try:
            paths, _, _ = await upload_fn(request, str(folder), limits.upload_bytes, upload_id, True, progress)
        except MultiPartException as error:
            shutil.rmtree(folder, ignore_errors=True)
            return PlainTextResponse(error.message, 413 if "maximum allowed size" in error.message else 400)
        finally:
            coming[visit.user] -= length
        taken[visit.user].since += length
        return JSONResponse(paths)

    return router
