"""What is measured while training: `metrics.jsonl`, one line a step, and the chart made of it."""

import json
from pathlib import Path
from typing import Any

from lorastyle import files

SMOOTHING = 0.95  # decay of the running mean of the loss, per step


class Metrics:
    """The lines of a run's `metrics.jsonl`, appended step by step; a resumed run drops what lies after its step."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.rows = [row for row in read_metrics(path) if row["step"] <= step] if step else []
        files.write_text(path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def add(self, step: int, loss: float, **more: Any) -> dict[str, Any]:
        """Append the row of `step`; the smoothed loss is a running mean without bias towards its beginning."""
        row = {"step": step, "loss": loss, "smoothed": smoothed([*self.losses()[-200:], loss]), **more}
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def losses(self) -> list[float]:
        return [row["loss"] for row in self.rows]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a metrics file; a last line torn by a kill is not one."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def smoothed(losses: list[float]) -> float:
    """Exponentially weighted mean of `losses`, the last weighing most."""
    weights = [SMOOTHING ** (len(losses) - 1 - place) for place in range(len(losses))]
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)


def chart(rows: list[dict[str, Any]]) -> str:
    """The losses over the steps as an SVG picture: raw, smoothed and, where measured, held-out against the base's."""
    series = [
        ("loss", "#c9ced6", 1.0, [(row["step"], row["loss"]) for row in rows]),
        ("smoothed", "#3b6fd4", 2.0, [(row["step"], row["smoothed"]) for row in rows]),
    ]
    held = [(row["step"], row["held_out"]) for row in rows if "held_out" in row]
    left = _panel(series, 40, "training loss")
    right = _panel([("held-out / base", "#d4763b", 2.0, held)], 440, "held-out loss, base = 1") if held else ""
    width = 800 if held else 420
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 260" font-family="sans-serif" font-size="11" '
        f'fill="#444"><rect width="{width}" height="260" fill="#fff"/>{left}{right}</svg>\n'
    )


def _panel(series: list[tuple[str, str, float, list[tuple[float, float]]]], left: int, title: str) -> str:
    points = [point for *_, line in series for point in line]
    if not points:
        return ""
    last = max(x for x, _ in points) or 1
    low, high = min(y for _, y in points), max(y for _, y in points)
    span = (high - low) or 1.0

    def place(x: float, y: float) -> str:
        return f"{left + 340 * x / last:.1f},{220 - 180 * (y - low) / span:.1f}"

    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="{width}" '
        f'points="{" ".join(place(x, y) for x, y in line)}"><title>{name}</title></polyline>'
        for name, colour, width, line in series
    )
    axes = (
        f'<path d="M{left},40V220H{left + 340}" fill="none" stroke="#888"/>'
        f'<text x="{left}" y="24" font-size="13">{title}</text>'
        f'<text x="{left + 4}" y="50">{high:.3g}</text><text x="{left + 4}" y="214">{low:.3g}</text>'
        f'<text x="{left + 340}" y="236" text-anchor="end">step {last:g}</text>'
    )
    return axes + lines
