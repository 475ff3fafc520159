"""The strongest alarms of scored partitions, against a sort of all rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aepipe.jobs.score import score
from aepipe.jobs.top_alarms import MOST_ALARMS, top_alarms
from aepipe.storage import PartitionResult
from aepipe.storage.run_details import ScoreDetails
from aepipe.tables.parquet_reader import slices
from tests.support.two_models import write_job


def night(folder: Path, name: str, seed: int, *, status: str = "written", rows: int = 400) -> PartitionResult:
    generator = np.random.default_rng(seed)
    p_values = generator.uniform(1e-4, 1, rows)
    valid = generator.random(rows) < 0.9
    table = pa.table(
        {
            "id": pa.array(range(rows)),
            "score": pa.array(1 - p_values, pa.float32(), mask=~valid),
            "p_value": pa.array(p_values, mask=~valid),
            "is_anomaly": pa.array((p_values <= 0.05) & valid),
            "reason_1": pa.array(generator.choice(["amount", "city"], rows)),
            "reason_2": pa.array(generator.choice(["when", None], rows)),
            "reason_3": pa.array(["other"] * rows),
        }
    )
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, row_group_size=37)
    flagged = int(table["is_anomaly"].to_numpy().sum())
    return PartitionResult(partition=name, status=status, details=ScoreDetails(rows=rows, flagged=flagged), scores=path)


def test_the_lowest_p_values_of_all_partitions_are_found(tmp_path: Path) -> None:
    nights = [night(tmp_path, f"dt=2026-01-0{day}", day) for day in range(1, 10)]

    found = top_alarms(nights, ["id", "absent"])

    rows = [
        (line["p_value"], each.partition, at, line["reason_1"], line["reason_2"])
        for each in nights
        for at, line in enumerate(pq.read_table(each.scores).to_pylist())
        if line["is_anomaly"]
    ]
    expected = sorted(rows)[:MOST_ALARMS]
    assert [(alarm.p_value, alarm.partition, alarm.row) for alarm in found] == [line[:3] for line in expected]
    assert [alarm.reasons for alarm in found] == [tuple(filter(None, line[3:])) for line in expected]
    assert [alarm.keys for alarm in found] == [{"id": str(line[2])} for line in expected]


def test_partitions_without_a_lower_p_value_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nights = [night(tmp_path, f"dt=2026-01-{day:02d}", day) for day in range(1, 31)]
    expected = top_alarms(nights, ["id"])
    read: list[Path] = []

    def noted(files: list[Path], columns: list[str], *, rows: int) -> Iterator[pa.RecordBatch]:
        read.extend(files)
        return slices(files, columns, rows=rows)

    monkeypatch.setattr("aepipe.jobs.top_alarms.slices", noted)
    nights.sort(key=lambda each: min(pq.read_table(each.scores).column("p_value").drop_null().to_pylist()))

    assert top_alarms(nights, ["id"]) == expected
    assert 0 < len(read) < 10


def test_alarms_are_those_of_the_files_whether_the_run_knows_its_lowest_p_values_or_not(tmp_path: Path) -> None:
    job = write_job(tmp_path, "")
    nights = score(job).nights
    found = top_alarms(nights, ["id"])
    lowest = [pc.min(pq.ParquetFile(night.scores).read(["p_value"])["p_value"]).as_py() for night in nights]

    assert [night.written.lowest_p for night in nights if night.written is not None] == lowest
    assert found
    assert found == top_alarms([night.model_copy(update={"written": None}) for night in nights], ["id"])


def test_only_new_partitions_count_unless_there_are_none(tmp_path: Path) -> None:
    old = [night(tmp_path, f"dt=2026-01-0{day}", day, status="already done") for day in (1, 2)]
    new = night(tmp_path, "dt=2026-01-03", 3)

    assert {alarm.partition for alarm in top_alarms([*old, new], [])} == {"dt=2026-01-03"}
    assert {alarm.partition for alarm in top_alarms(old, [])} == {"dt=2026-01-02"}
    assert top_alarms([PartitionResult(partition="a", status="quarantined", reason="x")], []) == ()


def test_a_row_without_key_has_its_position(tmp_path: Path) -> None:
    (first, *_) = top_alarms([night(tmp_path, "dt=2026-01-01", 1)], [])

    assert first.place == f"dt=2026-01-01:{first.row}"


def test_scoring_ends_with_the_alarms_of_its_nights(cells: Path) -> None:
    result = score(cells)

    assert 0 < len(result.top_alarms) <= MOST_ALARMS
    for alarm in result.top_alarms:
        (scored,) = [each.scores for each in result.nights if each.partition == alarm.partition]
        line = pq.read_table(scored, partitioning=None).to_pylist()[alarm.row]
        assert line["is_anomaly"]
        assert line["case_id"] == alarm.keys["case_id"]
        assert alarm.reasons == (line["reason_1"], line["reason_2"])


def test_an_alarm_names_the_flagged_cell_and_ranks_by_its_p_value(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["row", "cell", "none"],
            "score": pa.array([9.0, 1.0, 2.0], pa.float32()),
            "p_value": [0.004, 0.6, 0.3],
            "is_anomaly": [True, True, False],
            "reason_1": pa.array(["age", "sum", "age"]).dictionary_encode(),
            "cell_column": pa.array(["age", "sum", "age"]).dictionary_encode(),
            "cell_p_value": [0.2, 0.001, 0.001],
            "is_cell_anomaly": [False, True, False],
        }
    )
    pq.write_table(table, tmp_path / "part-0.parquet")
    details = ScoreDetails(rows=3, flagged=2, cell_flagged=1)
    night = PartitionResult(partition="dt=1", status="written", details=details, scores=tmp_path / "part-0.parquet")

    first, second = top_alarms([night], ["id"])

    assert (first.cell, first.lowest_p, first.alarm) == ("sum", 0.001, "cell sum")
    assert first.cells() == ("dt=1", "id cell", "0.001", "cell sum", "sum")
    assert (second.cell, second.cell_p_value, second.alarm) == (None, None, "row")
