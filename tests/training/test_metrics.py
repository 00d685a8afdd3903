import xml.etree.ElementTree as ET

import pytest

from lorastyle.training.metrics import Metrics, chart, read_metrics, smoothed


def test_rows_come_back_as_they_were_added(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl", step=0)
    metrics.add(1, 0.5, learning_rate=1e-4)
    metrics.add(2, 0.25, held_out=0.9)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 0.5), (2, 0.25)]
    assert rows[1]["held_out"] == 0.9


def test_a_resumed_run_drops_what_lies_after_its_checkpoint_and_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path, step=0)
    for step in (1, 2, 3):
        metrics.add(step, float(step))
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    Metrics(path, step=2).add(3, 9.0)
    assert [row["loss"] for row in read_metrics(path)] == [1.0, 2.0, 9.0]


def test_smoothing_is_a_weighted_mean_without_bias():
    assert smoothed([2.0, 2.0, 2.0]) == pytest.approx(2.0)
    assert smoothed([0.0, 1.0]) == pytest.approx(1 / 1.95)  # weights 0.95 and 1


def test_the_chart_is_well_formed_with_and_without_held_out_losses():
    rows = [{"step": step, "loss": 1 / step, "smoothed": 1 / step} for step in range(1, 6)]
    assert ET.fromstring(chart(rows)).tag.endswith("svg")
    assert "held-out" not in chart(rows)
    assert "held-out" in chart([*rows[:-1], rows[-1] | {"held_out": 0.8}])
