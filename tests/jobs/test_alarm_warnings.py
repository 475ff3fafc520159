"""Warnings of train, score, run, report and evaluate when a rising id or a label is modelled."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from aepipe.bundles.bundle import Bundle
from aepipe.calibration.conformal import Calibration
from aepipe.cli.main import app
from aepipe.config.job import read_job
from aepipe.jobs.alarm_warnings import MOST_PARTITIONS, alarm_warnings, far_above_alpha
from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.nightly import night
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.train.last_partition import last_partition_warning
from aepipe.jobs.train.train import train
from aepipe.storage import PartitionResult, ScoreDetails
from aepipe.tables.partitions import discover
from tests.support.two_models import write_job

ROWS = 300
JOB = """
name = "growing"
[data]
path = "data"
[model]
family = "pca"
[train]
to = "2026-01-06"
epochs = 1
[samples]
rows = 0
[evaluate]
anomaly = "label = 1"
"""


def write_day(folder: Path, day: int, *, first_id: int | None = None) -> None:
    generator = np.random.default_rng(day)
    label = generator.random(ROWS) < 0.05
    table = pa.table(
        {
            "seq": np.arange(ROWS) + (day * ROWS if first_id is None else first_id),
            "amount": generator.normal(100, 10, ROWS) + 30 * label,
            "other": generator.normal(0, 1, ROWS),
            "label": label.astype(np.int64),
        }
    )
    path = folder / "data" / f"dt=2026-01-{day:02d}" / "part-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("growing")
    for day in range(1, 13):
        write_day(folder, day)
    job = folder / "job.toml"
    job.write_text(JOB)
    train(job)
    return job


@pytest.mark.slow
def test_score_run_report_and_evaluate_name_the_night_and_the_column(growing: Path) -> None:
    scored = score(growing)

    late = [warning for warning in scored.warnings if "2026-01-12" in warning]
    assert len(late) == 1 and "far above alpha, 0.01; 'seq' is the first reason of" in late[0]
    assert late[0].endswith("If its values move on with time, set seq to ignore under [columns] and train again.")
    assert not any("2026-01-03:" in warning for warning in scored.warnings)
    label = "models column 'label' although [evaluate] anomaly uses it, so that its scores use the answer."
    assert label in scored.warnings[0]
    page = report(growing).path.read_text()
    assert "is the first reason of" in page and "models column" in page and "rises over time" in page
    assert label in evaluate(growing).warnings[0]
    assert not any("2026-01-12" in warning for warning in night(growing).score.warnings)  # already said


@pytest.mark.slow
def test_details_count_flagged_rows_by_first_reason(growing: Path) -> None:
    details = score(growing, partitions=["dt=2026-01-12"]).nights[0].details

    written = pq.read_table(growing.parent / "out/growing/scores/dt=2026-01-12/part-0.parquet", partitioning=None)
    flagged = written.filter(written["is_anomaly"])
    counts = {value["values"]: value["counts"] for value in flagged["reason_1"].value_counts().to_pylist()}
    assert dict(details.flag_reasons) == counts and sum(counts.values()) == details.flagged


@pytest.mark.slow
def test_warnings_go_to_stderr_and_json_stays_json(growing: Path) -> None:
    done = CliRunner().invoke(app, ["score", str(growing), "--json"])

    assert json.loads(done.stdout)["warnings"]
    assert "warning: " in done.stderr


@pytest.mark.slow
def test_last_training_partitions_are_checked(growing: Path) -> None:
    job = read_job(growing)
    bundle = Bundle.open(str(job.bundle_path)).path
    partitions = discover(job)

    assert last_partition_warning(job, bundle, partitions[:6]) is None
    assert last_partition_warning(job, bundle, partitions[:1]) is None
    warning = last_partition_warning(job, bundle, partitions)
    assert warning is not None
    assert warning.startswith("the model on its own last training partitions, dt=2026-01-09 to dt=2026-01-12: ")
    assert "'seq' is the first reason of" in warning


@pytest.mark.slow
def test_evaluate_marks_trained_nights_and_a_baseline_that_wins(growing: Path) -> None:
    score(growing)

    found = evaluate(growing)
    assert found.trained_on == tuple(f"dt=2026-01-{day:02d}" for day in range(1, 7))
    assert any("was trained on 6 of the 12 partitions evaluated" in warning for warning in found.warnings)

    later = evaluate(growing, first="2026-01-07")
    assert later.trained_on == () and not any("was trained on" in warning for warning in later.warnings)
    best = max(later.contenders[1:], key=lambda each: each.average_precision.value)
    wins = best.average_precision.value > later.contenders[0].average_precision.value
    assert any(f"the baseline '{best.name}' ranks" in warning for warning in later.warnings) == wins


@pytest.mark.slow
def test_champion_that_models_a_label_named_since_is_named(growing: Path) -> None:
    text = growing.read_text().replace('path = "data"', 'path = "data"\nlabels = ["label"]', 1)
    later = growing.with_name("later.toml")
    later.write_text(text)

    warning = score(later).warnings[0]

    assert "models column 'label' although the job names it as a label" in warning
    assert warning.endswith(f"Train again: aepipe train {later}")


def test_many_partitions_are_summed_up() -> None:
    details = ScoreDetails(rows=100, flagged=90, flag_reasons={"a": 50, "b": 40})
    nights = [PartitionResult(partition=f"p{at}", status="written", details=details) for at in range(9)]
    calibration = Calibration.fit(np.arange(200.0), alpha=0.05)

    found = alarm_warnings(nights, calibration)

    assert len(found) == MOST_PARTITIONS + 1 and found[-1] == "4 more partitions are far above alpha"
    assert "'a' is the first reason of 56%" in found[0]
    spread = details.model_copy(update={"flag_reasons": {"a": 30, "b": 30, "c": 30}})
    (mixed,) = alarm_warnings([PartitionResult(partition="p", status="written", details=spread)], calibration)
    assert "First reasons: 'a' 33%, 'b' 33%, 'c' 33%." in mixed


def test_most_frequent_reasons_are_named_whatever_their_order() -> None:
    details = ScoreDetails(rows=100, flagged=90, flag_reasons={"a": 5, "b": 15, "c": 30, "d": 40})
    calibration = Calibration.fit(np.arange(200.0), alpha=0.05)

    (warning,) = alarm_warnings([PartitionResult(partition="p", status="written", details=details)], calibration)

    assert "First reasons: 'd' 44%, 'c' 33%, 'b' 17%." in warning


def test_partitions_furthest_above_alpha_come_first() -> None:
    flagged = {"quiet": 5, "windy": 40, "storm": 80, "wet": 40}
    nights = [
        PartitionResult(partition=name, status="written", details=ScoreDetails(rows=100, flagged=count))
        for name, count in flagged.items()
    ]
    calibration = Calibration.fit(np.arange(200.0), alpha=0.05)

    found = far_above_alpha(nights, calibration)

    assert [night.partition for night in found] == ["storm", "windy", "wet"]
    assert [line.split(":")[0] for line in alarm_warnings(nights, calibration)] == [
        "partition storm",
        "partition windy",
        "partition wet",
    ]


def test_a_column_that_the_job_names_after_training_is_named(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    assert not [line for line in score(job).warnings if "does not copy" in line]

    job.write_text(job.read_text().replace('keys = ["id"]', 'keys = ["id"]\nentity = "a"'))

    (warning,) = [line for line in score(job, force=True).warnings if "does not copy" in line]
    assert "does not copy column 'a' of [data] entity to its outputs, since it was trained before" in warning
    assert warning.endswith(f"Train again: aepipe train {job}")
