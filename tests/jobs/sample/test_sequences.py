"""Sequences of entities: order, carried values, starts, lengths and gaps."""

import logging
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.errors import DataUnreadable
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.sample.sequence_fit import Pace, find_carried, fit_sequences, times_of
from aepipe.jobs.train.train import train

TOWNS = ("Ulm", "Bonn", "Kiel", "Trier")
JOB = """
name = "trips"
[data]
path = "."
entity = "customer"
event_time = "time"
[model]
family = "tabular_vae"
[train]
epochs = 30
[run]
device = "cpu"
[samples]
quality = { check = false }
"""


def trips(entities: int, seed: int) -> pa.Table:
    """Generate trips of customers: each starts where the last ended, with a constant plan and a slow balance."""
    rng = np.random.default_rng(seed)
    rows = []
    for customer in range(entities):
        time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=int(rng.integers(86_400)))
        plan, place, balance = str(rng.choice(["gold", "basic"])), str(rng.choice(TOWNS)), 100 * rng.exponential()
        for _ in range(int(rng.integers(3, 15))):
            to = str(rng.choice([town for town in TOWNS if town != place]))
            balance = max(0.0, 0.9 * balance + 10 * rng.standard_normal() + 10)
            rows.append((f"c{customer}", time, plan, place, to, round(balance, 2)))
            place, time = to, time + timedelta(minutes=int(5 + rng.exponential(300)))
    columns = [list(column) for column in zip(*rows, strict=True)]
    names = ("customer", "time", "plan", "origin", "goal", "balance")
    table = pa.table(dict(zip(names, columns, strict=True)))
    kinds = {"time": pa.timestamp("ms", "UTC"), "customer": pa.large_string(), "origin": pa.large_string()}
    kinds |= {"plan": pa.dictionary(pa.int32(), pa.string())}
    return pa.table({name: table[name].cast(kinds.get(name, table[name].type)) for name in names})


