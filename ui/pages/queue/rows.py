"""Jobs as HTML: the list, in its three groups, and what is known of the open one. All that people wrote is escaped."""

from html import escape

from lorastyle import Job
from ui.widgets import jobs as words
from ui.widgets.entries import entry
from ui.widgets.parts import part
from ui.widgets.words import ago, duration

FINISHED = 30  # of those that have ended, the newest are listed

STYLE = part("jobs.css") + part("queue.css")

EMPTY = """<div class="empty"><p>Nothing is waiting and nothing has been made yet.</p>
<p><a href="./">Teach a style</a> or <a href="./generate">draw a picture</a>, and you will see it here.</p></div>"""

# Where what a job made can be looked at.
PLACES = {
    "train": ("./?job={id}&amp;step=watch", "Watch the training"),
    "generate": ("./generate?job={id}", "See the picture"),
    "grid": ("./compare?job={id}", "See the grid"),
    "export": ("./library?job={id}", "See the result"),
    "import": ("./library?job={id}", "See it in the library"),
    "mix": ("./library?job={id}", "See it in the library"),
    "merge": ("./library?job={id}", "See the result"),
    "publish": ("./library?job={id}", "See the result"),
}


def listing(jobs: list[Job], chosen: str) -> str:
    """The jobs in three groups: at work, waiting in their order, ended."""
    if not jobs:
        return EMPTY
    groups = (
        ("At work", [job for job in jobs if job.state in words.AT_WORK]),
        ("Waiting", [job for job in jobs if job.state in ("queued", "paused")]),
        ("Finished", [job for job in jobs if words.is_over(job)][:FINISHED]),
    )
    return "".join(_group(title, members, chosen) for title, members in groups if members)


def _group(title: str, jobs: list[Job], chosen: str) -> str:
    items = "".join(f"<li>{_row(job, job.id == chosen)}</li>" for job in jobs)
    return f"<h2>{title} ({len(jobs)})</h2><ol>{items}</ol>"


def _row(job: Job, is_chosen: bool) -> str:
    kind = "" if job.title in ("", words.KINDS.get(job.task)) else f"{words.KINDS.get(job.task, job.task)}, "
    shows_bar = not words.is_over(job) and job.state != "queued"
    inside = (
        f"<b>{escape(words.name(job))}</b>{words.state(job)}{words.bar(job) if shows_bar else ''}"
        f'<span class="job-note">{escape(kind + words.progress(job))}</span>'
    )
    return entry("job", "job", job.id, is_chosen, inside)


def facts(job: Job) -> str:
    """What is known of one job."""
    lines = {
        "Kind": words.KINDS.get(job.task, job.task),
        "Progress": words.progress(job) if job.state != "queued" else "",
        "Doing": job.message if job.state in words.AT_WORK else "",
        "Speed": f"{job.speed:.2g} steps a second" if job.speed and job.state == "running" else "",
        "Added": ago(job.created),
        "Took": duration(job.ended - job.started) if job.started and job.ended else "",
    }
    told = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in lines.items() if text)
    error = f'<p class="job-error" role="alert">{escape(words.error(job))}</p>' if job.error else ""
    return (
        f'<section class="facts"><h2>{escape(words.name(job))}</h2><div>{words.state(job)}</div>'
        f"{words.bar(job) if not words.is_over(job) else ''}{error}<dl>{told}</dl>{_link(job)}</section>"
    )


def log(text: str) -> str:
    """The end of a log, scrolled to its last line, and scrolled with the keyboard too."""
    said = escape(text.rstrip()) or "Nothing has been written yet."
    return f'<h2>Log</h2><div class="log" role="region" aria-label="Log" tabindex="0"><pre>{said}</pre></div>'


def _link(job: Job) -> str:
    if job.task not in PLACES or (job.task != "train" and job.state != "done"):
        return ""
    address, text = PLACES[job.task]
    return f'<p class="links"><a href="{address.format(id=escape(job.id))}">{text}</a></p>'
