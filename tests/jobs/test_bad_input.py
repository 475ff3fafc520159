"""A night with bad input: the guarantees for its outputs, through the real job."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aepipe.errors import BundleCorrupt, BundleNotFound, DeviceUnavailable, JobInvalid
from aepipe.jobs.score import ScoreResult, score
from aepipe.storage import put_parquet

BAD, FINE = "dt=2026-01-06", "dt=2026-01-07"


def source(job: Path, partition: str = BAD) -> Path:
    return job.parent / partition / "part-0.parquet"


def rewrite(job: Path, table: pa.Table) -> None:
    put_parquet(source(job), table)


def scores(job: Path, partition: str = BAD) -> pa.Table:
    return pq.read_table(job.parent / "out" / "scores" / partition / "part-0.parquet", partitioning=None)


def quarantine_reason(result: ScoreResult) -> str:
    """Return why the bad partition was quarantined, and check that the others were scored."""
    (failed,) = [night for night in result.nights if night.status == "quarantined"]
    assert failed.partition == BAD
    assert {night.partition for night in result.nights if night.status == "written"} == {"dt=2026-01-05", FINE}
    return failed.reason


def test_a_missing_column_and_a_changed_type_stop_the_partition_with_one_error_and_not_the_others(cells: Path) -> None:
    table = pq.read_table(source(cells), partitioning=None)
    table = table.drop_columns(["mean_area"]).set_column(
        table.column_names.index("mean_radius"), "mean_radius", pc.cast(table["mean_radius"], pa.string())
    )
    rewrite(cells, table)

    reason = quarantine_reason(score(cells))

    assert "mean_area" in reason
    assert "mean_radius" in reason
    assert "string" in reason


def test_a_truncated_file_is_quarantined_and_its_old_scores_stay(cells: Path) -> None:
    score(cells)
    before = scores(cells)
    whole = source(cells).read_bytes()
    source(cells).write_bytes(whole[: len(whole) // 2])

    result = score(cells)

    (failed,) = [night for night in result.nights if night.status == "quarantined"]
    assert "part-0.parquet" in failed.reason
    assert scores(cells).equals(before)
    assert result.failed


def test_a_repaired_partition_leaves_the_quarantine(cells: Path) -> None:
    whole = source(cells).read_bytes()
    source(cells).write_bytes(whole[:100])
    assert score(cells).failed
    source(cells).write_bytes(whole)

    assert not score(cells).failed


def test_infinite_and_missing_values_get_a_null_score_and_their_reason_in_their_place(cells: Path) -> None:
    table = pq.read_table(source(cells), partitioning=None)
    values = table["mean_radius"].to_numpy().copy()
    values[1], values[3] = np.inf, np.nan
    rewrite(cells, table.set_column(table.column_names.index("mean_radius"), "mean_radius", pa.array(values)))

    result = score(cells)

    written = scores(cells)
    assert not result.failed
    assert written["case_id"].equals(table["case_id"])
    assert [index for index, value in enumerate(written["score"].to_pylist()) if value is None] == [1, 3]
    assert "infinite" in written["invalid_reason"][1].as_py()
    assert "missing" in written["invalid_reason"][3].as_py()
    assert written["is_anomaly"][1].as_py() is None or written["is_anomaly"][1].as_py() is False
    assert written["invalid_reason"][0].as_py() is None


def test_more_invalid_rows_than_the_job_allows_stop_the_partition(cells: Path) -> None:
    table = pq.read_table(source(cells), partitioning=None)
    values = np.full(table.num_rows, np.inf)
    rewrite(cells, table.set_column(table.column_names.index("mean_radius"), "mean_radius", pa.array(values)))

    reason = quarantine_reason(score(cells))

    assert "max_invalid_share" in reason


def test_an_empty_partition_gives_empty_files_with_the_right_schema(cells: Path) -> None:
    table = pq.read_table(source(cells), partitioning=None)
    rewrite(cells, table.slice(0, 0))

    result = score(cells)

    assert not result.failed
    assert scores(cells).num_rows == 0
    assert scores(cells).schema.equals(scores(cells, FINE).schema)


def test_extra_columns_are_ignored(cells: Path) -> None:
    table = pq.read_table(source(cells), partitioning=None)
    score(cells, partitions=[BAD])
    before = scores(cells)["score"]
    rewrite(
        cells, table.append_column("new", pa.array([1] * table.num_rows)).select(["new", *table.column_names[::-1]])
    )

    result = score(cells, partitions=[BAD])

    assert result.nights[0].status == "written"
    assert scores(cells)["score"].to_pylist() == pytest.approx(before.to_pylist(), rel=1e-6)


def test_a_bundle_with_one_byte_changed_is_refused_and_nothing_is_written(cells: Path) -> None:
    scorer = next((cells.parent / "exported" / "cells").glob("*/scorer.onnx"))
    changed = bytearray(scorer.read_bytes())
    changed[len(changed) // 2] ^= 1
    scorer.write_bytes(bytes(changed))

    with pytest.raises(BundleCorrupt, match=r"scorer\.onnx"):
        score(cells)
    assert not (cells.parent / "out" / "scores").exists()


def test_a_device_that_is_not_there_is_refused(cells: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="cuda"):
        score(cells, device="cuda")


def test_a_model_that_is_not_there_is_named(cells: Path) -> None:
    with pytest.raises(BundleNotFound, match="challenger"):
        score(cells, model="challenger")


def test_a_partition_that_is_not_there_is_named(cells: Path) -> None:
    with pytest.raises(JobInvalid, match="dt=2026-02-01"):
        score(cells, partitions=["dt=2026-02-01"])
