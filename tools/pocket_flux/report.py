"""Measure pocket-flux: the pictures that it draws, and a style trained on it.

    python -m tools.pocket_flux.report

What `tools/pocket/report.py` and `tools/reports/style.py` measure of pocket, with their names. The last line on stdout
is one JSON object.
"""

import argparse

import lorastyle
from tools.pocket import report
from tools.pocket.plain import BASES
from tools.reports import runs, style

BASE = "pocket-flux"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many styles are trained (default 3)")
    seeds = parser.parse_args().seeds
    drawn = report.report(BASE, BASES[BASE].folder, lorastyle.load_base(BASE).guidance)
    runs.publish(drawn | style.report(BASE, seeds))


if __name__ == "__main__":
    main()
