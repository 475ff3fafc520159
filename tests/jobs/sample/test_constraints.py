"""Constraints hold in every row, shares are exact, and both are reproducible by seed."""

from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aepipe.config.sample_requirements import Constraint
from aepipe.encoding import Encoding
from aepipe.errors import JobInvalid
from aepipe.jobs.sample.class_shares import largest_remainders
from aepipe.jobs.sample.constraints import ConstraintFilter, validate_constraints
from aepipe.jobs.sample.nightly_set import SampleResult
from aepipe.jobs.sample.sample import sample
from aepipe.tables.schema import Column, Schema
from tests.support.bundles import encoding
from tests.support.shop import shop_job

UNCHECKED = "quality = { check = false }\n"
ORDER = '[[samples.constraints]]\nlow = "size"\nhigh = "weight"\n'


def read(result: SampleResult) -> pa.Table:
    return pq.read_table(result.path, partitioning=None)


@pytest.mark.slow
def test_every_row_satisfies_constraints_and_more_rows_start_with_the_same_rows(
    shared_folder: Path, tmp_path: Path
) -> None:
    free = sample(shop_job(shared_folder, tmp_path, UNCHECKED), rows=600, seed=3, partition="free")
    more = f'{UNCHECKED}[[samples.constraints]]\nlow = "weight"\nhigh = "size"\nstrict = true\n'
    more += '[[samples.constraints]]\ncombination = ["kind", "colour"]\n[[samples.constraints]]\nunique = ["id"]\n'
    weight_is_less = read(free).filter(pc.less(read(free)["weight"], read(free)["size"]))
    job = shop_job(shared_folder, tmp_path, more.replace('"weight"\nhigh = "size"', '"size"\nhigh = "weight"'))

    short = sample(job, rows=100, seed=3, partition="a")
    long = sample(job, rows=300, seed=3, partition="b")

    assert weight_is_less.num_rows < 600
    drawn = read(long)
    assert drawn.num_rows == 300
    assert pc.all(pc.less(drawn["size"].cast(pa.float64()), drawn["weight"].cast(pa.float64()))).as_py()
    ids = drawn["id"].to_pylist()
    assert ids == [ids[0] - row for row in range(300)]
    assert ids[0] < 0
    assert drawn.slice(0, 100).equals(read(short))
    assert set(long.rejected) == {"size < weight", "combination of kind, colour"}
    assert long.rejected["size < weight"] >= short.rejected["size < weight"]


@pytest.mark.slow
def test_rarely_satisfied_constraint_is_reported_and_nothing_is_written(shared_folder: Path, tmp_path: Path) -> None:
    job = shop_job(shared_folder, tmp_path, f'{UNCHECKED}[[samples.constraints]]\nunique = ["colour"]\n')

    with pytest.raises(
        JobInvalid, match=r"unique colour holds for 0\.01 % of the drawn rows: expected 5 rows from 20,000 draws"
    ):
        sample(job, rows=5, seed=3, partition="a")

    assert not (tmp_path / "out" / "samples").exists()


