"""A long table with the usual defects, from training to the report: gaps, duplicates, a repeated hour and more."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.explain import explain
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.series_set import sample_series
from aepipe.jobs.score import ScoreResult, score
from aepipe.jobs.train.train import train
from tests.support.machines import night

PER_DAY, DAYS, LEARNED = 96, 12, 8
STEP = np.timedelta64(900_000_000, "us")
JOB = """
name = "field"
[data]
path = "{rows}"
event_time = "at"
keys = ["id"]
labels = ["fault"]
[series]
entity = ["machine"]
window = 24
revise = true
[train]
to = "{last}"
[evaluate]
anomaly = "fault"
[score]
max_invalid_share = 0.2
"""


def _day(day: int) -> pa.Table:
    """Generate the rows of all machines on a day, in any order."""
    rng = np.random.default_rng(day)
    rows = list[tuple[str, int, float, float, bool]]()

    def add(machine: str, steps: np.ndarray, **change: np.ndarray) -> None:
        wave = np.sin(2 * np.pi * (day * PER_DAY + steps) / 24)
        load = change.get("load", wave + rng.normal(0, 0.1, len(steps)))
        heat = change.get("heat", 20 + 3 * wave + rng.normal(0, 0.3, len(steps)))
        fault = np.zeros(len(steps), np.bool_)
        if machine == "plain" and day == 10:
            fault[40:60], load = True, load + np.where((steps >= 40) & (steps < 60), 2.0, 0.0)
        rows.extend(zip([machine] * len(steps), steps, load, heat, fault, strict=True))

    whole = np.arange(PER_DAY)
    add("plain", whole)
    add("gaps", whole[(whole < 30) | (whole >= 50)] if day in (4, 10) else np.delete(whole, [20, 21]))
    add("twice", np.concatenate([whole, whole[10:20]]))
    add("constant", whole, load=np.ones(PER_DAY), heat=np.full(PER_DAY, 7.0))
    heat = 20 + rng.normal(0, 0.3, PER_DAY)
    heat[5:9] = np.nan
    add("holes", whole, heat=heat)
    add("repeats", np.sort(np.concatenate([whole, whole[8:12]])) if day == 9 else whole)  # the clock is put back
    if day >= 9:
        add("new", whole)
    if day < 7 or day == 11:
        add("away", whole)
    if day == 10:
        add("short", whole[:10])
    machine, step, load, heat, fault = (np.array(column) for column in zip(*rows, strict=True))
    at = np.datetime64("2026-01-01", "us") + (day * PER_DAY + step) * STEP
    table = pa.table(
        {
            "id": day * 10_000 + np.arange(len(rows)),
            "machine": machine,
            "at": at,
            "load": load,
            "heat": pa.array(heat, mask=np.isnan(heat)),
            "fault": fault,
        }
    )
    nothing = np.flatnonzero((machine == "plain") & (step == 70))
    empty = pa.array([None if row in nothing else value for row, value in enumerate(load.tolist())], pa.float64())
    table = table.set_column(3, "load", empty)
    empty = pa.array(
        [None if row in nothing or np.isnan(value) else value for row, value in enumerate(heat.tolist())], pa.float64()
    )
    return table.set_column(4, "heat", empty).take(rng.permutation(len(rows)))


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScoreResult]:
    """Train and score the job; return its path and the result."""
    folder = tmp_path_factory.mktemp("field")
    for day in range(DAYS):
        path = folder / "rows" / night(day) / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(_day(day), path)
    job = folder / "job.toml"
    job.write_text(JOB.format(rows="rows", last=night(LEARNED - 1)))
    train(job)
    return job, score(job)


def _scores(job: Path) -> pa.Table:
    files = sorted((job.parent / "out" / "field" / "scores").rglob("*.parquet"))
    columns = ["id", "machine", "at", "score", "is_anomaly", "windows", "invalid_reason"]
    return pa.concat_tables([pq.ParquetFile(file).read(columns) for file in files])


@pytest.mark.slow
def test_every_row_has_a_score_or_a_reason_in_the_order_of_the_source(field: tuple[Path, ScoreResult]) -> None:
    job, result = field
    scores = _scores(job)
    source = pa.concat_tables([_day(day) for day in range(DAYS)])

    assert {each.status for each in result.nights} == {"written"}
    assert scores["id"].equals(source["id"])
    scored, reasons = np.array(scores["score"].is_valid()), scores["invalid_reason"].to_pylist()
    assert [reason is None for reason in reasons] == scored.tolist()
    machine, wanted = np.array(scores["machine"].to_pylist()), {}
    for name in np.unique(machine).tolist():
        wanted[name] = {reason for reason, of in zip(reasons, machine, strict=True) if of == name and reason}
    assert wanted.pop("short") == {"the series has fewer than 24 steps"}
    assert wanted.pop("plain") == {"every channel is missing"}
    assert not any(wanted.values()), wanted


@pytest.mark.slow
def test_rows_of_one_step_share_the_score_and_are_counted(field: tuple[Path, ScoreResult]) -> None:
    job, result = field
    scores = _scores(job).to_pylist()
    for machine in ("twice", "repeats"):
        by_step: dict[object, set[float]] = {}
        for row in scores:
            if row["machine"] == machine:
                by_step.setdefault(row["at"], set()).add(row["score"])
        assert {len(found) for found in by_step.values()} == {1}
    duplicates = {each.partition: each.details.duplicates for each in result.nights if each.details is not None}
    assert (duplicates[night(8)], duplicates[night(9)]) == (10, 14)


@pytest.mark.slow
def test_the_fault_is_found_named_and_explained(field: tuple[Path, ScoreResult]) -> None:
    job, _ = field
    flagged = [row for row in _scores(job).to_pylist() if row["is_anomaly"] and row["machine"] == "plain"]

    assert [row for row in flagged if _day_of(row) == 10 and 40 <= _step(row) < 60]
    measured = evaluate(job, first=night(LEARNED))
    assert measured is not None
    peak = max((row for row in flagged if _day_of(row) == 10), key=lambda row: row["score"])
    (explained,) = explain(job, [f"{peak['id']},plain,{peak['at']}"])
    assert "load" in explained.model_dump_json()
    assert report(job).path is not None


def _step(row: dict[str, object]) -> int:
    return int((np.datetime64(row["at"], "us") - np.datetime64("2026-01-01", "us")) // STEP) % PER_DAY  # type: ignore[call-overload]


def _day_of(row: dict[str, object]) -> int:
    return int((np.datetime64(row["at"], "us") - np.datetime64("2026-01-01", "us")) // STEP) // PER_DAY  # type: ignore[call-overload]


@pytest.mark.slow
def test_the_threshold_of_a_machine_that_is_away_is_kept_until_it_returns(field: tuple[Path, ScoreResult]) -> None:
    job, _ = field

    def state(day: int) -> tuple[float, list[float]]:
        path = job.parent / "out" / "field" / "thresholds" / night(day) / "part-0.parquet"
        (row,) = [each for each in pq.ParquetFile(path).read().to_pylist() if each["entity"] == "away"]
        return row["alpha"], row["scores"]

    assert state(6) == state(7) == state(10)
    assert state(11) != state(10)


@pytest.mark.slow
def test_scores_are_the_same_if_the_table_is_one_file(tmp_path: Path, field: tuple[Path, ScoreResult]) -> None:
    job, _ = field
    shutil.copytree(job.parent / "exported", tmp_path / "exported")
    (tmp_path / "one").mkdir()
    tables = [_day(day) for day in range(DAYS)]
    pq.write_table(pa.concat_tables([tables[0], *reversed(tables[1:])]), tmp_path / "one" / "part-0.parquet")
    other = tmp_path / "job.toml"
    other.write_text(JOB.format(rows="one", last=night(LEARNED - 1)))

    score(other)

    nights, one = (_scores(each).sort_by("id") for each in (job, other))
    assert nights["id"].equals(one["id"])
    np.testing.assert_allclose(
        nights["score"].to_numpy().astype(float), one["score"].to_numpy().astype(float), atol=1e-6, rtol=1e-6
    )


@pytest.mark.slow
def test_machines_of_the_field_can_be_drawn(field: tuple[Path, ScoreResult]) -> None:
    job, _ = field

    result = sample_series(job, length=200, seed=1, name="drawn")

    rows = pq.ParquetFile(result.path).read().to_pylist()
    assert set(result.entities) >= {"plain", "gaps", "twice", "constant", "holes", "repeats", "away"}
    assert {row["load"] for row in rows if row["machine"] == "constant"} == {1.0}
    assert all(np.isfinite(row["load"]) for row in rows)
