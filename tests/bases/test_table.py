import json

import lorastyle
from lorastyle.bases.family import families


def test_every_family_has_a_row_and_those_that_ship_come_first() -> None:
    rows = lorastyle.bases_table()
    assert {row["family"] for row in rows} == set(families())
    assert rows[0]["loads"] == ["pocket", "folder"]
    assert json.loads(json.dumps(rows)) == rows


def test_a_row_says_what_loads_and_what_can_learn() -> None:
    (row,) = (row for row in lorastyle.bases_table() if row["family"] == "sdxl")
    assert row["loads"] == ["hub id", "folder", "single file"]
    assert row["text_encoders"] == 2
    assert row["presets"]["character"]["rank"] == 32
    assert row["presets"]["character"]["steps"] == [800, 3000]
