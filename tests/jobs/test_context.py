"""Jobs whose score is conditional on the hour and weekday of the event time."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import aepipe
from aepipe.config.job import parse_job, read_job
from aepipe.errors import JobInvalid
from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.explain import explain
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train, training_key

WEEKS, LATER = 16, 6
START = datetime(2026, 1, 5)  # a Monday
HOURS_PER_WEEK = 168


def shop(weeks: int, *, first: int, seed: int) -> pa.Table:
    """Generate hours of a shop with few orders on Sundays."""
    rng = np.random.default_rng(seed)
    hours = np.arange(first * HOURS_PER_WEEK, (first + weeks) * HOURS_PER_WEEK)
    is_sunday = hours // 24 % 7 == 6
    level = np.where(is_sunday, 0.2, 1.0) * (1 + 0.5 * np.sin(hours % 24 / 24 * 2 * np.pi))
    orders = 100 * level + np.where(is_sunday, 2, 8) * rng.normal(size=len(hours))
    return pa.table(
        {
            "at": pa.array([START + timedelta(hours=int(hour)) for hour in hours], pa.timestamp("us")),
            "id": hours,
            "orders": orders,
            "staff": 0.1 * orders + rng.normal(size=len(hours)),
            "heating": rng.normal(size=len(hours)),
            "kind": pa.array(np.where(rng.random(len(hours)) < 0.5, "web", "shop")),
            "is_planted": np.zeros(len(hours), np.bool_),
        }
    )


def planted(table: pa.Table) -> pa.Table:
    """Copy the values of each Sunday to the next Monday, hour by hour."""
    hours = np.arange(table.num_rows)
    is_monday = (hours // 24 % 7 == 0) & (hours >= HOURS_PER_WEEK)
    values = table.select(["orders", "staff", "heating", "kind"]).take(pa.array(np.where(is_monday, hours - 24, hours)))
    for name in values.column_names:
        table = table.set_column(table.column_names.index(name), name, values[name])
    return table.set_column(table.column_names.index("is_planted"), "is_planted", pa.array(is_monday))


def write(folder: Path, *, context: str) -> Path:
    for name, table in (
        ("dt=2026-01-01", shop(WEEKS, first=0, seed=1)),
        ("dt=2026-06-01", planted(shop(LATER, first=WEEKS, seed=2))),
    ):
        (folder / "data" / name).mkdir(parents=True)
        pq.write_table(table, folder / "data" / name / "part-0.parquet")
    job = folder / "job.toml"
    job.write_text(
        f'name = "shop"\n[data]\npath = "data"\nevent_time = "at"\nkeys = ["id"]\nlabels = ["is_planted"]\n{context}\n'
        '[train]\nto = "2026-01-01"\nepochs = 40\n[evaluate]\nanomaly = "is_planted"\n'
        "[samples]\nrows = 50\n[run]\nworkers = 1\n"
    )
    return job


def flagged(folder: Path, job: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Score a job; return flags and labels of the later weeks."""
    score(job)
    rows = pq.read_table(next((folder / "out" / "shop" / "scores" / "dt=2026-06-01").glob("*.parquet")))
    return rows["is_anomaly"].to_numpy(), rows["is_planted"].to_numpy()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    train(write(folder, context='context = ["hour", "weekday"]'))
    return folder


@pytest.mark.slow
def test_a_sunday_on_a_monday_is_flagged_and_a_quiet_sunday_is_not(trained: Path) -> None:
    flags, is_planted = flagged(trained, trained / "job.toml")

    is_sunday = np.arange(len(flags)) // 24 % 7 == 6
    assert flags[is_planted].mean() > 0.8
    assert flags[~is_planted].mean() < 0.03
    assert flags[is_sunday].mean() < 0.05


@pytest.mark.slow
def test_without_a_context_a_sunday_on_a_monday_passes(tmp_path: Path) -> None:
    job = write(tmp_path, context="")
    train(job)

    flags, is_planted = flagged(tmp_path, job)

    assert flags[is_planted].mean() < 0.05


@pytest.mark.slow
def test_every_command_takes_a_model_with_a_context(trained: Path) -> None:
    job = trained / "job.toml"
    score(job)

    monday = HOURS_PER_WEEK + 12
    (found,) = explain(job, row=f"dt=2026-06-01:{monday}")
    measured = evaluate(job)
    report(job)
    drawn = pq.read_table(sample(job).path, partitioning=None)
    rebuilt = aepipe.load(train(job).bundle).reconstruct(shop(1, first=30, seed=3))

    assert found.columns[0].name in ("orders", "staff")
    assert measured.contenders[0].auroc.value > 0.95
    assert "PCA reconstruction" in {contender.name for contender in measured.contenders}
    assert drawn.num_rows == 50
    assert not drawn["at"].null_count
    assert "at" not in rebuilt.column_names
    assert rebuilt.num_rows == HOURS_PER_WEEK


def test_a_context_changes_the_bundle(tmp_path: Path) -> None:
    with_context, without = (
        read_job(write(tmp_path / name, context=context)) for name, context in (("a", 'context = ["hour"]'), ("b", ""))
    )

    assert training_key(with_context, ()) != training_key(without, ())


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"context": ["hour"]}, "context needs times: expected the column that holds them in event_time, got none"),
        ({"context": ["hour", "hour"], "event_time": "at"}, "context has a part twice"),
    ],
)
def test_a_context_without_times_is_refused(data: dict[str, object], match: str) -> None:
    with pytest.raises(JobInvalid, match=match):
        parse_job({"name": "shop", "data": {"path": "data", **data}}, source=Path("job.toml"))
