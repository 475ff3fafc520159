"""Drift of scored partitions: alarms, no alarms, and the state between nights."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.drift_reference import FILE, DriftReference, ReferenceStream, read_drift_reference
from aepipe.bundles.registry import Registry
from aepipe.config.drift import Drift
from aepipe.config.job import read_job
from aepipe.errors import ArgumentInvalid, BundleNotFound
from aepipe.jobs.drift.monitor import (
    DriftResult,
    PartitionDrift,
    describe,
    measure_drift,
    measure_if_possible,
    read_drift,
)
from aepipe.jobs.forget import forget
from aepipe.jobs.promotion.promote import promote
from aepipe.jobs.report.drift_data import build_drift
from aepipe.jobs.score import score
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.metrics.drift import LASTING_RUN
from benchmarks.drift import SMALL_ROWS, alarms_of, flights, reference, replay, small_reference, small_replay
from tests.support.linear_bundle import make_bundle, numbers
from tests.support.two_models import add_reference, add_version, write_job, write_partition, write_reference

QUIET = [f"dt=2026-03-{day:02d}" for day in range(1, 4)]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Write three partitions of 4,000 rows without drift, and a champion with a reference of 20,000 rows."""
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


def test_columns_named_like_the_score_and_a_latent_are_streams_of_their_own(tmp_path: Path) -> None:
    names = ["id", "score", "z_000", "c"]
    job = tmp_path / "job.toml"
    job.write_text('name = "linear"\n[data]\npath = "rows"\nkeys = ["id"]\n[drift]\nmin_rows = 100\n')
    learned = numbers(20_000, seed=77).rename_columns(names)
    bundle = make_bundle(tmp_path, learned, data={"keys": ["id"]})
    Registry(bundle.path.parent).set_alias("champion", bundle.path.name, who="ada", why="a test")
    write_reference(tmp_path, learned)
    for day in range(3):
        table = numbers(4_000, seed=day, first_id=day * 4_000).rename_columns(names)
        shifted = pc.add(table["score"], pa.scalar(1.0 if day == 2 else 0.0, pa.float32()))
        path = tmp_path / "rows" / f"{day}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table.set_column(1, "score", shifted), path)
    score(job)

    nights = measure_drift(job).partitions

    keys = {("column", "score"), ("column", "z_000"), ("column", "c"), ("score", "score"), ("latent", "z_000")}
    assert {each.key for each in nights[0].streams} == keys | {("latent", "z_001")}
    assert [each.alarms for each in nights[:2]] == [(), ()]
    reference = read_drift_reference(open_model(read_job(job), "champion").bundle)
    assert reference is not None
    known = {stream.key: stream for stream in reference.streams}
    rows = pq.read_table(tmp_path / "rows" / "2.parquet")
    written = pq.read_table(next((tmp_path / "out").rglob("scores/2/*.parquet")))
    counts = nights[2].counts_by_key
    for stream, values in ((known["column", "score"], rows["score"]), (known["score", "score"], written["score"])):
        expected = stream.count(values.to_numpy().astype(float))
        assert counts[stream.key] == tuple(np.trim_zeros(expected, "b").tolist())
    shift = {each.key: each.shift for each in nights[2].streams}
    assert shift["column", "score"] == pytest.approx(1.0, abs=0.1)
    assert abs(shift["column", "z_000"]) < 0.1


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


def test_a_partition_is_named_in_full_or_by_its_date_and_others_are_refused(job: Path) -> None:
    write_partition(job.parent, "dt=2026-03-04", seed=4, rows=50)
    score(job)

    named = measure_drift(job, partitions=["2026-03-04", "dt=2026-03-04"]).partitions

    assert [each.partition for each in named] == ["dt=2026-03-04"]
    with pytest.raises(ArgumentInvalid, match=r"'2026-04-04' has no scores of linear/.*; did you mean 'dt=2026-03-04'"):
        measure_drift(job, partitions=["2026-04-04"])


def test_a_missing_source_is_not_a_failure(job: Path) -> None:
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


def late_days(job: Path, *, window: int, days: int, shift: float) -> list[str]:
    """Set the size of the window, and write days after the quiet ones whose column `a` is shifted by little."""
    job.write_text(job.read_text() + f"window = {window}\n")
    for day in range(4, 4 + days):
        shifted(job, day, shift=shift)
    return [f"dt=2026-03-{day:02d}" for day in range(4, 4 + days)]


