"""A grid as HTML: for each prompt a table of checkpoints by strengths. All that people wrote is escaped."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from lorastyle import Job
from ui import files
from ui.widgets.entries import entry
from ui.widgets.parts import part

STYLE = part("jobs.css") + part("grid.css")

EMPTY = """<div class="empty"><p>Which checkpoint is best, and how strong should it be?</p>
<p>Choose a training, a few of its checkpoints and strengths, and see them side by side.</p></div>"""


def step_of(checkpoint: str) -> int:
    """The step that a checkpoint's file belongs to; its folder is called after it, as in step-000100."""
    return int(Path(checkpoint).parent.name.rpartition("-")[2])


def tables(job: Job, chosen: str) -> str:
    """All pictures of a grid; the place of a cell in the job's result is its id."""
    cells = enumerate(job.result["cells"])
    by_prompt = groupby(cells, key=lambda cell: str(cell[1]["prompt"]))
    return "".join(_table(job, prompt, list(held), chosen) for prompt, held in by_prompt)


def _table(job: Job, prompt: str, cells: Sequence[tuple[int, dict[str, object]]], chosen: str) -> str:
    strengths = list(dict.fromkeys(float(str(cell["strength"])) for _, cell in cells))
    head = "".join(f'<th scope="col">at {strength:g}</th>' for strength in strengths)
    rows = []
    for checkpoint, row in groupby(cells, key=lambda cell: str(cell[1]["checkpoint"])):
        pictures = "".join(f"<td>{_cell(job, place, cell, chosen)}</td>" for place, cell in row)
        rows.append(f'<tr><th scope="row">step {step_of(checkpoint):,}</th>{pictures}</tr>')
    return (
        f'<section><h3>{escape(prompt)}</h3><div class="wide" tabindex="0" role="region" aria-label="Grid">'
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _cell(job: Job, place: int, cell: dict[str, object], chosen: str) -> str:
    title = f"step {step_of(str(cell['checkpoint']))} at strength {cell['strength']}: {cell['prompt']}"
    image = f'<img src="{escape(files.picture(job, place))}" alt="{escape(title)}" loading="lazy">'
    return entry("cell", "cell", str(place), str(place) == chosen, image, title)
