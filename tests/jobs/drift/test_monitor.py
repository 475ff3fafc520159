"""Drift of scored partitions: what alarms, what does not, and the state between nights."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from aepipe.bundles.drift_reference import FILE
from aepipe.bundles.registry import Registry
from aepipe.config.job import read_job
from aepipe.errors import BundleNotFound
from aepipe.jobs.drift.monitor import measure_drift, measure_if_possible, read_drift
from aepipe.jobs.forget import forget
from aepipe.jobs.promotion.promote import promote
from aepipe.jobs.score import score
from benchmarks.drift import SMALL_ROWS, flights, reference, replay, small_reference, small_replay
from tests.support.two_models import add_reference, add_version, write_job, write_partition

QUIET = [f"dt=2026-03-{day:02d}" for day in range(1, 4)]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Three quiet partitions of 4,000 rows, and a champion with a reference of 20,000 rows."""
    job = write_job(tmp_path, "[drift]\nmin_rows = 100\n")
    shutil.rmtree(tmp_path / "rows")
    for day, name in enumerate(QUIET):
        write_partition(tmp_path, name, seed=day + 10, rows=4_000)
    add_reference(tmp_path)
    return job


def shifted(job: Path, day: int, **changes: float) -> None:
    write_partition(job.parent, f"dt=2026-03-{day:02d}", seed=day + 10, rows=4_000, **changes)


def test_quiet_partitions_raise_no_alarm(job: Path) -> None:
    score(job)

    result = measure_drift(job)

    assert [each.partition for each in result.partitions] == QUIET
    assert result.alarms == ()
    names = {stream.name for stream in result.partitions[0].streams}
    assert {"a", "b", "c", "score", "z_000"} <= names


def test_removed_partitions_leave_no_record(job: Path) -> None:
    score(job)
    measure_drift(job)
    records = read_job(job).out_path / ".aepipe" / "drift"
    assert len(list(records.rglob("dt=2026-03-02.json"))) == 1

    forget(job, ["dt=2026-03-02"], is_confirmed=True)

    assert [path.name for path in sorted(records.rglob("*.json"))] == ["dt=2026-03-01.json", "dt=2026-03-03.json"]


def test_a_promotion_report_names_the_column_that_drifted_most(job: Path) -> None:
    add_version(job.parent, "challenger", seed=5)
    for day in (4, 5):
        shifted(job, day, shift=0.5)

    report = promote(job, partitions=["dt=2026-03-04", "dt=2026-03-05"], dry_run=True).report

    assert report is not None
    drift = report.comparison.champion.drift
    assert drift is not None
    assert drift.column == "a"
    assert drift.shift == pytest.approx(0.5, abs=0.1)
    assert drift.low < drift.distance < drift.high
    assert report.comparison.challenger.drift is None  # its bundle has no reference


def test_a_shift_names_its_column_with_an_interval(job: Path) -> None:
    for day in (4, 5, 6):
        shifted(job, day, shift=0.5)
    score(job)

    alarms = measure_drift(job).alarms

    columns = [(partition, stream) for partition, stream in alarms if stream.kind == "column"]
    assert {stream.name for _, stream in columns} == {"a"}
    partition, stream = columns[0]
    assert partition == "dt=2026-03-04"
    assert stream.low < stream.distance < stream.high
    assert stream.shift == pytest.approx(0.5, abs=0.05)


def test_a_column_that_drifts_on_alarms_once_until_the_cool_down_is_over(job: Path) -> None:
    job.write_text(job.read_text() + "cool_down = 2\n")
    for day in range(4, 9):
        shifted(job, day, shift=1.5)
    score(job)

    days = [partition for partition, stream in measure_drift(job).alarms if stream.name == "a"]

    assert days == ["dt=2026-03-04", "dt=2026-03-07"]


