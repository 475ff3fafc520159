"""Lists of items as sets of codes: presence, amounts, and decoding."""

import numpy as np
import pyarrow as pa
import pytest

from aepipe.encoding.items import ItemsCodec
from aepipe.errors import SchemaMismatch
from aepipe.layout import END, MISSING
from tests.support.columns import batch_of, one_column

BASKETS = [["tea", "milk"], ["milk"], ["bread", "milk", "tea"], ["bread"], []]
KIND = {"kind": "items"}


def codec_of(lists: pa.Array, **spec: object) -> ItemsCodec:
    (codec,) = one_column(lists, {**KIND, **spec}).codecs
    assert isinstance(codec, ItemsCodec)
    return codec


def test_codes_are_the_distinct_items_by_falling_frequency_then_the_end() -> None:
    codec = codec_of(pa.array(BASKETS * 2), length=3)
    features = codec.encode(pa.array([["tea", "milk", "tea", "rum"], [], ["bread"]]))
    longer = codec_of(pa.array(BASKETS * 2), length=1).encode(
        pa.array([["tea", "milk"], ["tea", "tea"], ["rum", "tea"]])
    )

    assert codec.catalogue == ("milk", "bread", "tea")
    milk, bread, tea = END + 1, END + 2, END + 3
    assert np.stack(features.codes, 1).tolist() == [[milk, tea, END], [END, END, END], [bread, END, END]]
    assert features.numbers[0].tolist() == [2, 0, 1]
    assert (features.unseen, features.cut) == (1, 0)
    assert (longer.unseen, longer.cut) == (1, 1)  # repeated and unknown items are ignored


@pytest.mark.parametrize(
    "lists",
    [
        pa.array(BASKETS * 4),
        pa.array([[7, 2**40], [7], [], [9, 7]] * 4, pa.list_(pa.int64())),
        pa.array([["a", "b"], None, ["b"]] * 4, pa.large_list(pa.string())),
        pa.array([["a", "b"], ["a", None]] * 4, pa.list_(pa.string())).slice(1),
    ],
)
def test_training_lists_survive_a_round_trip_as_sets(lists: pa.Array) -> None:
    encoding = one_column(lists, KIND | {"length": 3})

    decoded = encoding.decode(encoding.encode(batch_of(lists)).arrays).column(0)

    assert decoded.type == lists.type
    read = [None if each is None else {item for item in each if item is not None} for each in lists.to_pylist()]
    assert [None if each is None else set(each) for each in decoded.to_pylist()] == read


def test_thousands_of_items_have_codes_and_rare_ones_have_none() -> None:
    rng = np.random.default_rng(0)
    lists = pa.array([[f"item-{at}" for at in rng.choice(5_000, 40, replace=False)] for _ in range(600)])

    codec = codec_of(lists)

    assert len(codec.catalogue) > 4_000
    assert codec.length == 40
    assert len(codec_of(lists, catalogue=100).catalogue) == 100
    once = codec_of(pa.array([["a", "b"], ["a"], ["a", "c"]]))
    assert once.catalogue == ("a",)


def test_long_lists_are_cut_to_their_most_frequent_items_and_the_share_is_kept() -> None:
    codec = codec_of(pa.array(BASKETS * 2), length=2)

    assert codec.cut == pytest.approx(0.2)
    assert codec.read(["tea", "bread", "milk"]) == ["milk", "bread"]


def test_a_null_is_missing_and_invalid_unless_training_had_some() -> None:
    with_nulls, without = (one_column(pa.array([*BASKETS, last] * 2), KIND) for last in (None, ["tea"]))
    missing = batch_of(pa.array([None], pa.list_(pa.string())))

    known = with_nulls.encode(missing)
    assert known.invalid.tolist() == [0]
    assert known.arrays["cat"][0, 0] == MISSING
    assert without.describe_invalid(without.encode(missing).invalid) == "x is missing, and never was in training (1)"


def test_numbers_of_items_scale_by_their_logarithm() -> None:
    codec = codec_of(pa.array(BASKETS * 2))

    sizes = np.log1p([2, 1, 3, 1, 0])
    assert (codec.mean, codec.std) == (pytest.approx(sizes.mean(), abs=1e-6), pytest.approx(sizes.std(), abs=1e-6))


def test_other_columns_cannot_be_items() -> None:
    with pytest.raises(SchemaMismatch, match="cannot be items: expected lists of text or integers"):
        one_column(pa.array(["tea"]), KIND)
    with pytest.raises(SchemaMismatch, match="catalogue is an option of items"):
        one_column(pa.array(BASKETS), {"kind": "tags", "catalogue": 10})
