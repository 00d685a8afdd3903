"""A training in figures: the card with its facts, and the curves."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pandas as pd

from lorastyle import Job
from ui.widgets.jobs import STATES, error, name
from ui.widgets.words import duration, size

Rows = Sequence[Mapping[str, Any]]


def card(job: Job, last: Mapping[str, Any]) -> dict[str, Any]:
    """The value of the widget "watch"; `last` is the latest row of what was measured."""
    return {
        "title": name(job),
        "state": job.state.value,
        "word": STATES[job.state],
        "share": job.progress,
        "doing": _doing(job),
        "error": error(job) if job.state == "failed" else "",
        "facts": _facts(job, last),
    }


def _doing(job: Job) -> str:
    if job.state == "queued":
        return "Waiting for its turn; trainings run one after another."
    if job.state == "paused":
        return "Paused; everything is saved."
    if job.state == "cancelled":
        return "Cancelled. Try again, and it goes on from where it was last saved."
    if job.state == "done":
        took = duration(job.ended - job.started) if job.ended and job.started else ""
        return f"Done{f' in {took}' if took else ''}."
    return job.message or ("Getting ready." if job.state == "running" else "")


def _facts(job: Job, last: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("Step", f"{job.step:,} of {job.steps:,}" if job.steps else "–")]
    if job.state == "running" and job.speed:
        facts.append(("Speed", f"{job.speed:.2g} steps/s" if job.speed >= 0.1 else f"{1 / job.speed:.0f} s a step"))
    if job.state == "running" and job.seconds_left:
        facts.append(("Time left", duration(job.seconds_left)))
    if last:
        facts += [("Loss", f"{last['smoothed']:.4f}"), ("Learning rate", decimal(last["learning_rate"]))]
    if "memory_bytes" in last:
        facts.append(("Memory", size(last["memory_bytes"])))
    return facts


def decimal(number: float) -> str:
    """The number to two places that count, written out: "0.0015"."""
    return f"{Decimal(f'{number:.2g}'):f}"


def losses(rows: Rows) -> pd.DataFrame:
    """The losses over the steps, raw and smoothed."""
    series = [("each step", "loss"), ("smoothed", "smoothed")]
    points = [(row["step"], row[field], which) for which, field in series for row in rows]
    return pd.DataFrame(points, columns=["step", "loss", "which"])


def rates(rows: Rows) -> pd.DataFrame:
    """The learning rate over the steps."""
    return pd.DataFrame([(row["step"], row["learning_rate"]) for row in rows], columns=["step", "learning rate"])
