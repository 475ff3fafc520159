"""Evaluation of scored nights against labels: measures against scikit-learn and brute force, and refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.config.job import read_job
from aepipe.errors import AepipeError, ArgumentInvalid, DataUnreadable, EvaluationInvalid, JobInvalid, SchemaMismatch
from aepipe.inference.table_model import TableModel
from aepipe.jobs.calibrate import calibrate
from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.evaluate.labelled_scores import join_labels, sources
from aepipe.jobs.ground_truth import resolve_label_rule
from aepipe.jobs.score import score
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.storage import SCORE, Outputs, put_json, put_parquet

NIGHTS = ("dt=2026-01-05", "dt=2026-01-06", "dt=2026-01-07")
TIME = "seen_at"


def source(job: Path, name: str) -> Path:
    return job.parent / name / "part-0.parquet"


def read(path: Path) -> pa.Table:
    return pq.read_table(path, partitioning=None)


def written(job: Path) -> pa.Table:
    return pa.concat_tables([read(job.parent / "out" / "scores" / name / "part-0.parquet") for name in NIGHTS])


def relabelled(job: Path, change: Callable[[np.ndarray], Any], column: str = "broken") -> None:
    """Add a column to every night, computed from its diagnoses."""
    for name in NIGHTS:
        table = read(source(job, name))
        malignant = np.asarray(table["diagnosis"].to_pylist()) == "malignant"
        put_parquet(source(job, name), table.append_column(column, pa.array(change(malignant))))


def untouched(job: Path) -> set[Path]:
    return {path for path in job.parent.rglob("*") if path.is_file() and ".lock" not in path.name}


@pytest.fixture
def scored(cells_with_baselines: Path) -> Path:
    """Score nights with a label of every kind."""
    relabelled(cells_with_baselines, lambda malignant: malignant.astype(np.int8), "number")
    relabelled(cells_with_baselines, lambda malignant: malignant, "truth")
    relabelled(cells_with_baselines, lambda malignant: np.zeros(len(malignant), np.int8), "calm")
    relabelled(cells_with_baselines, lambda malignant: np.arange(len(malignant)) % 3, "three")
    score(cells_with_baselines)
    return cells_with_baselines


@pytest.mark.slow
def test_every_measure_is_that_of_scikit_learn_on_what_was_written(scored: Path) -> None:
    found = evaluate(scored, label="number", cost_false_alarm=2.0, cost_miss=30.0)

    table = written(scored)
    truth = np.asarray(table["diagnosis"].to_pylist()) == "malignant"
    flagged, values = table["is_anomaly"].to_numpy(), table["score"].to_numpy()
    ours, *others = found.contenders
    assert ours.auroc.value == pytest.approx(roc_auc_score(truth, values))
    assert ours.average_precision.value == pytest.approx(average_precision_score(truth, values))
    assert ours.precision.value == pytest.approx(precision_score(truth, flagged))
    assert ours.recall.value == pytest.approx(recall_score(truth, flagged))
    assert ours.f1 == pytest.approx(f1_score(truth, flagged))
    costs = 2 * int((flagged & ~truth).sum()) + 30 * int((truth & ~flagged).sum())
    assert ours.cost == pytest.approx(costs / 3)
    assert ours.alarms_per_night == pytest.approx(flagged.sum() / 3)
    assert found.cost_of_silence == pytest.approx(30 * truth.sum() / 3)
    assert [line.name for line in others] == ["random", "max |z|", "PCA reconstruction", "isolation forest"]
    for line in found.contenders:
        for measured in (line.auroc, line.average_precision, line.precision, line.recall):
            assert measured.low <= measured.value <= measured.high
    random = others[0]
    assert random.auroc.low < 0.5 < random.auroc.high
    assert others[1].auroc.value > 0.8
    assert found.events is None
    assert "accuracy" not in found.model_dump_json()
    shown = CliRunner().invoke(
        app, ["evaluate", str(scored), "--from", "2026-01-06", "--cost-false-alarm", "1", "--cost-miss", "9"]
    )
    assert "max |z|" in shown.output
    assert "rows of 2 nights" in shown.output
    assert "accura" not in shown.output
    printed = CliRunner().invoke(
        app, ["evaluate", str(scored), "--label", "truth", "--cost-false-alarm", "2", "--cost-miss", "30", "--json"]
    )
    again = json.loads(printed.output)
    assert again | {"truth": found.truth} == json.loads(found.model_dump_json())


@pytest.mark.parametrize(
    ("label", "positive", "wanted"),
    [
        ("truth", None, "malignant"),
        ("number", "0", "benign"),
        ("diagnosis", None, "malignant"),
        ("diagnosis", "benign", "benign"),
    ],
)
def test_a_label_of_every_kind_says_which_rows_are_anomalies(
    scored: Path, label: str, positive: str | None, wanted: str
) -> None:
    nights = ScoredPartitions(read_job(scored), TableModel.open(scored.parent / "exported" / "cells"))
    files = [source(scored, name) for name in NIGHTS]

    labelled = join_labels(nights, resolve_label_rule(nights.job, files, label=label, positive=positive))

    np.testing.assert_array_equal(labelled.truth, np.asarray(written(scored)["diagnosis"].to_pylist()) == wanted)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"label": "numbr"}, SchemaMismatch, "have no column 'numbr'; did you mean 'number'?"),
        ({"label": "calm"}, EvaluationInvalid, "'calm' is 0 in all 329 rows: expected both classes"),
        ({"label": "three"}, EvaluationInvalid, "'three' has the values 0, 1, 2: expected 0 and 1"),
        ({"label": "number", "positive": "7"}, ArgumentInvalid, "positive: expected a value of number: 0, 1, got '7'"),
        ({"cost_miss": 3.0}, ArgumentInvalid, "cost_false_alarm: expected both costs"),
        (
            {"cost_miss": -3.0, "cost_false_alarm": 1.0},
            ArgumentInvalid,
            "cost_miss: expected a finite number, 0 or more, got -3",
        ),
        (
            {"false_alarms": -1.0},
            ArgumentInvalid,
            "false_alarms: expected a finite number per night, 0 or more, got -1",
        ),
        ({"first": "2027-01-01"}, DataUnreadable, "no partition lies from '2027-01-01'"),
    ],
)
def test_what_cannot_be_measured_is_named_and_nothing_is_written(
    scored: Path, arguments: dict[str, Any], error: type[AepipeError], said: str
) -> None:
    before = untouched(scored)

    with pytest.raises(error) as raised:
        evaluate(scored, **arguments)

    assert said in str(raised.value)
    assert untouched(scored) == before


def test_nights_without_scores_and_a_job_without_labels_are_named(cells: Path) -> None:
    with pytest.raises(DataUnreadable, match=r"has no scores\. Run: aepipe score"):
        evaluate(cells)
    score(cells)
    text = cells.read_text().replace("anomaly = \"diagnosis = 'malignant'\"", "").replace('labels = ["diagnosis"]', "")
    cells.write_text(text)

    with pytest.raises(JobInvalid, match="label: expected a column, as"):
        evaluate(cells)


def test_a_score_column_that_is_null_is_named(cells: Path) -> None:
    text = cells.read_text()
    cells.write_text(text.replace("[score]\n", "[score]\nmax_invalid_share = 1.0\n"))
    for name in NIGHTS:
        table = read(source(cells, name))
        nothing = pa.nulls(table.num_rows, pa.float64())
        put_parquet(source(cells, name), table.set_column(table.column_names.index("mean_area"), "mean_area", nothing))
    score(cells)

    with pytest.raises(EvaluationInvalid, match=f"score column of {NIGHTS[0]} to {NIGHTS[2]} is null in all 329 rows"):
        evaluate(cells)


def test_nights_of_two_models_are_not_mixed(scored: Path) -> None:
    outputs = Outputs(scored.parent / "out")
    manifest = outputs.manifest(SCORE, NIGHTS[2])
    assert manifest is not None
    changed = manifest.model_copy(update={"model_version": "cells/another"})
    (path,) = (scored.parent / "out" / ".aepipe").rglob(f"{NIGHTS[2]}.json")
    put_json(path, changed.model_dump(mode="json"))

    with pytest.raises(
        EvaluationInvalid, match=rf"expected one, got 2 nights such as {NIGHTS[0]} by .*; {NIGHTS[2]} by"
    ):
        evaluate(scored)


@pytest.mark.slow
def test_alarms_and_costs_are_those_in_force(scored: Path) -> None:
    table = "false_alarm_cost = 1\nmiss_cost = 50\nbase_rate = 0.05\n"
    scored.write_text(scored.read_text().replace("[calibration]\n", f"[calibration]\n{table}"))
    before = written(scored)["is_anomaly"].to_numpy()
    chosen = calibrate(scored, label="diagnosis")

    found = evaluate(scored, label="number")
    dearer = evaluate(scored, label="number", cost_false_alarm=3.0)

    truth = np.asarray(written(scored)["diagnosis"].to_pylist()) == "malignant"
    flagged = written(scored)["score"].to_numpy() > chosen.threshold
    rate, recall = flagged[~truth].mean(), flagged[truth].mean()
    assert (flagged != before).any()
    assert found.rejudged == NIGHTS
    assert (found.alpha, found.threshold) == (chosen.alpha, chosen.threshold)
    assert found.contenders[0].recall.value == pytest.approx(recall)
    assert found.contenders[0].cost == pytest.approx(329 / 3 * (0.95 * rate + 0.05 * (1 - recall) * 50))
    assert dearer.contenders[0].cost == pytest.approx(329 / 3 * (0.95 * rate * 3 + 0.05 * (1 - recall) * 50))
    assert found.cost_of_silence == pytest.approx(329 / 3 * 0.05 * 50)
    score(scored)
    assert evaluate(scored, label="number") == found.model_copy(update={"rejudged": ()})


def test_nights_whose_alarms_adapted_under_another_calibration_are_left_out(cells: Path) -> None:
    cells.write_text(cells.read_text().replace("[calibration]\n", "[calibration]\nadaptive = true\n"))
    score(cells)
    cells.write_text(cells.read_text().replace("alpha = 0.05", "alpha = 0.1"))
    calibrate(cells)

    with pytest.raises(
        EvaluationInvalid, match=r"adapted along a stream, under another calibration .*: score it again"
    ):
        evaluate(cells)


@pytest.mark.slow
def test_events_are_runs_in_time_and_rows_without_a_score_find_none(cells_with_baselines: Path) -> None:
    generator = np.random.default_rng(0)
    for name in NIGHTS:
        table = read(source(cells_with_baselines, name))
        area = table["mean_area"].to_pylist()
        area[5] = None
        times = pa.array(generator.permutation(table.num_rows) + 1_000 * int(name[-1]))
        table = table.set_column(table.column_names.index("mean_area"), "mean_area", pa.array(area))
        put_parquet(source(cells_with_baselines, name), table.append_column(TIME, times))
    score(cells_with_baselines)
    cells_with_baselines.write_text(
        cells_with_baselines.read_text().replace("[data]\n", f'[data]\nevent_time = "{TIME}"\n')
    )

    found = evaluate(cells_with_baselines, false_alarms=2.0)

    source_rows = pa.concat_tables([read(source(cells_with_baselines, name)) for name in NIGHTS])
    order = np.argsort(source_rows[TIME].to_numpy())
    truth = (np.asarray(source_rows["diagnosis"].to_pylist()) == "malignant")[order]
    values = np.nan_to_num(written(cells_with_baselines)["score"].to_numpy(), nan=-np.inf)[order]
    threshold = np.sort(values[~truth])[-1 - 6]
    events = np.split(np.flatnonzero(truth), np.flatnonzero(np.diff(np.flatnonzero(truth)) > 1) + 1)
    assert found.events == len(events)
    assert found.contenders[0].event_recall == pytest.approx(np.mean([values[run].max() > threshold for run in events]))
    assert found.unscored == 3
    assert found.rows == 329


def test_joining_labels_opens_every_source_and_every_scores_file_once(
    scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    original = pq.ParquetFile.__init__

    def count(self: pq.ParquetFile, path: Path, *arguments: Any, **options: Any) -> None:
        opened.append(str(path))
        original(self, path, *arguments, **options)

    job = read_job(scored)
    nights = ScoredPartitions(job, open_model(job, "champion"))
    files = [source(scored, name) for name in NIGHTS]
    rule = resolve_label_rule(job, files, label="diagnosis", positive=None)
    monkeypatch.setattr(pq.ParquetFile, "__init__", count)

    join_labels(nights, rule)

    outputs = Outputs(job.out_path)
    assert sorted(opened) == sorted(map(str, [*files, *(outputs.path("scores", name) for name in NIGHTS)]))


def test_labelled_rows_of_small_nights_come_together_unless_their_schemas_differ(scored_cells: Path) -> None:
    nights = ScoredPartitions(read_job(scored_cells), open_model(read_job(scored_cells), "champion"))
    rule = resolve_label_rule(nights.job, [source(scored_cells, name) for name in NIGHTS], label=None)
    expected = [read(source(scored_cells, name)) for name in NIGHTS]

    (together,) = sources(nights, join_labels(nights, rule))

    assert together.equals(pa.concat_tables(expected))
    other = expected[1].append_column("code", pa.array(["a"] * len(expected[1])).dictionary_encode())
    put_parquet(source(scored_cells, NIGHTS[1]), other)
    score(scored_cells)
    nights = ScoredPartitions(nights.job, nights.model)
    apart = list(sources(nights, join_labels(nights, rule)))
    assert [table.schema.names for table in apart] == [each.schema.names for each in (expected[0], other, expected[2])]
