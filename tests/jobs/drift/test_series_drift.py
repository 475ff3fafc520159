"""Drift of the channels and points of series jobs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.drift_reference import FILE, DriftReference, ReferenceStream, channel_streams, read_drift_reference
from aepipe.bundles.registry import Registry
from aepipe.config.job import read_job
from aepipe.jobs.drift.monitor import measure_drift, measure_if_possible
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.train.series_nights import Origin, night_numbers, point_reference
from aepipe.jobs.train.train import train
from tests.support.machines import day_of, night, write_machines

DAY_US = 86_400_000_000


@pytest.fixture
def drifting(machines: Path) -> Path:
    """Add three nights to the series job on which the load of both machines is 1.5 higher."""
    machines.write_text(machines.read_text() + "[drift]\nmin_rows = 100\n")
    for day in (7, 8, 9):
        table = day_of(day, machines=2)
        load = table.schema.get_field_index("load")
        path = machines.parent / "rows" / night(day) / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table.set_column(load, "load", pc.add(table["load"], 1.5)), path)
    return machines


def _bundle(job: Path) -> Bundle:
    return Bundle.open(Registry(read_job(job).bundle_path).resolve())


@pytest.mark.slow
def test_a_channel_that_moves_is_named_and_quiet_nights_raise_no_alarm(drifting: Path) -> None:
    score(drifting)

    result = measure_drift(drifting)

    columns = {(partition, each.name) for partition, each in result.alarms if each.kind == "column"}
    assert columns == {(night(7), "load")}  # the two nights after it are in its cool-down
    assert {partition for partition, _ in result.alarms} == {night(7)}
    (moved,) = [each for each in result.partitions[7].streams if each.name == "load"]
    values = np.concatenate([_scaled(drifting, day)["load"] for day in range(5)])
    before, now = np.sort(values), np.sort(_scaled(drifting, 7)["load"])
    at = np.concatenate([before, now])
    exact = np.abs(np.searchsorted(before, at, side="right") / 960 - np.searchsorted(now, at, side="right") / 192).max()
    assert moved.distance == pytest.approx(exact, abs=1 / 32)  # the reference has 32 bins
    assert {each.name for each in result.partitions[0].streams} == {"heat", "load"}  # few calibration points: no score
    assert "load" in report(drifting).path.read_text()


def _scaled(job: Path, day: int) -> dict[str, np.ndarray]:
    """Return the channels of a day, standardised by the training part of each machine, 70 % of five days."""
    learned = pa.concat_tables([day_of(each, machines=2) for each in range(5)]).sort_by("at").slice(0, 672)
    table = day_of(day, machines=2)
    shift = 1.5 if day >= 7 else 0.0
    found = []
    for machine in ("m0", "m1"):
        of_training = learned.filter(pc.equal(learned["machine"], machine))["load"].to_numpy()
        own = table.filter(pc.equal(table["machine"], machine))["load"].to_numpy() + shift
        found.append((own - of_training.mean()) / of_training.std())
    return {"load": np.concatenate(found)}


@pytest.mark.slow
def test_a_night_measures_drift_of_a_series_job(drifting: Path) -> None:
    score(drifting)

    result = measure_if_possible(read_job(drifting), partitions=[night(7)])

    assert result is not None
    assert "load" in {each.name for _, each in result.alarms}


@pytest.mark.slow
def test_a_channel_named_score_is_compared_as_well_as_the_scores(tmp_path: Path) -> None:
    job = write_machines(tmp_path, days=8, machines=6, fault_on=-1, learned=5)
    job.write_text(job.read_text() + "[drift]\nmin_rows = 100\n")
    for day in range(8):
        path = tmp_path / "rows" / night(day) / "part-0.parquet"
        table = day_of(day, machines=6)
        moved = pc.add(table["load"], 1.5 if day == 7 else 0.0)
        names = ["score" if name == "load" else name for name in table.column_names]
        pq.write_table(table.set_column(table.column_names.index("load"), "load", moved).rename_columns(names), path)
    train(job)
    score(job)

    nights = measure_drift(job).partitions

    assert [[each.key for each in night.alarms if each.kind == "column"] for night in nights] == [
        *[[]] * 7,
        [("column", "score")],
    ]
    assert {each.key for each in nights[0].streams} == {("column", "heat"), ("column", "score"), ("score", "score")}


def test_an_entity_that_appears_or_leaves_is_not_drift(machines: Path) -> None:
    bundle = _bundle(machines)
    reference, stage = read_drift_reference(bundle), bundle.series
    assert reference is not None
    assert stage is not None
    table = day_of(6, machines=2)
    (only,) = table.filter(pc.equal(table["machine"], "m1")).combine_chunks().to_batches()

    streams = {name: values for name, _, values in channel_streams(stage, stage.source.read([only]))}

    for stream in reference.streams:
        if stream.kind == "column":
            counts, known = stream.count(streams[stream.name]), np.asarray(stream.counts)
            distance = np.abs(np.cumsum(counts) / counts.sum() - np.cumsum(known) / known.sum()).max()
            assert distance < 0.15, stream.name  # machine m1 alone is 5 degrees warmer than both together


def test_a_bundle_that_describes_windows_has_no_reference_of_points(machines: Path) -> None:
    bundle = _bundle(machines)
    reference = DriftReference.model_validate_json(bundle.files[FILE])
    of_windows = ReferenceStream.fit("score", "score", np.arange(100.0))
    files = {**bundle.files, FILE: DriftReference(streams=(of_windows,)).to_json()}

    assert read_drift_reference(bundle) == reference
    assert read_drift_reference(replace(bundle, files=files)) is None


def test_scores_are_a_stream_if_there_are_enough_to_estimate_the_spread_of_nights(machines: Path) -> None:
    stage = _bundle(machines).series
    assert stage is not None
    rows = stage.source.read(pa.concat_tables([day_of(day, machines=2) for day in range(5)]).to_batches())
    scores = np.random.default_rng(0).normal(size=1_000)

    def names(count: int) -> list[str]:
        partition, of_scores = np.repeat(np.arange(5), 192), Origin(np.zeros(count, np.int64), np.arange(count))
        reference = point_reference(stage, rows, Origin.of(rows, partition), scores[:count], of_scores)
        assert all(stream.spread is not None for stream in reference.streams)
        return [stream.name for stream in reference.streams]

    assert names(1_000) == ["heat", "load", "score"]
    assert names(200) == ["heat", "load"]


def test_nights_are_partitions_else_days_else_tenths() -> None:
    rows = np.arange(1_000)
    one, many = np.zeros(1_000, np.int64), rows // 125
    in_time = rows * (10 * DAY_US // 1_000)

    assert night_numbers(Origin(many, in_time), is_time=True).tolist() == many.tolist()
    assert night_numbers(Origin(one, in_time), is_time=True).tolist() == (rows // 100).tolist()
    assert night_numbers(Origin(one, in_time), is_time=False).tolist() == (rows // 100).tolist()
    shuffled = np.random.default_rng(0).permutation(1_000)
    found = night_numbers(Origin(one, in_time[shuffled] // 10), is_time=True)
    assert found.tolist() == (shuffled // 100).tolist()
    assert night_numbers(Origin(one[:0], in_time[:0]), is_time=True).tolist() == []
