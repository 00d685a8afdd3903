"""What the studio knows of a base. Of another than the one that ships with lorastyle a job tells, once."""

from lorastyle import BaseFacts, Job, Workspace, shipped_facts

SHIPPED = "pocket"


def facts(workspace: Workspace, base: str) -> BaseFacts | None:
    """The facts of the base, None where no job has told them yet."""
    if base == SHIPPED:
        return shipped_facts()
    told = (job for job in workspace.jobs.list(task="describe", states=("done",)) if job.settings["base"] == base)
    job = next(told, None)
    return BaseFacts.from_json(job.result["facts"]) if job else None


def look_at(workspace: Workspace, user: str, base: str) -> Job:
    """The job that looks at the base: the one that already does, or a new one."""
    waiting = workspace.jobs.list(user, task="describe", states=("queued", "running"))
    asked = (job for job in waiting if job.settings["base"] == base)
    job = next(asked, None) or workspace.jobs.add("describe", {"base": base}, owner=user, title=f"Look at {base}")
    workspace.jobs.ensure_worker()
    return job
