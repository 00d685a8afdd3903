"""The families of bases, for people and scripts."""

from typing import Any

from lorastyle.bases.family import Family, families
from lorastyle.bases.load import EMBEDDED


def bases_table() -> list[dict[str, Any]]:
    """One row for each family of bases that can be trained on, those that ship with lorastyle first.

    Each row: "family", as in adapter files; "title"; "loads", the ways to give a base of it; "targets", the presets of
    layers; "text_encoders", how many of its text encoders can learn too; "presets", what it suggests for each purpose,
    and "steps" there, the least and the most; "not_applicable", what it cannot do, with the reasons.
    """
    rows = [_row(family) for family in families().values()]
    return sorted(rows, key=lambda row: (row["family"] not in row["loads"], row["family"]))


def _row(family: Family) -> dict[str, Any]:
    return {
        "family": family.name,
        "title": family.title,
        "loads": _ways(family),
        "targets": list(family.targets),
        "text_encoders": len(family.adapted) - 1,
        "presets": {
            purpose: {name: one.value for name, one in preset.suggestions.items()}
            | {"steps": [preset.least_steps, preset.most_steps]}
            for purpose, preset in family.presets.items()
        },
        "not_applicable": dict(family.not_applicable),
    }


def _ways(family: Family) -> list[str]:
    ours = EMBEDDED.get(family.name)
    possible = {
        family.name: ours is not None and ours.is_dir(),
        "hub id": ours is None,
        "folder": True,
        "single file": "load_single_file" not in family.not_applicable,
    }
    return [way for way, holds in possible.items() if holds]
