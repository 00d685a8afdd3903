"""Jobs in words and as HTML: what kind of work it is, how it stands, and how far it has come."""

from html import escape

from lorastyle import BadInput, Job, Jobs
from ui.answers import failure
from ui.widgets.words import ago, duration

KINDS = {
    "train": "Training",
    "probe": "Estimate",
    "describe": "Look at a base",
    "caption": "Captions",
    "generate": "Drawing",
    "grid": "Grid",
    "export": "Export",
    "import": "Import",
    "mix": "Mix",
    "merge": "Merge",
    "publish": "Publishing",
}
STATES = {
    "queued": "waiting",
    "running": "working",
    "pausing": "about to pause",
    "paused": "paused",
    "cancelled": "cancelled",
    "failed": "failed",
    "done": "done",
}
ENDED = ("cancelled", "failed", "done")
AT_WORK = ("running", "pausing")


def find(jobs: Jobs, id: str, owner: str) -> Job | None:
    """The job that an address names; None where it names none, or one that is not there any more."""
    try:
        return jobs.get(id, owner) if id else None
    except BadInput:
        return None


def is_over(job: Job) -> bool:
    return job.state in ENDED


def name(job: Job) -> str:
    """What the person called it, or the kind of work."""
    return job.title or KINDS.get(job.task, job.task)


def error(job: Job) -> str:
    """Why it failed, and what to do."""
    return failure(job.error)


def state(job: Job) -> str:
    """The state as a dot and a word."""
    return f'<span class="job-state {escape(job.state)}">{escape(STATES.get(job.state, job.state))}</span>'


def bar(job: Job) -> str:
    """How far it has come, as a bar; nothing before it knows its steps."""
    if not job.steps:
        return ""
    percent = round(100 * min(1.0, job.step / job.steps))
    return (
        f'<span class="job-bar" role="progressbar" aria-label="Progress of {escape(name(job))}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}"><i style="width: {percent}%"></i></span>'
    )


def progress(job: Job) -> str:
    """How far it has come, in words."""
    if job.state == "queued":
        return f"added {ago(job.created)}"
    if is_over(job):
        return f"{STATES[job.state]} {ago(job.ended)}" if job.ended else STATES[job.state]
    said = [f"step {job.step:,} of {job.steps:,}"] if job.steps else []
    if job.state == "running" and job.seconds_left:
        said.append(f"about {duration(job.seconds_left)} left")
    waits = "not begun yet" if job.state == "paused" else "getting ready"
    return ", ".join(said) or job.message or waits


def strip(job: Job | None) -> str:
    """One job as a line for the page that started it."""
    if job is None:
        return ""
    if job.state == "failed":
        return f'<p class="job-error" role="alert">{escape(error(job))}</p>'
    if job.state == "done":
        return ""
    note = f'<p class="job-note">{escape(progress(job))}</p>'
    return f'<div class="job-strip" role="status">{state(job)}{bar(job)}{note}</div>'