@pytest.mark.slow
def test_shares_are_exact_and_other_values_are_distributed_as_in_training(shared_folder: Path, tmp_path: Path) -> None:
    job = shop_job(shared_folder, tmp_path, UNCHECKED)

    drawn = read(sample(job, rows=501, seed=3, shares={"kind": {"boot": 0.8}}, partition="a"))
    again = read(sample(job, rows=501, seed=3, shares={"kind": {"boot": 0.8}}, partition="b"))

    kinds = Counter(drawn["kind"].to_pylist())
    assert kinds["boot"] == 401
    assert 30 < kinds["sandal"] < 70
    assert kinds["sandal"] + kinds["shirt"] == 100
    assert 60 < Counter(drawn["kind"].to_pylist()[:100])["boot"] < 95  # shuffled
    boots = drawn.filter(pc.equal(drawn["kind"].cast(pa.string()), "boot"))
    assert abs(pc.mean(boots["size"]).as_py() - 6) < 0.5
    assert drawn.equals(again)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"knid": {"boot": 0.5}}, r"'knid' is not a modelled column of .*; did you mean 'kind'\?"),
        ({"kind": {"hat": 0.5}}, "'kind' never has the value 'hat'"),
        ({"kind": {"boot": 0.7, "shirt": 0.4}}, "shares of 'kind' are too large: expected a sum of at most 1, got 1.1"),
        ({"kind": {"boot": 1.5}}, "share of 'kind' is invalid: expected above 0 and at most 1, got boot: 1.5"),
        (
            {"kind": {"boot": 0.5}, "colour": {"red": 0.5}},
            "shares name several columns: expected one, got kind and colour",
        ),
    ],
)
def test_invalid_shares_are_rejected(
    shares: dict[str, dict[str, float]], message: str, shared_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(JobInvalid, match=message):
        sample(shop_job(shared_folder, tmp_path, UNCHECKED), rows=10, shares=shares, partition="a")

    assert not (tmp_path / "out").exists()


def test_largest_remainders_are_integers_with_the_given_sum() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        shares = rng.dirichlet(np.ones(4)).tolist()
        counts = largest_remainders(97, shares)
        assert sum(counts) == 97
        assert all(abs(count - 97 * share) < 1 for count, share in zip(counts, shares, strict=True))


ROWS = pa.RecordBatch.from_pydict(
    {"amount": [1.0, 2.0, None, 2.0, 5.0], "shop": ["north", "south", "north", "south", "south"]}
)


def test_missing_value_satisfies_order_and_rejected_row_takes_no_unique_value() -> None:
    train = pa.table({"amount": [2.0, 5.0, None], "shop": ["south", "south", "north"]})
    order = ConstraintFilter([Constraint(low="amount", high="amount", strict=True)], encoding().schema, None)
    both = [Constraint(unique=("shop",)), Constraint(combination=("amount", "shop"))]
    rules = ConstraintFilter(both, encoding().schema, train)

    assert order.filter(ROWS)["amount"].to_pylist() == [None]
    assert rules.filter(ROWS).to_pylist() == [{"amount": 2.0, "shop": "south"}, {"amount": None, "shop": "north"}]
    assert rules.rejected == {"combination of amount, shop": 1, "unique shop": 2}


MOMENTS = (
    pa.date32(),
    pa.date64(),
    *(pa.timestamp(unit, tz=zone) for unit in ("s", "us", "ns") for zone in (None, "UTC")),
)
NUMBERS = (pa.int8(), pa.uint64(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(20, 2))
OTHERS = (pa.time32("s"), pa.time64("ns"), pa.duration("s"), pa.duration("ns"), pa.string(), pa.bool_())


@pytest.mark.parametrize("low", (*MOMENTS, *NUMBERS, *OTHERS), ids=str)
def test_order_of_any_two_types_is_filtered_or_refused(low: pa.DataType) -> None:
    group = next((kinds for kinds in (MOMENTS, NUMBERS, OTHERS[:2], OTHERS[2:4]) if low in kinds), ())
    constraint = Constraint(low="a", high="b", strict=True)
    for high in (*MOMENTS, *NUMBERS, *OTHERS):
        fields = {"a": low, "b": high}
        names = [Column(name=name, kind="number", type=str(kind), why="") for name, kind in fields.items()]
        schema = Schema.of(names, pa.schema(list(fields.items())))
        if high not in group:
            with pytest.raises(JobInvalid, match="cannot be ordered"):
                validate_constraints([constraint], Encoding(schema=schema))
            continue
        validate_constraints([constraint], Encoding(schema=schema))
        days = pa.array([1, 1, None, 3]), pa.array([2, 1, 2, 1])
        scale = 86_400 if low in MOMENTS else 1
        made = []
        for values, kind in zip(days, (low, high), strict=True):
            if low in MOMENTS:
                values = pc.multiply(values, scale).cast(pa.timestamp("s"))
                zone = kind.tz if pa.types.is_timestamp(kind) else None
                values = pc.assume_timezone(values, zone) if zone else values
            elif pa.types.is_duration(kind):
                values = values.cast(pa.duration("s"))
            else:
                values = values.cast(pa.int32())
                values = values.cast(pa.time32("s")) if pa.types.is_time(kind) else values
            made.append(values.cast(kind))
        batch = pa.RecordBatch.from_arrays(made, names=["a", "b"])
        kept = ConstraintFilter([constraint], schema, None).filter(batch)
        assert kept.num_rows == 2, f"{low} and {high}"


def test_time_without_a_zone_is_read_in_the_zone_of_the_other() -> None:
    naive = pa.array([datetime(2026, 1, 1, 12)], pa.timestamp("us"))
    zoned = pc.assume_timezone(pa.array([datetime(2026, 1, 1, 13)], pa.timestamp("us")), "America/New_York")
    batch = pa.RecordBatch.from_arrays([naive, zoned], names=["a", "b"])
    schema = encoding().schema

    kept = ConstraintFilter([Constraint(low="a", high="b")], schema, None).filter(batch)
    turned = ConstraintFilter([Constraint(low="b", high="a")], schema, None).filter(batch)

    assert (kept.num_rows, turned.num_rows) == (1, 0)  # in UTC the second would be 18:00 either way


def test_invalid_columns_of_constraints_are_rejected_together() -> None:
    wrong = [
        Constraint(low="amount", high="shop"),
        Constraint(combination=("shop", "amuont")),
        Constraint(unique=("nothing",)),
    ]

    with pytest.raises(JobInvalid) as error:
        validate_constraints(wrong, encoding())

    assert error.value.faults == (
        "amount <= shop: 'amount' (double) and 'shop' (string) cannot be ordered: expected two numbers, two durations, "
        "two dates or timestamps, or two times of day",
        "combination of shop, amuont: the model has no column 'amuont'; did you mean 'amount'?",
        "unique nothing: the model has no column 'nothing': expected one of amount, shop, id",
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"low": "a"}, "an order needs both low and high"),
        ({}, "a constraint takes exactly one of low with high, combination, or unique"),
        ({"combination": ["a"]}, "combination is too short: expected at least 2 columns, got 1"),
        ({"unique": ["a"], "strict": True}, "strict requires low and high"),
    ],
)
def test_incomplete_or_ambiguous_constraint_is_rejected(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Constraint.model_validate(keys)
