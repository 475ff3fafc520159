import datetime

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.errors import SchemaMismatch
from aepipe.jobs.train.split import CALIBRATION, DEV, TRAIN, split
from tests.support.columns import schema_of

ROWS = 4000


def nights(*sizes: int) -> pa.Array:
    return pa.array([f"dt=2026-01-{at:02}" for at, size in enumerate(sizes, 1) for _ in range(size)], pa.string())


def parts(table: pa.Table, partitions: pa.Array | None = None, **data: object) -> np.ndarray:
    where = partitions if partitions is not None else nights(table.num_rows)
    return split(schema_of(table, **data), table, partitions=where)


def shares(found: np.ndarray) -> list[float]:
    return [float(np.mean(found == part)) for part in (TRAIN, DEV, CALIBRATION)]


def test_by_event_time_the_earliest_rows_train_and_the_latest_calibrate() -> None:
    order = np.random.default_rng(1).permutation(ROWS)
    table = pa.table({"x": order.astype(float), "at": pa.array(order, pa.timestamp("s"))})

    found = parts(table, event_time="at")

    expected = np.select([order < 0.7 * ROWS, order < 0.8 * ROWS], [TRAIN, DEV], CALIBRATION)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("kind", [pa.date32(), pa.int64(), pa.float64(), pa.string(), pa.timestamp("ns", tz="UTC")])
def test_any_column_with_an_order_may_be_the_event_time(kind: pa.DataType) -> None:
    times = pa.array(range(10_000, 10_100), pa.int32() if kind == pa.date32() else pa.int64()).cast(kind)

    found = parts(pa.table({"x": np.zeros(100), "at": times}), event_time="at")

    assert found.tolist() == [TRAIN] * 70 + [DEV] * 10 + [CALIBRATION] * 20


def test_rows_of_one_moment_are_parted_by_chance_and_not_by_their_order_in_the_file() -> None:
    days = [datetime.date(2026, 1, 1)] * 1000 + [datetime.date(2026, 1, 2)] * 1000
    table = pa.table({"x": np.arange(2000.0), "at": pa.array(days)})

    found = parts(table, event_time="at")

    assert shares(found) == [0.7, 0.1, 0.2]
    assert (found[:1000] == TRAIN).all()
    assert abs(np.mean(np.flatnonzero(found[1000:] == TRAIN)) - 500) < 50


def test_rows_without_a_time_are_spread_over_the_parts() -> None:
    times = [None if at % 2 else at for at in range(ROWS)]
    table = pa.table({"x": np.zeros(ROWS), "at": pa.array(times, pa.timestamp("s"))})

    found = parts(table, event_time="at")

    assert shares(found) == [0.7, 0.1, 0.2]
    assert shares(found[1::2]) == pytest.approx([0.7, 0.1, 0.2], abs=0.03)
    assert shares(parts(table.set_column(1, "at", pa.nulls(ROWS, pa.timestamp("s"))), event_time="at")) == [
        0.7,
        0.1,
        0.2,
    ]


def test_an_event_time_that_was_not_read_is_missed() -> None:
    table = pa.table({"x": np.zeros(3), "at": [1, 2, 3]})

    with pytest.raises(SchemaMismatch, match="the training rows have no column 'at', the event time: read it"):
        split(schema_of(table, event_time="at"), table.select(["x"]), partitions=nights(3))


def test_by_keys_the_shares_are_seventy_ten_and_twenty() -> None:
    table = pa.table({"id": [f"customer-{at}" for at in range(ROWS)], "x": np.zeros(ROWS)})

    assert shares(parts(table, keys=["id"])) == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


def test_equal_keys_stay_together() -> None:
    who = np.random.default_rng(1).integers(0, 300, ROWS)
    table = pa.table({"id": who, "shop": np.ones(ROWS, np.int64), "x": np.zeros(ROWS)})

    found = parts(table, keys=["id", "shop"])

    assert all(len(set(found[who == one])) == 1 for one in range(300))
    assert len(set(found)) == 3