def test_two_odd_partitions_raise_no_alarm_for_the_ordinary_ones_after_them(job: Path) -> None:
    job.write_text(job.read_text() + "cool_down = 1\n")
    for day in (4, 5):  # the second falls into the cool-down of the first
        shifted(job, day, shift=3.0)
    for day in (6, 7):
        shifted(job, day)
    score(job)

    days = [partition for partition, stream in measure_drift(job).alarms if stream.name == "a"]

    assert days == ["dt=2026-03-04"]


def test_a_partition_is_compared_once_and_again_after_its_scores_change(job: Path) -> None:
    score(job)
    measure_drift(job)
    path = next((job.parent / "out").rglob("drift/*/dt=2026-03-02.json"))
    before = path.stat().st_mtime_ns

    measure_drift(job)
    assert path.stat().st_mtime_ns == before

    shifted(job, 2, shift=1.5)
    score(job)
    assert [partition for partition, stream in measure_drift(job).alarms if stream.name == "a"] == ["dt=2026-03-02"]


def test_few_rows_are_not_compared_and_say_so(job: Path) -> None:
    write_partition(job.parent, "dt=2026-03-04", seed=4, rows=50)
    score(job)

    last = measure_drift(job, partitions=["dt=2026-03-04"]).partitions[-1]

    assert last.streams == ()
    assert last.skipped == "it has 50 rows, fewer than [drift] min_rows = 100"


def test_a_source_that_is_gone_is_no_failure(job: Path) -> None:
    score(job)
    (job.parent / "rows" / QUIET[1] / "part-0.parquet").unlink()

    result = measure_drift(job)

    assert [bool(each.skipped) for each in result.partitions] == [False, True, False]


def test_damaged_records_are_measured_again(job: Path) -> None:
    score(job)
    measure_drift(job)
    path = next((job.parent / "out").rglob("drift/*/dt=2026-03-02.json"))
    path.write_text("{")

    assert (
        len(read_drift(job.parent / "out" / "linear", Registry(job.parent / "exported" / "linear").resolve().name)) == 2
    )
    assert len(measure_drift(job).partitions) == 3


def test_a_bundle_without_a_reference_is_named_by_the_command_and_skipped_by_a_night(job: Path) -> None:
    first = Registry(job.parent / "exported" / "linear").versions()
    old = next(v for v in first if not (job.parent / "exported" / "linear" / v / FILE).exists())

    with pytest.raises(BundleNotFound, match=r"has no drift reference\. Train again: aepipe train"):
        measure_drift(job, model=old)
    assert measure_if_possible(read_job(job), model=old, partitions=QUIET) is None


def test_simulated_stable_nights_raise_at_most_one_false_alarm() -> None:
    replays = [replay(reference(seed), seed, nights=60) for seed in range(3)]

    assert sum(len(each.alarms) for each in replays) <= 1


def test_a_simulated_shift_is_seen_within_three_nights() -> None:
    known = reference(0)

    seen = [replay(known, seed, nights=3, shifts={"c3": 0.25}).alarms for seed in range(40)]

    assert np.mean([any(name == "c3" for _, name in alarms) for alarms in seen]) >= 0.95
    assert {name for alarms in seen for _, name in alarms} == {"c3"}


def test_small_nights_that_differ_as_those_of_training_raise_no_alarm() -> None:
    known = small_reference(0)
    without = known.model_copy(update={"streams": tuple(s.model_copy(update={"spread": None}) for s in known.streams)})

    assert small_replay(known, 1, nights=10).alarms == ()
    assert len({night for night, _ in small_replay(without, 1, nights=10).alarms}) > 5


def test_a_shift_beyond_the_differences_of_training_nights_is_seen() -> None:
    alarms = replay(small_reference(0), 1, nights=2, shifts={"c3": 1.5}, rows=SMALL_ROWS).alarms

    assert {name for _, name in alarms} == {"c3"}


@pytest.mark.slow
def test_a_blizzard_is_seen_among_winter_nights_and_most_others_are_not() -> None:
    assert set(flights(1)) <= {"dt=2013-02-08", "dt=2013-02-09"}
    assert "dt=2013-02-08" in flights(1)
    assert len(flights(1, with_spread=False)) > 3
