"""What is open on the page, as its address has it: ?data=ID&job=ID&step=review."""

from dataclasses import dataclass, replace
from typing import Any, Self

from lorastyle import Area, BadInput, Draft, Workspace
from ui import files
from ui.widgets.words import counted

STEPS = ("images", "review", "choose", "watch")
THUMBNAILS, WITH_IMAGES = 4, 12  # of a dataset on the shelf; datasets that show some

_SCRIPT = """(data, job, step) => {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries({ data, job, step: data || job ? step : "" })) {
    if (value) address.searchParams.set(name, value); else address.searchParams.delete(name);
  }
  if (address.href !== location.href) history.@how(history.state, "", address);
  if (!window.lorastyleBack) {
    window.lorastyleBack = true;
    window.addEventListener("popstate", () => location.reload());
  }
}"""
# Another step is another entry in the browser's history, so that its way back works; opening the page is none, but its
# address loses what is not there any more.
WENT = _SCRIPT.replace("@how", "pushState").removesuffix("}") + "  window.scrollTo(0, 0);\n}"
OPENED = _SCRIPT.replace("@how", "replaceState")


@dataclass(frozen=True)
class Place:
    """A dataset with its title and number of images, a training and a step, all of them there.

    `reviewable`: there are images, or an undo can bring some back.
    """

    data: str = ""
    title: str = ""
    count: int = 0
    reviewable: bool = False
    job: str = ""
    step: str = "images"

    @classmethod
    def of(cls, workspace: Workspace, mine: Area, data: str, job: str, step: str) -> Self:
        """As near as possible to what was asked for; an address may be old."""
        draft, job = _draft(mine, data), _training(workspace, mine, job)
        count = len(draft) if draft else 0
        here = cls(draft.id, draft.title, count, bool(count or draft.last_edit()), job) if draft else cls(job=job)
        wanted = step or ("watch" if job else "review")
        return replace(here, step=wanted if wanted in here.opened else "images")

    @property
    def opened(self) -> list[str]:
        """The steps that make sense."""
        open = {"images": True, "review": self.reviewable, "choose": self.count > 0, "watch": bool(self.job)}
        return [step for step in STEPS if open[step]]

    def strip(self) -> dict[str, Any]:
        """The value of the strip of steps."""
        notes = {"images": counted(self.count, "image")} if self.reviewable else {}
        return {"current": self.step, "open": self.opened, "notes": notes}

    def missing(self, data: str, job: str) -> str:
        """A sentence on what was asked for and is not here; "" where all is."""
        what = "training" if job and not self.job else "dataset" if data and not self.data else ""
        return f"The {what} that this page's address named is not there any more." if what else ""


def shelf(mine: Area) -> dict[str, Any]:
    """The value of the shelf: the datasets that there are, the newest first and with some of their images."""
    return {"datasets": [_on_shelf(draft, place < WITH_IMAGES) for place, draft in enumerate(mine.datasets())]}


def _on_shelf(draft: Draft, with_images: bool) -> dict[str, Any]:
    thumbnails = _thumbnails(draft) if with_images else []
    return {"id": draft.id, "title": draft.title, "count": len(draft), "thumbnails": thumbnails}


def _thumbnails(draft: Draft) -> list[str]:
    return [files.url("thumbnail", draft.id, row.id, version=row.version) for row in draft.rows()[:THUMBNAILS]]


def _draft(mine: Area, data: str) -> Draft | None:
    try:
        return mine.dataset(data) if data else None
    except BadInput:
        return None


def _training(workspace: Workspace, mine: Area, job: str) -> str:
    try:
        return workspace.jobs.get(job, mine.user).id if job else ""
    except BadInput:
        return ""
