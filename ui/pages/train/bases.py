"""What the studio knows of a base. Of others than those that ship with lorastyle a job tells, once."""

from pathlib import Path

from lorastyle import Area, BaseFacts, Job, Workspace, shipped_facts


def facts(workspace: Workspace, source: str) -> BaseFacts | None:
    """The facts of the base that `Area.base` knows as `source`, None where no job has told them yet."""
    if source in shipped_facts():
        return shipped_facts()[source]
    told = (job for job in workspace.jobs.list(task="describe", states=("done",)) if job.settings["base"] == source)
    job = next(told, None)
    return BaseFacts.from_json(job.result["facts"]) if job else None


def look_at(workspace: Workspace, mine: Area, base: str) -> Job:
    """The job that looks at the base: the one that already does, or a new one. Raises BadInput where it may not."""
    source = mine.base(base)
    waiting = workspace.jobs.list(mine.user, task="describe", states=("queued", "running"))
    known = next((job for job in waiting if job.settings["base"] == source), None)
    title = f"Look at {Path(base).name}"
    job = known or workspace.jobs.add("describe", {"base": source}, owner=mine.user, title=title)
    workspace.jobs.ensure_worker()
    return job
