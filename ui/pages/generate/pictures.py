"""Pictures as HTML: the one that is open, and all that were drawn. All that people wrote is escaped."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from lorastyle import Job
from ui import files
from ui.widgets import jobs as words
from ui.widgets.entries import entry
from ui.widgets.parts import part

STAGE_STYLE = part("jobs.css") + part("picture.css")

HISTORY_STYLE = part("jobs.css") + part("history.css")

EMPTY = """<figure><div class="frame"><p class="hint">Your pictures will appear here. Describe what you want to see,
choose a style that you have taught, and press Draw.</p></div></figure>"""

NOTHING = '<p class="hint">Nothing yet. All that you draw is collected here.</p>'


def stage(job: Job | None, titles: Mapping[str, str]) -> str:
    """The open picture with all that made it; `titles` are the library's by the path of the adapter."""
    if job is None:
        return EMPTY
    prompt = str(job.settings["prompts"][0])
    return (
        f'<figure><div class="frame">{_picture(job, prompt)}</div><figcaption><p>{escape(prompt)}</p>'
        f"<dl>{_settings(job, titles)}</dl>{_links(job)}</figcaption></figure>"
    )


def history(jobs: list[Job], chosen: str) -> str:
    """A small picture for each drawing, newest first; those under way show how far they are."""
    small = "".join(f"<li>{_small(job, job.id == chosen)}</li>" for job in jobs)
    return f"<ul>{small}</ul>" if jobs else NOTHING


def _picture(job: Job, prompt: str) -> str:
    if job.state == "done":
        return f'<img src="{escape(files.picture(job))}" alt="{escape(prompt)}">'
    return _waiting(job)


def _waiting(job: Job) -> str:
    if job.state == "failed":
        return f'<p class="job-error" role="alert">{escape(words.error(job))}</p>'
    note = f'<p class="job-note">{escape(words.progress(job))}</p>'
    return f'<div class="wait" role="status">{words.state(job)}{words.bar(job)}{note}</div>'


def _small(job: Job, is_chosen: bool) -> str:
    prompt = str(job.settings["prompts"][0])
    if job.state == "done":
        inside = f'<img src="{escape(files.picture(job))}" alt="{escape(prompt)}" loading="lazy">'
    else:
        inside = f'<span class="wait">{words.state(job)}{words.bar(job)}</span>'
    return entry("picture", "job", job.id, is_chosen, inside, prompt)


def _settings(job: Job, titles: Mapping[str, str]) -> str:
    asked = job.settings
    sides = f"{asked['width']} x {asked['height']}" if asked.get("width") and asked.get("height") else ""
    told = {
        "Seed": asked.get("seed"),
        "Base": Path(str(asked.get("base"))).name,
        "Adapters": ", ".join(f"{adapter} {strength:g}" for adapter, strength in named(job, titles)),
        "Steps": asked.get("steps"),
        "Guidance": asked.get("guidance"),
        "Size": sides,
        "Without": asked.get("negative"),
    }
    shown = {name: value for name, value in told.items() if value not in ("", None)}
    return "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in shown.items())


def named(job: Job, titles: Mapping[str, str]) -> list[tuple[str, float]]:
    """The adapters of a drawing by the names that people gave them."""
    asked: Mapping[str, float] = job.settings.get("adapters", {})
    return [(titles.get(path, Path(path).stem), strength) for path, strength in asked.items()]


def _links(job: Job) -> str:
    if job.state != "done":
        return ""
    return (
        f'<p class="links"><a href="./compare?picture={escape(job.id)}">Compare with the base</a>'
        f'<a href="{escape(files.download(job))}" download>Download the PNG</a></p>'
    )
