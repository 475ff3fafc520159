import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.tables.arrow_types import carries, plain, sort_of

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
ALL: list[Any] = [
    *INTEGERS,
    *(pa.float16(), pa.float32(), pa.float64(), pa.decimal128(5, 2), pa.decimal256(60, 9), pa.duration("s")),
    *(pa.bool_(), pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())),
    *(pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns", tz="UTC"), pa.time32("ms"), pa.time64("ns")),
    *(pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3), pa.null(), pa.list_(pa.float32())),
    *(
        pa.list_(pa.uint8(), 4),
        pa.large_list(pa.string()),
        pa.struct([("a", pa.int8())]),
        pa.map_(pa.string(), pa.int8()),
    ),
    *(pa.month_day_nano_interval(), pa.run_end_encoded(pa.int32(), pa.string()), pa.uuid(), pa.list_view(pa.int8())),
]


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_every_type_carries_itself_and_takes_nulls_and_has_a_sort(kind: pa.DataType) -> None:
    assert carries(kind, kind)
    assert carries(pa.null(), kind)
    assert plain(plain(kind)) == plain(kind)
    assert sort_of(kind) == sort_of(plain(kind))


@pytest.mark.parametrize(("found", "wanted"), list(itertools.product(INTEGERS, INTEGERS)), ids=str)
def test_integers_carry_where_numpy_casts_them_safely(found: pa.DataType, wanted: pa.DataType) -> None:
    assert carries(found, wanted) == np.can_cast(str(found), str(wanted), "safe")


@pytest.mark.parametrize(("found", "wanted"), list(itertools.permutations(["float16", "float32", "float64"], 2)))
def test_floats_carry_where_numpy_casts_them_safely(found: str, wanted: str) -> None:
    one, other = (getattr(pa, name)() for name in (found, wanted))

    assert carries(one, other) == np.can_cast(found, wanted, "safe")


@pytest.mark.parametrize("found", INTEGERS, ids=str)
def test_integers_are_welcome_where_floats_are_wanted_and_not_the_other_way(found: pa.DataType) -> None:
    assert carries(found, pa.float32())
    assert not carries(pa.float32(), found)


@settings(max_examples=100)
@given(*[st.tuples(st.integers(1, 38), st.integers(0, 10)).filter(lambda one: one[1] <= one[0])] * 2)
def test_a_decimal_carries_where_its_greatest_value_fits(found: tuple[int, int], wanted: tuple[int, int]) -> None:
    digits = [(precision - scale, scale) for precision, scale in (found, wanted)]

    fits = digits[0][0] <= digits[1][0] and digits[0][1] <= digits[1][1]

    assert carries(pa.decimal128(*found), pa.decimal128(*wanted)) == fits


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (pa.large_string(), pa.dictionary(pa.int8(), pa.string())),
        (pa.string_view(), pa.string()),
        (pa.dictionary(pa.int32(), pa.large_string()), pa.string()),
        (pa.binary(), pa.binary(8)),
        (pa.binary(8), pa.large_binary()),
        (pa.timestamp("ns"), pa.timestamp("s")),
        (pa.timestamp("ns", tz="UTC"), pa.timestamp("s", tz="Europe/Berlin")),
        (pa.date64(), pa.date32()),
        (pa.time32("s"), pa.time64("ns")),
        (pa.duration("s"), pa.duration("ns")),
        (pa.list_(pa.int8()), pa.list_(pa.float32(), 4)),
        (pa.large_list(pa.float32()), pa.list_(pa.float64())),
        (pa.decimal128(5, 2), pa.float64()),
        (pa.int64(), pa.decimal128(5, 2)),
    ],
    ids=str,
)  # fmt: skip
def test_other_layouts_and_units_of_the_same_values_carry(found: pa.DataType, wanted: pa.DataType) -> None:
    assert carries(found, wanted)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (pa.string(), pa.int64()),
        (pa.int64(), pa.string()),
        (pa.bool_(), pa.int8()),
        (pa.float32(), pa.int64()),
        (pa.timestamp("s"), pa.timestamp("s", tz="UTC")),
        (pa.date32(), pa.timestamp("s")),
        (pa.int64(), pa.timestamp("s")),
        (pa.int64(), pa.duration("s")),
        (pa.duration("s"), pa.float64()),
        (pa.decimal128(9, 2), pa.float32()),
        (pa.binary(4), pa.binary(8)),
        (pa.list_(pa.float32(), 3), pa.list_(pa.float32(), 4)),
        (pa.list_(pa.float32()), pa.list_(pa.int64())),
        (pa.string(), pa.binary()),
    ],
    ids=str,
)
def test_other_values_do_not_carry(found: pa.DataType, wanted: pa.DataType) -> None:
    assert not carries(found, wanted)
