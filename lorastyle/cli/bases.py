"""`lorastyle bases`."""

import json
from typing import Annotated, Any

import typer

from lorastyle.cli.screen import Json, show

COLUMNS = ("family", "title", "loads", "targets", "text encoders", "style", "character", "object")


def bases(
    base: Annotated[str, typer.Argument(help="A base to look at: its name, folder, file or hub id.")] = "",
    as_json: Json = False,
) -> None:
    """List the families of bases that can be trained on, or say of which one a base is, and how it is best trained."""
    import lorastyle

    if base:
        facts = lorastyle.describe_base(lorastyle.load_base(base)).as_json()
        show(facts if as_json else {name: told for name, told in facts.items() if name != "presets"}, as_json)
        return
    table = lorastyle.bases_table()
    if as_json:
        print(json.dumps({"families": table}))
        return
    rows = [list(COLUMNS), *(_cells(row) for row in table)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def _cells(row: dict[str, Any]) -> list[str]:
    purposes = [row["presets"][purpose] for purpose in COLUMNS[-3:]]
    steps = ["{}-{} steps".format(*preset["steps"]) for preset in purposes]
    listed = [", ".join(row["loads"]), ", ".join(row["targets"]), str(row["text_encoders"])]
    return [row["family"], row["title"], *listed, *steps]
