"""Taking in what people send: each upload into a folder of its own, among those of the person who sent it."""

import secrets
import shutil
import time
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


def receiver(store: Path) -> APIRouter:
    """The route of Gradio's uploads, which Gradio itself would put all into one folder, named by what is in them."""
    router = APIRouter()
    counted: dict[str, tuple[float, int]] = {}

    def used(request: Request) -> int:
        """What the person takes on the disk, counted anew only now and then: a folder comes as many uploads."""
        user = visit_of(request).user
        if time.monotonic() - counted.get(user, (-COUNTED_AFTER, 0))[0] >= COUNTED_AFTER:
            counted[user] = (time.monotonic(), area(request).usage())
        return counted[user][1]

    @router.post(UPLOAD)
    async def upload(request: Request, upload_id: str | None = None) -> Response:
        visit = visit_of(request)
        limits = visit.workspace.settings.limits
        if await run_in_threadpool(used, request) + int(request.headers.get("content-length", 0)) > limits.disk_bytes:
            return PlainTextResponse("There is no room left for you here. Delete something first.", 413)
        folder = store / BY_PEOPLE / visit.user / secrets.token_urlsafe(12)
        progress: FileUploadProgress = file_upload_statuses
        try:
            paths, _, _ = await upload_fn(request, str(folder), limits.upload_bytes, upload_id, True, progress)
        except MultiPartException as error:
            shutil.rmtree(folder, ignore_errors=True)
            return PlainTextResponse(error.message, 413 if "maximum allowed size" in error.message else 400)
        return JSONResponse(paths)

    return router
