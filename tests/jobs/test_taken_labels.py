"""Labels with the name of a column of the scores, as tables of known anomalies have them: `is_anomaly`."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from tests.support.machines import write_machines

pytestmark = pytest.mark.slow
JOB = """
name = "t"
[data]
path = "rows"
keys = ["id"]
labels = ["is_anomaly"]
[model]
family = "pca"
[calibration]
alpha = 0.05
[train]
to = "2026-01-02"
"""


def _check(job: Path, name: str, last: str, caplog: pytest.LogCaptureFixture) -> None:
    """Run the job, and compare the scores of the last night and their evaluation with the source."""
    with caplog.at_level(logging.WARNING):
        train(job)
    result = score(job)
    assert not result.failed, result.nights
    report(job)
    found = evaluate(job, first=last)

    file = f"dt={last}/part-0.parquet"
    truth = pq.read_table(job.parent / "rows" / file, partitioning=None)["is_anomaly"].to_numpy()
    scores = pq.read_table(job.parent / "out" / name / "scores" / file, partitioning=None)
    values, flags = scores["score"].to_numpy(), scores["is_anomaly"].to_numpy()
    assert scores.column_names.count("is_anomaly") == 1
    assert 0 < flags.sum() < truth.sum() * 2
    assert not np.array_equal(flags, truth)
    assert found.anomalies == truth.sum()
    assert found.contenders[0].auroc.value == pytest.approx(roc_auc_score(truth, values))
    assert "label 'is_anomaly' has the name of a column of the scores" in caplog.text


def test_label_of_a_table_is_read_from_the_source_and_the_flag_is_that_of_the_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator = np.random.default_rng(0)
    for day in range(1, 4):
        truth = generator.random(500) < 0.1
        x = generator.normal(size=(500, 2)) + 3 * truth[:, None]
        path = tmp_path / "rows" / f"dt=2026-01-{day:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"id": np.arange(500), "x": x[:, 0], "y": x[:, 1], "is_anomaly": truth}), path)
    job = tmp_path / "job.toml"
    job.write_text(JOB)

    _check(job, "t", "2026-01-03", caplog)


def test_label_of_a_series_is_read_from_the_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = write_machines(tmp_path, days=6, fault_on=5, learned=5)
    job.write_text(job.read_text().replace('"fault"', '"is_anomaly"'))
    for file in (tmp_path / "rows").rglob("*.parquet"):
        table = pq.read_table(file, partitioning=None)
        pq.write_table(table.rename_columns({"fault": "is_anomaly"}), file)

    _check(job, "machines", "2026-01-06", caplog)
