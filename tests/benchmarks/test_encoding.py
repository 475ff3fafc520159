import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from benchmarks.adult import as_dictionaries, read
from benchmarks.encoding import ALL, CATEGORIES, NUMBERS, Speed, ours, section, times


def test_a_peer_is_compared_with_our_encoding_of_the_same_kind() -> None:
    speeds = [
        Speed(NUMBERS, "codes", 500.0),
        Speed(NUMBERS, "tensors", 8_000.0),
        Speed(NUMBERS, "FloatFormatter", 40.0, "tensors"),
        Speed(NUMBERS, "ClusterBasedNormalizer", 2.0, "codes"),
    ]

    text = section(speeds, 10)

    assert [times(speed, speeds) for speed in speeds] == [None, None, 200, 250]
    assert "**200 to 250 times rdt's rows, median 225** (goal: 100 times, met for 2 of 2)." in text
    assert "| numbers | rdt: FloatFormatter | 40 | 200 |" in text


def test_every_kind_of_column_is_encoded(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.encoding.rows_per_second", lambda call, rows: rows / max(len(call().arrays), 1))
    rows = {"age": np.arange(200) % 70, "work": np.resize(["a", "b"], 200), "gain": np.arange(200) % 3}
    pa_csv.write_csv(pa.table(rows), tmp_path / "adult.csv")

    speeds = list(ours(as_dictionaries(read(tmp_path / "adult.csv"))))

    assert [(speed.columns, speed.what) for speed in speeds if speed.columns != CATEGORIES] == [
        (NUMBERS, "codes"), (NUMBERS, "tensors"), (ALL, "codes"), (ALL, "tensors"),
    ]  # fmt: skip
    assert [speed.rows for speed in speeds if speed.columns == ALL] == [200, 100]  # one tensor of codes, or two
