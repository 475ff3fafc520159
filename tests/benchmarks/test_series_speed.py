"""Nights, usage and the table of the benchmark of speed and memory."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.series_speed import Speeds, Usage, section, usage_of, write_nights


def test_nights_continue_each_other_and_have_a_row_per_machine_and_step(tmp_path: Path) -> None:
    write_nights(tmp_path, 2, entities=3, steps=5, channels=2)

    tables = [pq.read_table(tmp_path / "rows" / f"night=000{night}", partitioning=None) for night in range(2)]

    assert [table.num_rows for table in tables] == [15, 15]
    assert tables[0].column_names == ["machine", "at", "c0", "c1"]
    times = [sorted(set(table["at"].to_pylist())) for table in tables]
    assert times[1][0] - times[0][-1] == times[0][1] - times[0][0]


@pytest.mark.parametrize(("seconds", "words"), [(12.0, "met"), (80.0, "not met")])
def test_the_table_says_whether_the_goals_are_met(seconds: float, words: str) -> None:
    text = section(Speeds(*[Usage(seconds, 500.0)] * 4))

    assert f"**1 million points {seconds:.1f} CPU seconds (at most 60): {words}**" in text
    assert text.count(f"| {seconds:.1f} | 500 |") == 4


def test_a_failed_command_is_not_a_measurement() -> None:
    with pytest.raises(RuntimeError, match="ended with"):
        usage_of("train", "absent.toml")

    assert usage_of("--version").cpu_s > 0
