"""Scores and features of a night on disk."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aepipe
from aepipe.errors import OutputsTaken
from aepipe.jobs.score import score
from aepipe.metrics.ranking import auroc
from aepipe.storage import SCORE, Outputs

NIGHT = "dt=2026-01-07"


def output(job: Path, kind: str, partition: str = NIGHT) -> Path:
    return job.parent / "out" / kind / partition / "part-0.parquet"


def test_rows_are_in_order_with_keys_and_labels(cells: Path) -> None:
    score(cells)

    source = pq.read_table(cells.parent / NIGHT / "part-0.parquet", partitioning=None)
    scores = pq.read_table(output(cells, "scores"), partitioning=None)
    features = pq.read_table(output(cells, "features"), partitioning=None)
    assert scores["case_id"].equals(source["case_id"])
    assert scores["diagnosis"].equals(source["diagnosis"])
    assert features["case_id"].equals(source["case_id"])
    assert [name for name in features.column_names if name.startswith("z_")] == [f"z_{i:03d}" for i in range(8)]


def test_scores_have_the_documented_columns(cells: Path) -> None:
    score(cells)

    schema = pq.read_schema(output(cells, "scores"))
    assert schema.field("score").type == pa.float32()
    assert schema.field("p_value").type == pa.float64()
    assert schema.field("is_anomaly").type == pa.bool_()
    for name in ("reason_1", "reason_1_z", "reason_3", "reason_3_z", "invalid_reason", "model_version"):
        assert name in schema.names


def test_flags_follow_the_p_values_and_p_values_the_calibration(cells: Path) -> None:
    score(cells)

    scores = pd.read_parquet(output(cells, "scores"), partitioning=None)
    calibrated = aepipe.load(cells.parent / "exported" / "cells").bundle.calibration
    calibration = np.asarray(calibrated.scores)
    expected = [(1 + (calibration >= value).sum()) / (len(calibration) + 1) for value in scores["score"]]
    known = ~scores["p_extrapolated"]
    np.testing.assert_allclose(scores["p_value"][known], np.array(expected)[known])
    assert (scores["p_value"][~known] < 1 / (len(calibration) + 1)).all()
    by_row, by_cell = scores["p_value"] <= calibrated.row_alpha, scores["cell_p_value"] <= calibrated.cell_alpha
    assert 0.05 / 2 - 0.01 < calibrated.row_alpha <= 0.05
    assert ((by_row | by_cell) == scores["is_anomaly"]).all()
    assert (by_cell == scores["is_cell_anomaly"]).all()
    assert by_cell.any() and by_row.any()


def test_scores_find_the_malignant_cases(cells: Path) -> None:
    score(cells)

    scores = pq.read_table(output(cells, "scores"), partitioning=None)
    truth = np.asarray(scores["diagnosis"].to_pylist()) == "malignant"
    assert auroc(truth, scores["score"].to_numpy()) > 0.9


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return time and inode of every file except locks, which record their last holder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def test_second_run_of_score_writes_nothing(cells: Path) -> None:
    first = score(cells)
    before = state(cells.parent / "out")

    second = score(cells)

    assert {night.status for night in first.nights} == {"written"}
    assert {night.status for night in second.nights} == {"already done"}
    assert state(cells.parent / "out") == before


def test_changed_row_is_scored_again_and_only_its_partition(cells: Path) -> None:
    score(cells)
    path = cells.parent / NIGHT / "part-0.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.slice(1), path)

    result = score(cells)

    assert {night.partition: night.status for night in result.nights}[NIGHT] == "written"
    assert [night.status for night in result.nights].count("already done") == 2
    assert pq.read_metadata(output(cells, "scores")).num_rows == table.num_rows - 1


def test_only_the_partitions_of_the_job_are_scored(cells: Path) -> None:
    score(cells)

    assert sorted(path.name for path in (cells.parent / "out" / "scores").iterdir()) == [
        "dt=2026-01-05",
        "dt=2026-01-06",
        "dt=2026-01-07",
    ]


def test_manifest_records_inputs_outputs_and_model(cells: Path) -> None:
    result = score(cells)

    manifest = Outputs(cells.parent / "out").manifest(SCORE, NIGHT)
    assert manifest is not None
    assert manifest.model_version == result.model_version
    assert set(manifest.files) == {"scores", "features"}
    assert manifest.details.provider == "CPUExecutionProvider"
    assert manifest.details.alpha == 0.05
    assert set(manifest.details.seconds) >= {"read", "encode", "infer", "write"}


def test_python_and_the_job_give_the_same_scores(cells: Path) -> None:
    score(cells)
    written = pd.read_parquet(output(cells, "scores"), partitioning=None)
    frame = pd.read_parquet(cells.parent / NIGHT / "part-0.parquet", partitioning=None)

    scored = aepipe.load(cells.parent / "exported" / "cells").score(frame)

    np.testing.assert_allclose(scored["score"], written["score"], rtol=1e-5)
    assert list(scored["reason_1"]) == list(written["reason_1"])


def test_images_are_scored_with_regions_as_reasons(digits: Path) -> None:
    result = score(digits)

    scores = pq.read_table(output(digits, "scores"), partitioning=None)
    assert not result.failed
    assert "rows" in scores["reason_1"][0].as_py()
    assert np.isfinite(scores["score"].to_numpy()).all()


def test_force_writes_again_what_is_done(scored_cells: Path) -> None:
    before = output(scored_cells, "scores").stat()

    again = score(scored_cells, partitions=[NIGHT], force=True)

    assert [each.status for each in again.nights] == ["written"]
    after = output(scored_cells, "scores").stat()
    assert (after.st_mtime_ns, after.st_ino) != (before.st_mtime_ns, before.st_ino)
    assert after.st_size == before.st_size
    assert [each.status for each in score(scored_cells, partitions=[NIGHT]).nights] == ["already done"]


def test_another_job_cannot_write_to_the_same_folder(scored_cells: Path) -> None:
    other = scored_cells.with_name("other.toml")
    text = scored_cells.read_text()
    other.write_text(text.replace('name = "cells"', 'name = "other"'))
    shutil.copytree(scored_cells.parent / "exported" / "cells", scored_cells.parent / "exported" / "other")
    before = state(scored_cells.parent / "out")

    with pytest.raises(OutputsTaken, match=r"expected 'other', got 'cells'\. Set \[output\] path"):
        score(other)

    assert state(scored_cells.parent / "out") == before
    (scored_cells.parent / "out" / ".aepipe" / "job.json").unlink()  # a folder of an earlier version
    assert not score(scored_cells, partitions=[NIGHT], force=True).failed
    with pytest.raises(OutputsTaken):
        score(other)
