"""Files that pages show and people download: their addresses, and the routes that serve them.

Each address names things by their ids, never by a path, and each is looked up among what the asking person has.
Pictures that people brought are shown as thumbnails, which were drawn anew; all else that is not ours is a download.

    thumbnail/DATASET/IMAGE     an image of a dataset       preview/JOB/STEP/NUMBER   a training's preview
    picture/JOB/NUMBER          what a job drew             result/JOB/NAME           a file that a job made
    card/ADAPTER[/NUMBER]       an adapter's picture        bundle/ADAPTER            an adapter, its card and previews
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, Response

from lorastyle import Card, Job, LorastyleError
from ui.session import area, visit_of

WHOLE_YEAR = "private, max-age=31536000, immutable"  # for addresses that name a version
LOOK_AGAIN = "private, no-cache"  # the browser asks whether its copy is still right
PICTURES = {".png": "image/png", ".webp": "image/webp"}  # what is shown; all of it was drawn or redrawn here

NOTHING = "There is no such file."

router = APIRouter(prefix="/files")


def url(kind: str, *parts: str | int, version: str | int = "") -> str:
    """The address of a file, relative to any page of the studio; one with a version may be kept for ever."""
    path = "/".join(quote(str(part), safe="") for part in (kind, *parts))
    query = f"?v={quote(str(version), safe='')}" if version != "" else ""
    return f"./files/{path}{query}"


def card(adapter: Card) -> str:
    """The address of the picture of an adapter in the library."""
    return url("card", adapter.id, version=adapter.path.stem)  # another checkpoint, kept in its place, has another name


def preview_of(adapter: Card, number: int) -> str:
    """The address of one of an adapter's previews."""
    return url("card", adapter.id, number)


def picture(job: Job, number: int = 0) -> str:
    """The address of a picture that a job drew."""
    return url("picture", job.id, number)


def download(job: Job, number: int = 0) -> str:
    """The address to take a picture home from, with its parameters in it."""
    return f"{url('picture', job.id, number)}?download=1"


def result(job: Job, name: str) -> str:
    """The address of a file that a job made, by the name of that file."""
    return url("result", job.id, name)


def bundle(adapter: Card) -> str:
    """The address of an adapter, its card and its previews as a zip."""
    return url("bundle", adapter.id)


@router.get("/thumbnail/{dataset}/{image}")
def _thumbnail(dataset: str, image: str, request: Request) -> Response:
    return _shown(lambda: area(request).dataset(dataset).thumbnail(image), request)


@router.get("/preview/{job}/{step}/{number}")
def _preview(job: str, step: int, number: int, request: Request) -> Response:
    def find() -> Path:
        visit = visit_of(request)
        found = visit.workspace.jobs.previews(job, visit.user)
        return next(Path(one["path"]) for one in found if (one["step"], one["number"]) == (step, number))

    return _shown(find, request)


@router.get("/picture/{job}/{number}")
def _picture(job: str, number: int, request: Request) -> Response:
    def find() -> Path:
        made = _job(job, request).result
        drawn = made.get("images") or [cell["path"] for cell in made.get("cells", [])]
        return Path(drawn[number])

    return _shown(find, request, lambda: _job(job, request).title)  # which is its prompt, where nobody named it


@router.get("/card/{adapter}")
def _card(adapter: str, request: Request) -> Response:
    return _shown(lambda: area(request).library().card(adapter).thumbnail, request)


@router.get("/card/{adapter}/{number}")
def _card_preview(adapter: str, number: int, request: Request) -> Response:
    return _shown(lambda: area(request).library().card(adapter).previews[number], request)


@router.get("/result/{job}/{name}")
def _result(job: str, name: str, request: Request) -> Response:
    def find() -> Path:
        done = _job(job, request)
        made = (done.folder / text for text in _texts(done.result) if Path(text).name == name)
        return next(path for path in made if path.is_file())

    return _taken_home(find, request)


@router.get("/bundle/{adapter}")
def _bundle(adapter: str, request: Request) -> Response:
    return _taken_home(lambda: area(request).library().bundle(adapter), request)


def _job(id: str, request: Request) -> Job:
    visit = visit_of(request)
    return visit.workspace.jobs.get(id, visit.user)


def _shown(find: Callable[[], Path | None], request: Request, title: Callable[[], str] | None = None) -> Response:
    """A picture for a page, or for the person to keep, called after its `title`, where the address says download."""
    path = _found(find, request)
    if path.suffix not in PICTURES:
        raise HTTPException(404, NOTHING)
    kept = WHOLE_YEAR if "v" in request.query_params else LOOK_AGAIN
    name = _called(title() if title else "", path) if "download" in request.query_params else None
    return FileResponse(path, media_type=PICTURES[path.suffix], filename=name, headers={"Cache-Control": kept})


def _taken_home(find: Callable[[], Path], request: Request) -> Response:
    path = _found(find, request)
    headers = {"Cache-Control": LOOK_AGAIN}
    return FileResponse(path, media_type="application/octet-stream", filename=path.name, headers=headers)


def _called(title: str, path: Path) -> str:
    """The name for a file that is taken home; letters of all languages are left, what no system takes is not."""
    stem = re.sub(r"[^\w-]+", "-", title)[:60].strip("-")
    return f"{stem or path.stem}{path.suffix}"


def _found(find: Callable[[], Path | None], request: Request) -> Path:
    """The file; what is not there, and what is another person's, is answered alike."""
    try:
        path = find()
    except (LorastyleError, LookupError, StopIteration):
        raise HTTPException(404, NOTHING) from None
    if path is None or not path.is_file() or not path.resolve().is_relative_to(visit_of(request).workspace.root):
        raise HTTPException(404, NOTHING)
    return path


def _texts(value: Any) -> Iterator[str]:
    """All texts in a job's result."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
