"""make families-report: which family of bases can do what, measured by the tests of `tests/families/`.

Prints the table, writes it into the README, and says how many cells passed as one JSON object on the last line.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from lorastyle.bases.family import families
from lorastyle.files import read_text, write_text

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BEGIN, END = "<!-- families: written by make families-report -->", "<!-- /families -->"
FAMILIES = ("sd1", "sd2", "sdxl", "sd3", "flux1", "flux2", "zimage", "qwen_image")
COLUMNS = {
    "load_folder": "folder",
    "load_single_file": "single file",
    "train": "train",
    "text_encoder": "text encoder",
    "resume": "resume",
    "export": "export",
    "generate": "generate",
}


@dataclass(frozen=True)
class Cell:
    """outcome: "passed", "failed" or "not_applicable"; reason: why it does not apply."""

    outcome: str
    reason: str = ""


def measured() -> dict[tuple[str, str], Cell]:
    """The outcome of each test by family and column; the tests' own output goes to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "tests/families/test_cells.py", f"--junitxml={report}"]
        subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
        cases = ElementTree.parse(report).iter("testcase")
        return {place: cell(case) for case in cases if (place := place_of(case.get("name", "")))}


def place_of(test: str) -> tuple[str, str] | None:
    """Family and column of a test such as "test_load_folder[sdxl]"."""
    found = re.fullmatch(r"test_(\w+)\[([\w-]+)\]", test)
    return (found[2], found[1]) if found and found[1] in COLUMNS else None


def cell(case: ElementTree.Element) -> Cell:
    skipped = case.find("skipped")
    if skipped is not None:
        return Cell("not_applicable", skipped.get("message", "").removeprefix("not applicable: "))
    failed = case.find("failure") is not None or case.find("error") is not None
    return Cell("failed" if failed else "passed")


def table(cells: Mapping[tuple[str, str], Cell]) -> str:
    """The cells as a Markdown table, the reasons of those that do not apply below it."""
    signs = {"passed": "yes", "failed": "**no**"}
    reasons: list[str] = []
    lines = [f"| family | bases | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in FAMILIES:
        row = []
        for column in COLUMNS:
            found = cells[name, column]
            if found.reason and found.reason not in reasons:
                reasons.append(found.reason)
            row.append(signs.get(found.outcome) or f"n/a ({reasons.index(found.reason) + 1})")
        lines.append(f"| `{name}` | {families()[name].title} | {' | '.join(row)} |")
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, "", *notes]).rstrip()


def write_into_readme(text: str) -> None:
    """Put the table between its two markers."""
    readme = read_text(README)
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not (rest and after):
        raise SystemExit(f"{README.name} has no place for the table: put {BEGIN} and {END} into it")
    write_text(README, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def main() -> None:
    found = measured()
    # A cell whose test did not even run has failed.
    cells = {(name, column): found.get((name, column), Cell("failed")) for name in FAMILIES for column in COLUMNS}
    text = table(cells)
    print(text)
    write_into_readme(text)
    outcomes = [one.outcome for one in cells.values()]
    counts = {outcome: outcomes.count(outcome) for outcome in ("passed", "not_applicable", "failed")}
    print(json.dumps({"cells": len(cells), **counts}))
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