def test_every_key_counts() -> None:
    table = pa.table({"a": [0] * ROWS, "b": range(ROWS), "c": [None] * ROWS, "x": np.zeros(ROWS)})

    assert shares(parts(table, keys=["a", "b", "c"])) == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


def test_new_rows_and_another_order_move_no_old_row() -> None:
    table = pa.table({"id": [f"r{at}" for at in range(2 * ROWS)], "x": np.zeros(2 * ROWS)})
    order = np.random.default_rng(1).permutation(2 * ROWS)

    all_rows = parts(table, keys=["id"])

    assert np.array_equal(parts(table.slice(0, ROWS), keys=["id"]), all_rows[:ROWS])
    assert np.array_equal(parts(table.take(pa.array(order)), keys=["id"]), all_rows[order])


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint16(), pa.string(), pa.large_string(), pa.string_view()])
def test_a_key_counts_by_its_value_whatever_type_a_file_gives_it(kind: pa.DataType) -> None:
    ids = pa.array(range(500), pa.int32())
    expected = parts(pa.table({"id": ids, "x": np.zeros(500)}), keys=["id"])
    column = ids.cast(pa.string()).cast(kind) if "string" in str(kind) else ids.cast(kind)

    found = parts(pa.table({"id": column, "x": np.zeros(500)}), keys=["id"])

    assert np.array_equal(found, expected)


def test_rows_whose_keys_are_all_null_are_parted_by_their_place() -> None:
    table = pa.table({"id": pa.nulls(ROWS, pa.string()), "x": np.zeros(ROWS)})

    assert shares(parts(table, keys=["id"])) == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


def test_without_keys_the_split_of_a_row_depends_on_its_partition_and_row_number() -> None:
    table = pa.table({"x": np.zeros(ROWS)})

    whole = parts(table, nights(1000, 3000))
    second = parts(table.slice(0, 3000), pa.array(["dt=2026-01-02"] * 3000))

    assert shares(whole) == pytest.approx([0.7, 0.1, 0.2], abs=0.02)
    assert np.array_equal(second, whole[1000:])
    assert not np.array_equal(whole[:1000], whole[1000:2000])


def test_partitions_may_come_as_a_dictionary_and_interleaved() -> None:
    names = pa.array(["a", "b"] * 1000)
    table = pa.table({"x": np.zeros(2000)})

    mixed = parts(table, names.dictionary_encode())

    assert np.array_equal(mixed, parts(table, names))
    assert np.array_equal(mixed[::2], parts(table.slice(0, 1000), pa.array(["a"] * 1000)))


@settings(max_examples=60)
@given(rows=st.integers(0, 60), keyed=st.booleans(), timed=st.booleans())
def test_three_rows_are_enough_for_every_part_to_hold_one(rows: int, keyed: bool, timed: bool) -> None:
    table = pa.table({"id": pa.array(range(rows), pa.int64()), "x": np.zeros(rows), "at": np.zeros(rows)})
    data = ({"keys": ["id"]} if keyed else {}) | ({"event_time": "at"} if timed else {})

    found = parts(table, nights(rows), **data)

    assert found.shape == (rows,)
    assert found.dtype == np.int8
    assert set(found) == ({TRAIN, DEV, CALIBRATION} if rows >= 3 else set(found))
    assert np.array_equal(found, parts(table, nights(rows), **data))


def test_a_row_goes_where_the_published_hash_functions_send_its_key() -> None:
    table = pa.table({"id": [f"r{at}" for at in range(200)], "x": np.zeros(200)})

    found = parts(table, keys=["id"])

    # https://prng.di.unimi.it/splitmix64.c, one step from a state of xxh3("r0")
    for at in range(200):
        z = (xxhash.xxh3_64_intdigest(f"r{at}".encode()) + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        share = (z ^ (z >> 31)) / 2**64
        assert found[at] == (TRAIN if share < 0.7 else DEV if share < 0.8 else CALIBRATION)
