"""Comparison with baselines, and the report, when nights are not as they were when they were scored."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from aepipe.config.job import parse_job, read_job
from aepipe.errors import EvaluationInvalid
from aepipe.inference.table_model import TableModel
from aepipe.jobs.evaluate.compare import compare
from aepipe.jobs.evaluate.label_accuracy import label_accuracy
from aepipe.jobs.nightly import night
from aepipe.jobs.report import page_data
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.jobs.train.train import train_job
from aepipe.storage import HIDDEN, put_parquet
from aepipe.tables.partitions import discover, select

NIGHTS = ("dt=2026-01-05", "dt=2026-01-06", "dt=2026-01-07")


def source(job: Path, name: str) -> Path:
    return job.parent / name / "part-0.parquet"


def read(path: Path) -> pa.Table:
    return pq.read_table(path, partitioning=None)


def scored_by_champion(job: Path) -> ScoredPartitions:
    return ScoredPartitions(read_job(job), TableModel.open(job.parent / "exported" / "cells"))


def test_the_measures_are_those_of_the_written_scores(scored_cells: Path) -> None:
    found = compare(scored_cells)

    written = pa.concat_tables([read(scored_cells.parent / "out" / "scores" / n / "part-0.parquet") for n in NIGHTS])
    truth, values = np.asarray(written["diagnosis"].to_pylist()) == "malignant", written["score"].to_numpy()
    ours, *others = found.evaluation.contenders
    assert ours.auroc.value == pytest.approx(roc_auc_score(truth, values))
    assert ours.average_precision.value == pytest.approx(average_precision_score(truth, values))
    assert found.evaluation.rows == 329
    assert found.evaluation.anomalies == 212
    assert [line.name for line in others] == ["random", "max |z|", "PCA reconstruction", "isolation forest"]
    assert {line.name: line.width for line in found.features} == {"latents": 8, "raw columns": 30, "PCA": 8}
    assert all(line.accuracy > 0.85 for line in found.features)


@pytest.mark.slow
def test_the_stored_baseline_is_a_scorer_alone_and_scores_as_the_whole_family(
    scored_cells: Path, tmp_path: Path
) -> None:
    (stored,) = (scored_cells.parent / "out" / HIDDEN / "yardsticks" / "pca").glob("20*")
    alone = TableModel.open(stored)
    its_job = dict(alone.bundle.manifest.job)
    its_job |= {"model": {"family": "pca", "latent": 8}, "output": {"path": "out", "exported": str(tmp_path)}}
    partitions = select(discover(read_job(scored_cells)), "2026-01-01", "2026-01-04")

    whole = TableModel.open(train_job(parse_job(its_job, source=scored_cells), partitions=partitions).bundle)

    assert set(alone.bundle.manifest.parts) == {"scorer"}
    assert {"encoder", "decoder", "sampler", "prior"} < set(whole.bundle.manifest.parts)
    rows = read(source(scored_cells, NIGHTS[0]))
    np.testing.assert_array_equal(alone.score(rows)["score"], whole.score(rows)["score"])


def test_features_predict_a_label_from_small_differences_of_large_numbers() -> None:
    generator = np.random.default_rng(0)
    target = generator.integers(0, 2, 400)
    nanoseconds = 1.7e18 + 1e9 * (target + generator.normal(size=400) / 4)

    accuracy = label_accuracy(np.column_stack([nanoseconds, generator.normal(size=400)]), target.astype(str), folds=5)

    assert accuracy == pytest.approx(norm.cdf(2), abs=0.02)  # the means are four standard deviations apart


def test_top_anomalies_are_shown_with_their_source(scored_cells: Path) -> None:
    scored = scored_by_champion(scored_cells)

    anomalies = page_data.build_top_anomalies(scored, page_data.scan_scores(scored))

    assert anomalies is not None
    assert anomalies.source is not None
    assert anomalies.partitions is not None
    for index, (name, case) in enumerate(
        zip(anomalies.partitions, anomalies.scores["case_id"].to_pylist(), strict=True)
    ):
        table = read(source(scored_cells, name))
        row = table["case_id"].to_pylist().index(case)
        assert anomalies.source["mean_area"][index].as_py() == table["mean_area"][row].as_py()
    shown = anomalies.scores
    is_cell = shown["is_cell_anomaly"].to_numpy()
    lowest = np.where(is_cell, np.minimum(shown["p_value"], shown["cell_p_value"]), shown["p_value"])
    order = list(zip(lowest.tolist(), (-shown["score"].to_numpy()).tolist(), strict=True))
    assert order == sorted(order)


def test_reasons_are_those_of_the_scores_whatever_the_job_says_now(scored_cells: Path) -> None:
    before = page_data.scan_scores(scored_by_champion(scored_cells)).first_reasons

    scored_cells.write_text(scored_cells.read_text().replace("[score]\n", "[score]\nreasons = 0\n"))

    assert read_job(scored_cells).score.reasons == 0
    assert page_data.scan_scores(scored_by_champion(scored_cells)).first_reasons == before
    assert before


@pytest.mark.slow
def test_a_night_that_was_written_again_is_not_joined_to_old_scores(scored_cells: Path) -> None:
    path = source(scored_cells, NIGHTS[0])
    put_parquet(path, read(path).slice(1))

    assert scored_by_champion(scored_cells).unchanged == set(NIGHTS[1:])
    assert compare(scored_cells).evaluation.rows == 219
    assert "has changed since it was scored" in report(scored_cells).path.read_text()


def test_a_night_whose_source_is_gone_is_still_reported(scored_cells: Path) -> None:
    shutil.rmtree(source(scored_cells, NIGHTS[0]).parent)

    page = report(scored_cells).path.read_text()

    assert NIGHTS[0] in page
    assert "is missing or has changed" in page


@pytest.mark.slow
def test_nights_without_labels_or_rows_are_reported_and_unlabelled_rows_are_not_evaluated(
    cells_with_baselines: Path,
) -> None:
    put_parquet(source(cells_with_baselines, NIGHTS[1]), read(source(cells_with_baselines, NIGHTS[1])).slice(0, 0))
    put_parquet(
        source(cells_with_baselines, NIGHTS[2]),
        read(source(cells_with_baselines, NIGHTS[2])).drop_columns(["diagnosis"]),
    )

    result = night(cells_with_baselines)

    assert not result.score.failed
    assert result.report is not None
    assert compare(cells_with_baselines).evaluation.rows == 110


def without_labels(job: Path) -> Path:
    for name in NIGHTS:
        put_parquet(source(job, name), read(source(job, name)).drop_columns(["diagnosis"]))
    score(job)
    return job


def test_nights_without_any_label_are_not_compared_and_the_report_says_why(cells: Path) -> None:
    without_labels(cells)

    with pytest.raises(EvaluationInvalid, match="and 2 more: it has no column 'diagnosis'"):
        compare(cells)
    assert "Score one whose labels are known" in report(cells).path.read_text()


def test_without_a_column_of_labels_scores_are_compared_and_features_are_not(cells_with_baselines: Path) -> None:
    cells_with_baselines.write_text(
        cells_with_baselines.read_text().replace("diagnosis = 'malignant'", "mean_area > 700")
    )

    found = compare(without_labels(cells_with_baselines))

    assert found.evaluation.anomalies > 0
    assert found.label is None
    assert found.features == ()


def test_a_report_needs_no_anomalies(cells: Path) -> None:
    for name in NIGHTS:
        table = read(source(cells, name))
        put_parquet(source(cells, name), table.filter(pa.compute.equal(table["diagnosis"], "benign")))
    score(cells)

    with pytest.raises(EvaluationInvalid):
        compare(cells)
    assert report(cells).path.exists()


def test_a_night_of_corrupt_files_is_answered_and_has_no_report(cells: Path) -> None:
    for name in NIGHTS:
        source(cells, name).write_bytes(b"no parquet")

    result = night(cells)

    assert result.score.failed
    assert result.report is None
    assert len(result.score.nights) == 3