def pairs(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return each row and the next one of its entity, in the order of the table."""
    names = table["customer"].to_pylist()
    before = [at for at in range(len(names) - 1) if names[at] == names[at + 1]]
    return table.take(before), table.take([at + 1 for at in before])


@pytest.mark.slow
def test_rows_of_an_entity_follow_from_the_row_before_in_order(tmp_path: Path) -> None:
    (tmp_path / "dt=2026-01-01").mkdir()
    real = trips(200, 0)
    pq.write_table(real.take(np.random.default_rng(0).permutation(len(real))), tmp_path / "dt=2026-01-01" / "a.parquet")
    job = tmp_path / "job.toml"
    job.write_text(JOB)
    train(job)

    drawn = pq.read_table(sample(job, rows=1_000, seed=1, partition="a").path, partitioning=None)
    again = pq.read_table(sample(job, rows=1_000, seed=1, partition="b").path, partitioning=None)

    assert drawn.equals(again)
    assert drawn.num_rows == 1_000
    assert all(drawn.schema.field(field.name).type == field.type for field in real.schema)
    assert not set(drawn["customer"].to_pylist()) & set(real["customer"].to_pylist())
    names = drawn["customer"].to_pylist()
    blocks = 1 + sum(one != other for one, other in pairwise(names))
    assert blocks == len(set(names))  # the rows of an entity lie together
    assert 50 < blocks < 250
    last, following = pairs(drawn)
    assert all(a < b for a, b in zip(last["time"].to_pylist(), following["time"].to_pylist(), strict=True))
    assert last["plan"].equals(following["plan"])
    moved = np.array(last["goal"].to_pylist()) == np.array(following["origin"].to_pylist())
    assert moved.mean() > 0.99
    balances = (np.array(side["balance"].to_pylist()) for side in (last, following))
    assert np.corrcoef(*balances)[0, 1] > 0.7

    (tmp_path / "dt=2026-01-01").rename(tmp_path / "dt=2026-01-09")
    with pytest.raises(DataUnreadable, match=r"Restore it, or set \[samples\] sequences = false to draw independent"):
        sample(job, rows=50, seed=1, partition="c")
    job.write_text(f"{JOB}sequences = false\n")
    independent = pq.read_table(sample(job, rows=50, seed=1, partition="a").path, partitioning=None)
    assert independent["customer"].null_count == 50


def test_times_have_starts_lengths_and_gaps_of_training() -> None:
    rng = np.random.default_rng(0)
    entity = np.repeat(np.arange(60), 5)
    start = 1_000 * rng.integers(0, 100, 60)
    time = (start[:, None] + 30 * np.arange(5)).ravel()

    pace = Pace.fit(entity, time)

    drawn = [pace.draw(np.random.default_rng(seed)) for seed in range(50)]
    assert all(len(times) == 5 for times in drawn)
    assert {int(gap) for times in drawn for gap in np.diff(times)} == {30}
    assert all(start.min() <= times[0] <= start.max() for times in drawn)


def test_carried_columns_are_constant_or_repeat_another_column_beyond_chance() -> None:
    table = trips(40, 1).append_column("flag", pa.array(["no"] * trips(40, 1).num_rows))
    names = table["customer"].to_pylist()
    before = np.array([at for at in range(len(names) - 1) if names[at] == names[at + 1]])

    found = find_carried(table, before, {"plan", "origin", "goal", "balance", "flag"})

    assert {(each.target, each.source) for each in found} == {("plan", "plan"), ("origin", "goal")}
    assert all(each.probability > 0.99 for each in found)


def test_few_entities_and_unordered_times_have_no_sequences() -> None:
    table = trips(5, 0)
    entity = np.unique(table["customer"].to_pylist(), return_inverse=True)[1]
    features = np.zeros((len(table), 1))

    assert times_of(pa.chunked_array([pa.array(["monday"])])) is None
    assert times_of(pa.chunked_array([pa.array([1, None])])) is None
    time = times_of(table["time"])
    assert time is not None
    assert fit_sequences(table, features, entity, time, fixable=(), seed=0) is None


@pytest.mark.slow
def test_rows_without_a_time_are_left_out_of_sequences(tmp_path: Path) -> None:
    (tmp_path / "dt=2026-01-01").mkdir()
    table = trips(120, 0)
    absent = np.random.default_rng(1).random(len(table)) < 0.1
    times = pa.array([None if gone else at for gone, at in zip(absent, table["time"].to_pylist(), strict=True)])
    table = table.set_column(1, "time", times.cast(table["time"].type))
    pq.write_table(table, tmp_path / "dt=2026-01-01" / "a.parquet")
    job = tmp_path / "job.toml"
    job.write_text(JOB.replace("epochs = 30", "epochs = 1"))
    train(job)

    drawn = pq.read_table(sample(job, rows=200, seed=1, partition="a").path, partitioning=None)

    assert drawn["time"].null_count == drawn["customer"].null_count == 0
    before, after = pairs(drawn)
    assert len(before) > 50
    assert all(
        first <= second for first, second in zip(before["time"].to_pylist(), after["time"].to_pylist(), strict=True)
    )


@pytest.mark.slow
def test_event_time_of_text_is_named_as_the_reason_of_independent_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dt=2026-01-01").mkdir()
    table = trips(60, 0)
    texts = pa.array([at.strftime("%Y-%m-%d %H:%M") for at in table["time"].to_pylist()])
    pq.write_table(table.set_column(1, "time", texts), tmp_path / "dt=2026-01-01" / "a.parquet")
    job = tmp_path / "job.toml"
    job.write_text(JOB.replace("epochs = 30", "epochs = 1"))
    train(job)

    with caplog.at_level(logging.WARNING):
        sample(job, rows=20, seed=1, partition="a")

    assert "without entity and time: expected times, got string in the event time 'time'" in caplog.text


@pytest.mark.slow
def test_rows_without_sequences_are_independent_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dt=2026-01-01").mkdir()
    table = trips(200, 0)
    alone = table.set_column(0, "customer", pa.array([f"c{at}" for at in range(len(table))]))
    pq.write_table(alone, tmp_path / "dt=2026-01-01" / "a.parquet")
    job = tmp_path / "job.toml"
    job.write_text(JOB.replace("epochs = 30", "epochs = 1"))
    train(job)

    with caplog.at_level(logging.WARNING):
        result = sample(job, rows=20, seed=1, partition="a")

    found = re.search(
        r"independently, .*: expected at least 10 entities with 100 pairs .* got ([\d,]+) with 0", caplog.text
    )
    assert found is not None
    assert pq.read_table(result.path, partitioning=None)["customer"].null_count == 20
