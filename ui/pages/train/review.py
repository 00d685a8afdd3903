"""Step two: looking at each image as it will be trained, and at its caption.

The cards talk to the server functions here; each edit answers with the rows that changed and nothing else.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from lorastyle import Area, BadInput, Draft, Job, Row, Workspace
from ui import files
from ui.answers import answered
from ui.pages.train import bases
from ui.session import area
from ui.widgets import jobs as words
from ui.widgets.drawn import drawn

Answer = dict[str, Any]
USUAL = (1024, 64)  # resolution and divisor that crops are shown for where no base is known
GUESSED = (
    "The sizes of {base} are not known yet: the crops are those of a base of {resolution} pixels. "
    '"Look at this base" on the next step finds out.'
)


def review(workspace: Workspace) -> gr.HTML:
    """The cards and what they can do; each of it is an endpoint of the interface too, by the same name."""
    calls = [answered(call) for call in _calls(workspace)]
    for call in calls:
        gr.api(call, api_name=f"review_{call.__name__}", queue=False)
    return drawn("review", {}, server_functions=calls)


def _calls(workspace: Workspace) -> list[Callable[..., Answer]]:
    """Each takes {"data", "base", "trigger"} and what else it needs in one mapping."""

    def opened(ask: Answer, request: gr.Request) -> "_Opened":
        return _Opened(workspace, area(request), ask)

    def rows(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """All images of a dataset, or those with the given "ids"; and a sentence for each file that was refused."""
        at = opened(ask, request)
        jobs = workspace.jobs.list(area(request).user, task="caption", states=("queued", "running"))
        captioning = next((job.id for job in jobs if job.settings.get("dataset") == at.draft.id), "")
        return {
            "rows": at.rows(ask.get("ids")),
            "undo": at.draft.last_edit(),
            "captioning": captioning,
            "refused": at.draft.refused(),
            "crops": at.crops,
        }

    def forget_refused(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Say no more which files were refused until now."""
        opened(ask, request).draft.forget_refused()
        return {}

    def set_caption(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Write the caption "text" of the image "id"; given the one that was "seen", only where it is still that."""
        at, seen = opened(ask, request), ask.get("seen")
        at.draft.set_caption(str(ask["id"]), str(ask["text"]), None if seen is None else str(seen))
        return {"rows": at.rows([ask["id"]]), "undo": at.draft.last_edit()}

    def set_focus(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Move the focus point of the image "id" to "x", "y", shares of its width and height.

        Given the one that was "seen", [x, y], only where it still is that one.
        """
        at, seen = opened(ask, request), ask.get("seen")
        point = None if seen is None else (float(seen[0]), float(seen[1]))
        at.draft.set_focus(str(ask["id"]), float(ask["x"]), float(ask["y"]), point)
        return {"rows": at.rows([ask["id"]]), "undo": at.draft.last_edit()}

    def remove(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Take the images "ids" out of the dataset."""
        count = opened(ask, request).draft.remove([str(id) for id in ask["ids"]])
        return {"said": f"Removed {_images(count)}. Undo takes that back."}

    def replace(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Replace "find" by "put" in all captions; "case": only where upper and lower case agree."""
        return opened(ask, request).changing(
            lambda draft: draft.replace(str(ask["find"]), str(ask["put"]), bool(ask.get("case"))),
            "Changed the caption of",
        )

    def around(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Put "words" before every caption, or behind it with "where" = "suffix"."""
        words = str(ask["words"])
        behind = ask.get("where") == "suffix"
        return opened(ask, request).changing(
            lambda draft: draft.suffix(words) if behind else draft.prefix(words), "Added to the caption of"
        )

    def undo(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Take the last change of the dataset back."""
        return opened(ask, request).changing(lambda draft: draft.undo(), "Took back the change of")

    def describe(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Start a job that writes the captions that are missing."""
        job = area(request).caption(opened(ask, request).draft, str(ask.get("captioner") or "file names"))
        workspace.jobs.ensure_worker()
        return {"job": job.id}

    def captioning(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """How far the captioning "job" is; with the rows that have a caption by now of those in "ids"."""
        job = workspace.jobs.get(str(ask["job"]), area(request).user)
        new = [row for row in opened(ask, request).rows(ask.get("ids")) if row["caption"]]
        return {"rows": new, "running": not job.state.ended, "failed": job.state == "failed", "said": _said(job)}

    def stop(ask: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        """Cancel the captioning "job" unless it is over by now; captions that are written stay."""
        job = workspace.jobs.get(str(ask["job"]), area(request).user)
        return {"state": (job if job.state.ended else workspace.jobs.cancel(job.id, job.owner)).state}

    return [rows, forget_refused, set_caption, set_focus, remove, replace, around, undo, describe, captioning, stop]


class _Opened:
    """A dataset as one page shows it: with the crops of the base chosen there, and its trigger word.

    `crops` says in a sentence where these are a guess, "" where they are not.
    """

    def __init__(self, workspace: Workspace, mine: Area, ask: Answer) -> None:
        self.draft = mine.dataset(str(ask["data"]))
        base = str(ask.get("base") or workspace.settings.default_base)
        resolution, divisor, self.crops = _sizes(workspace, mine, base)
        self._view = (resolution, divisor, str(ask.get("trigger") or ""))

    def rows(self, ids: list[Any] | None = None) -> list[Answer]:
        rows = self.draft.rows(*self._view) if ids is None or len(ids) > 1 else self._each(ids)
        wanted = None if ids is None else {str(id) for id in ids}
        return [_told(self.draft, row) for row in rows if wanted is None or row.id in wanted]

    def _each(self, ids: list[Any]) -> list[Row]:
        return [self.draft.row(str(id), *self._view) for id in ids]

    def changing(self, change: Callable[[Draft], int], said: str) -> Answer:
        """Change many rows, and answer with those alone that are others afterwards."""
        before = {row.id: row for row in self.draft.rows(*self._view)}
        count = change(self.draft)
        after = self.draft.rows(*self._view)
        rows = [_told(self.draft, row) for row in after if before.get(row.id) != row]
        reload = {row.id for row in after} != before.keys()
        return {
            "rows": rows,
            "reload": reload,
            "undo": self.draft.last_edit(),
            "said": f"{said} {_images(count)}." if count else "Nothing to change.",
        }


def _sizes(workspace: Workspace, mine: Area, base: str) -> tuple[int, int, str]:
    """Resolution and divisor of a base, and what is to be said of the crops that follow."""
    try:
        source = mine.base(base)
    except BadInput:  # which is said where the base is chosen; images and captions can be looked at all the same
        return *USUAL, ""
    if facts := bases.facts(workspace, source):
        return facts.resolution, facts.divisor, ""
    sizes = mine.geometry(base)
    on_disk = "/" not in source or Path(source).is_dir()
    called = Path(source).name if Path(source).is_absolute() else source
    return *sizes, "" if on_disk else GUESSED.format(base=called, resolution=sizes[0])


def _told(draft: Draft, row: Row) -> Answer:
    left, top, right, bottom = row.crop
    return {
        "id": row.id,
        "name": row.name,
        "caption": row.caption,
        "width": row.width,
        "height": row.height,
        "focus": list(row.focus),
        "kept": [(right - left) / row.width, (bottom - top) / row.height],
        "lost": row.lost,
        "warnings": [{"code": doubt.code, "text": doubt.text} for doubt in row.doubts],
        "thumbnail": files.url("thumbnail", draft.id, row.id, version=row.version),
    }


def _said(job: Job) -> str:
    if job.state == "failed":
        return words.error(job)
    if job.state.ended:
        return "Captions are written." if job.state == "done" else "Stopped; the captions written so far stay."
    return f"Writing captions: {job.step} of {job.steps}" if job.steps else "Writing captions: waiting for its turn"


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
