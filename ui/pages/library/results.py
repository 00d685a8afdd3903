"""What the jobs of this page made, as HTML: the proof of an export, where to find what came in."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from lorastyle import Card, Job
from ui import files
from ui.widgets import jobs as words
from ui.widgets.parts import part

STYLE = part("jobs.css") + part("results.css")


def told(job: Job | None, made: Card | None) -> str:
    """The line or the box about the job that the page follows; `made`: the adapter of the library that came of it."""
    if job is None or job.task not in _RESULTS:
        return ""
    if job.state != "done":
        return words.strip(job)
    link = f'<p><a href="./library?adapter={escape(made.id)}">Open {escape(made.title)}</a></p>' if made else ""
    return f'<section class="result" role="status">{_RESULTS[job.task](job)}{link}</section>'


def _export(job: Job) -> str:
    result = job.result
    layers, worst = int(result.get("layers", 0)), float(result.get("worst_relative_error", 0.0))
    proof = {
        "Layers": f"{layers:,}, each read back from the new file and compared with yours",
        "Largest difference": f"{_share(worst)} of a layer's change, in {result.get('worst_layer', '')}",
    }
    if "conversion_error" in result:
        proof["Through the conversion"] = f"{_share(float(result['conversion_error']))} at most"
    links = "".join(
        f'<p><a href="{escape(files.result(job, name))}" download>Download {escape(name)}</a></p>'
        for name in _names(result)
    )
    return f"<h2>Exported and proven</h2>{_list(proof)}{links}"


def _names(result: Mapping[str, Any]) -> list[str]:
    return [Path(str(path)).name for path in [result["file"], *result.get("beside", [])]]


def _came_in(job: Job) -> str:
    return "<h2>In your library</h2><p>It was read and checked.</p>"


def _mixed(job: Job) -> str:
    error = float(job.result.get("worst_relative_error", 0.0))
    return f"<h2>Mixed</h2><p>It is in your library. Largest difference from all together: {_share(error)}.</p>"


def _merged(job: Job) -> str:
    made = Path(str(job.result["merged"]))
    said = (
        f"<p>You can choose it as a base now: it is called <b>{escape(job.title)}</b>. "
        "It lasts until you delete this merge from the queue.</p>"
    )
    if made.suffix != ".safetensors":
        return f"<h2>Merged</h2>{said}"
    link = f'<a href="{escape(files.result(job, made.name))}" download>Download {escape(made.name)}</a>'
    return f"<h2>Merged</h2>{said}<p>{link}</p>"


def _published(job: Job) -> str:
    address = escape(str(job.result["address"]))
    told = f'<a href="{address}" rel="noreferrer">{address}</a>' if address.startswith("https://") else address
    return f"<h2>Published</h2><p>{told}</p>"


def _share(error: float) -> str:
    """A relative error as people read it."""
    if error == 0:
        return "0"
    return f"{error:.1%}" if error >= 0.001 else f"{error:.1e}"


def _list(lines: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{escape(text)}</dd>' for name, text in lines.items())}</dl>"


_RESULTS = {"export": _export, "import": _came_in, "mix": _mixed, "merge": _merged, "publish": _published}
