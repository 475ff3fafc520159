"""The benchmark of what people wait for runs each step, and its table has a row for each."""

from pathlib import Path

import pytest

from benchmarks.waiting import _CODE, Step, lines, run, write_job, write_nights

ROOT = Path(__file__).parents[2]


def test_the_table_has_a_row_per_step_and_columns_per_checkout() -> None:
    steps = {"before": Step(36.5, 73.0), "now": Step(18.25, 36.5)}

    text = list(lines(dict.fromkeys(_CODE, steps), nights=365))

    rows = [line for line in text if line.startswith("|")][2:]
    assert len(rows) == len(_CODE)
    assert "| 100.0 ms | 200.0 ms | 50.0 ms | 100.0 ms |" in next(row for row in rows if "per night" in row)
    assert "| 36.50 | 73.00 | 18.25 | 36.50 |" in rows[0]


@pytest.mark.slow
def test_every_step_runs_in_order(tmp_path: Path) -> None:
    write_nights(tmp_path / "data", nights=33, rows=60)
    write_job(tmp_path / "job", tmp_path / "data")

    found = {step: run(step, folder=tmp_path / "job", checkout=ROOT) for step in _CODE}

    assert list(found) == list(_CODE)
    assert all(step.cpu > 0 and step.wall > 0 for step in found.values())