def test_a_lasting_shift_that_no_night_shows_is_seen_by_the_window_once(job: Path) -> None:
    add_reference(job.parent, deviation=0.2)
    days = late_days(job, window=8, days=13, shift=0.5)
    job.write_text(job.read_text() + "cool_down = 2\n")
    score(job)

    nights = [measure_drift(job, partitions=[day]).partitions[-1] for day in (*QUIET, *days)]  # one command per night

    found = [(each.partition, stream) for each in nights for stream in each.streams if stream.name == "a"]
    assert [day for day, stream in found if stream.alarm] == [days[4], days[12]]  # its alarm empties the window
    assert all(stream.p_value == 1.0 for _, stream in found)
    opened = read_job(job)
    shown = build_drift(ScoredPartitions(opened, open_model(opened, "champion")))
    assert ("a", 8) in [(line.name, line.partitions) for line in shown if line.alarm]
    stream = dict(found)[days[4]]
    assert not stream.is_sudden
    assert stream.window is not None
    assert stream.window.partitions == 8
    assert stream.window.low < stream.window.distance < stream.window.high
    assert f"column a drifted over the last 8 partitions: distance {stream.window.distance:.3f}" in describe(stream)
    assert [stream.window is not None for _, stream in found] == ([False] * 7 + [True]) * 2


def test_a_late_partition_is_compared_with_the_window_of_its_own_time(job: Path) -> None:
    add_reference(job.parent, deviation=0.2)
    late_days(job, window=4, days=3, shift=0.0)
    late = job.parent / "rows" / QUIET[2]
    late.rename(job.parent / "late")
    score(job)
    measure_drift(job)
    (job.parent / "late").rename(late)
    score(job)

    streams = [next(each for each in night.streams if each.name == "a") for night in measure_drift(job).partitions]

    assert [each.window is not None for each in streams] == [False, False, False, False, True, True]


def test_the_window_compares_the_sum_of_the_counts_of_its_partitions(job: Path) -> None:
    late_days(job, window=5, days=4, shift=0.1)
    score(job)
    last = next(each for each in measure_drift(job).partitions[-1].streams if each.name == "a")
    version = Registry(job.parent / "exported" / "linear").resolve().name
    known = read_drift_reference(Bundle.open(job.parent / "exported" / "linear" / version))
    assert known is not None
    known = next(each for each in known.streams if each.name == "a")

    days = [f"dt=2026-03-{day:02d}" for day in range(3, 8)]
    rows = pa.concat_tables([pq.read_table(job.parent / "rows" / day / "part-0.parquet") for day in days])
    share, before = known.count(rows["a"].to_numpy()) / len(rows), np.array(known.counts) / sum(known.counts)

    assert last.window is not None
    assert last.window.distance == pytest.approx(np.abs(np.cumsum(share) - np.cumsum(before)).max(), abs=1e-9)


def test_odd_partitions_are_left_out_of_the_window(job: Path) -> None:
    late_days(job, window=5, days=2, shift=3.0)
    for day in (6, 7):
        shifted(job, day)
    score(job)

    streams = [next(each for each in night.streams if each.name == "a") for night in measure_drift(job).partitions]

    assert [each.is_sudden for each in streams] == [False, False, False, True, True, False, False]
    assert [each.window is not None for each in streams] == [False] * 6 + [True]
    assert not any(each.alarm for each in streams[5:])


def test_a_challenger_is_due_for_every_alarm_or_only_for_a_lasting_change(job: Path) -> None:
    add_reference(job.parent, deviation=0.2)
    days = late_days(job, window=4, days=5, shift=0.5)
    shifted(job, 9, shift=4.0)
    score(job)

    result = measure_drift(job)
    due = {
        retrain: [
            each.partition
            for each in result.partitions
            if result.model_copy(update={"partitions": (each,)}).needs_challenger(retrain)
        ]
        for retrain in (False, True, "lasting")
    }

    assert due[False] == []
    assert len(due["lasting"]) == 1
    assert due["lasting"][0] in days
    assert due[True] == [*due["lasting"], "dt=2026-03-09"]


def alarms_after_training(older: Sequence[float], later: float, *, nights: int) -> list[str]:
    """Return the later nights with an alarm after a training on the older ones; a mean of NaN: without values."""
    generator = np.random.default_rng(0)
    means = np.repeat(np.asarray(older) + 0.2 * generator.standard_normal(len(older)), SMALL_ROWS)
    numbers = np.repeat(np.arange(len(older), dtype=np.int32), SMALL_ROWS)
    known = ReferenceStream.fit("a", "column", means + generator.standard_normal(len(means)), numbers)
    later_means = later + 0.2 * generator.standard_normal(nights)
    drawn = (
        (str(at), {known.key: known.count(generator.normal(mean, 1, SMALL_ROWS))})
        for at, mean in enumerate(later_means)
    )
    return [night for night, _ in alarms_of(DriftReference(streams=(known,)), drawn, Drift())]


