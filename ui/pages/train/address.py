"""What is open on the page, as its address has it: ?data=ID&job=ID&step=review."""

from dataclasses import dataclass
from typing import Any, Self

from lorastyle import Area, BadInput, Draft, Workspace
from ui import files

STEPS = ("images", "review", "choose", "watch")
THUMBNAILS, WITH_IMAGES = 4, 12  # of a dataset on the shelf; datasets that show some

# Another step is another entry in the browser's history, so that its way back works.
SCRIPT = """(data, job, step) => {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries({ data, job, step })) {
    if (value && value !== "images") address.searchParams.set(name, value); else address.searchParams.delete(name);
  }
  if (address.href !== location.href) history.pushState(history.state, "", address);
  if (!window.lorastyleBack) {
    window.lorastyleBack = true;
    window.addEventListener("popstate", () => location.reload());
  }
  window.scrollTo(0, 0);
}"""


@dataclass(frozen=True)
class Place:
    """A dataset with its title and number of images, a training and a step, all of them there."""

    data: str
    title: str
    count: int
    job: str
    step: str

    @classmethod
    def of(cls, workspace: Workspace, mine: Area, data: str, job: str, step: str) -> Self:
        """As near as possible to what was asked for; an address may be old."""
        draft, job = _draft(mine, data), _training(workspace, mine, job)
        count = len(draft) if draft else 0
        opened = opened_steps(count, bool(job))
        wanted = step or ("watch" if job else "review" if count else "images")
        return cls(draft.id if draft else "", draft.title if draft else "", count, job,
                   wanted if wanted in opened else "images")  # fmt: skip


def opened_steps(count: int, training: bool) -> list[str]:
    """The steps that make sense with so many images, and with a training or none."""
    return ["images", *(["review", "choose"] if count else []), *(["watch"] if training else [])]


def strip(step: str, count: int, training: bool) -> dict[str, Any]:
    """The value of the strip of steps."""
    notes = {"images": f"{count} image{'' if count == 1 else 's'}"} if count else {}
    return {"current": step, "open": opened_steps(count, training), "notes": notes}


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