def test_one_training_ends_the_alarm_of_a_lasting_change() -> None:
    before = [0.0] * 90

    assert alarms_after_training(before, 1.5, nights=120)[:1] == ["0"]
    for nights in (LASTING_RUN, 20, 30, 60):
        assert alarms_after_training([*before, *[1.5] * nights], 1.5, nights=120) == []


def test_one_training_ends_the_alarm_of_a_column_that_older_rows_lack() -> None:
    lacking = [np.nan] * 90

    assert alarms_after_training(lacking, 0.0, nights=120)[:1] == ["0"]
    for nights in (5, 20, 40):
        assert alarms_after_training([*lacking, *[0.0] * nights], 0.0, nights=120) == []


def test_a_change_that_every_night_shows_alone_is_lasting_after_a_week(job: Path) -> None:
    late_days(job, window=28, days=12, shift=3.0)
    score(job)

    result = measure_drift(job)

    assert [partition for partition, stream in result.alarms if stream.name == "a"] == [
        "dt=2026-03-04",
        "dt=2026-03-12",
    ]
    due = [each.partition for each in result.partitions if is_due(result, each)]
    assert due == ["dt=2026-03-12"]


def test_a_storm_is_not_lasting(job: Path) -> None:
    job.write_text(job.read_text() + "cool_down = 1\n")
    late_days(job, window=28, days=6, shift=3.0)
    shifted(job, 10)
    shifted(job, 11, shift=3.0)
    score(job)

    result = measure_drift(job)

    assert "dt=2026-03-11" in [partition for partition, _ in result.alarms]
    assert not any(is_due(result, each) for each in result.partitions)


def is_due(result: DriftResult, partition: PartitionDrift) -> bool:
    """Return whether the alarms of one partition alone train a challenger with `retrain = "lasting"`."""
    return result.model_copy(update={"partitions": (partition,)}).needs_challenger("lasting")


def test_without_a_window_nothing_is_compared_together(job: Path) -> None:
    add_reference(job.parent, deviation=0.2)
    late_days(job, window=0, days=9, shift=0.5)
    score(job)

    streams = [each for night in measure_drift(job).partitions for each in night.streams if each.name == "a"]

    assert not any(each.alarm or each.window is not None for each in streams)


def test_records_of_an_older_version_hold_no_counts_and_fill_no_window(job: Path) -> None:
    job.write_text(job.read_text() + "window = 4\n")
    score(job)
    measure_drift(job)
    for path in (job.parent / "out").rglob("drift/*/*.json"):
        record = json.loads(path.read_bytes())
        assert record.pop("counts")
        for stream in record["streams"]:
            del stream["window"], stream["is_sudden"]
        path.write_text(json.dumps(record))
    shifted(job, 4)
    score(job)

    last = measure_drift(job).partitions[-1]

    assert last.streams
    assert all(stream.window is None for stream in last.streams)


def test_counts_are_in_the_records_and_not_in_what_a_command_prints(job: Path) -> None:
    score(job)

    printed = measure_drift(job).model_dump_json()

    assert '"counts"' not in printed
    record = json.loads(next((job.parent / "out").rglob("drift/*/dt=2026-03-02.json")).read_bytes())
    assert sum(record["counts"]["column"]["a"]) == 4_000


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
    assert len({night for night, _ in small_replay(without, 1, nights=10, settings=Drift(window=0)).alarms}) > 5


def test_a_lasting_shift_of_small_nights_is_seen_together_and_not_alone() -> None:
    known = small_reference(0)

    alarms = small_replay(known, 1, nights=60, shifts={"c3": 0.4}).alarms

    assert {name for _, name in alarms} == {"c3"}
    assert small_replay(known, 1, nights=60, shifts={"c3": 0.4}, settings=Drift(window=0)).alarms == ()


def test_a_shift_beyond_the_differences_of_training_nights_is_seen() -> None:
    alarms = replay(small_reference(0), 1, nights=2, shifts={"c3": 1.5}, rows=SMALL_ROWS).alarms

    assert {name for _, name in alarms} == {"c3"}


@pytest.mark.slow
def test_a_blizzard_is_seen_among_winter_nights_and_most_others_are_not() -> None:
    assert set(flights(1)) <= {"dt=2013-02-08", "dt=2013-02-09"}
    assert "dt=2013-02-08" in flights(1)
    assert len(flights(1, with_spread=False)) > 3
