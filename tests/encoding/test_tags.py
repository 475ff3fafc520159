from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.encoding import fit
from aepipe.encoding.tags import MOST_MEMBERS, TagsCodec
from aepipe.layout import FIRST_VALUE, MISSING
from tests.support.columns import batch_of, encoding_of, one_column, schema_of

LISTS = st.lists(
    st.none() | st.lists(st.none() | st.sampled_from(["red", "green", "blue", ""]), max_size=5), min_size=1, max_size=30
)


def codec_of(lists: list[list[str | None] | None], kind: pa.DataType | None = None) -> TagsCodec:
    (codec,) = one_column(pa.array(lists, kind or pa.list_(pa.string())), "tags").codecs
    assert isinstance(codec, TagsCodec)
    return codec


@given(LISTS)
def test_members_are_those_of_at_least_two_rows_and_come_back_as_sets(lists: list[list[str | None] | None]) -> None:
    counts = Counter(member for each in lists for member in set(each or ()) if member is not None)
    array = pa.array(lists, pa.list_(pa.string()))
    encoding = one_column(array, "tags")
    codec = codec_of(lists)

    decoded = encoding.decode(encoding.encode(batch_of(array)).arrays)["x"].to_pylist()

    known = {member for member, count in counts.items() if count >= 2}
    assert set(codec.members) == known
    assert [None if each is None else set(each) for each in decoded] == [
        None if each is None else set(each) & known for each in lists
    ]


@given(LISTS, st.integers(0, 10), st.sampled_from([pa.list_(pa.string()), pa.large_list(pa.large_string())]))
def test_a_slice_of_any_layout_has_the_codes_of_plain_python(
    lists: list[list[str | None] | None], first: int, kind: pa.DataType
) -> None:
    codec = codec_of([["red", "green"], ["red", "green"], None])
    array = pa.array(lists, kind).slice(first)

    found = codec.encode(array)

    expected = [
        [MISSING] * 3
        if each is None
        else [
            FIRST_VALUE + (codec.members[0] in each),
            FIRST_VALUE + (codec.members[1] in each),
            FIRST_VALUE + min(3, sum(member not in (None, "red", "green") for member in each)),
        ]
        for each in lists[first:]
    ]
    assert np.stack(found.codes, axis=1).reshape(-1, 3).tolist() == expected
    others = [member for each in lists[first:] for member in each or () if member not in (None, "red", "green")]
    assert found.unseen == len(others)


def test_attributions_name_the_members() -> None:
    table = pa.table({"a": [1.0, 2.0], "x": [["red"], ["red", "red"]], "b": [1.0, 2.0]})
    encoding = encoding_of(table)

    assert [column.kind for column in encoding.schema.columns] == ["number", "tags", "number"]
    assert encoding.layout.columns == ("a", "x[red]", "x[other members]", "b")
    assert encoding.layout.sources == ("a", "x", "x", "b")
    assert [category.column for category in encoding.layout.categories] == [1, 2]
    assert [number.column for number in encoding.layout.numbers] == [0, 3]


def test_only_the_most_frequent_members_have_a_code() -> None:
    lists = [[f"m{index:03d}" for index in range(row % 100)] for row in range(1_000)]

    codec = codec_of(lists)

    assert codec.members == tuple(f"m{index:03d}" for index in range(MOST_MEMBERS))


def test_a_null_list_is_invalid_where_training_had_none() -> None:
    encoding = one_column(pa.array([["a"], ["a"]]), "tags")

    encoded = encoding.encode(batch_of(pa.array([None, ["a"]], pa.list_(pa.string()))))

    assert encoding.invalid_reasons[encoded.invalid[0]] == "x is missing, and never was in training"
    assert encoded.invalid[1] == 0


@pytest.mark.parametrize("as_codes", [False, True])
def test_tags_survive_json_and_both_encodings(as_codes: bool) -> None:
    table = pa.table({"x": [["a", "b"], [], None, ["a"]] * 3, "y": range(12)})
    encoding = fit(schema_of(table), table.to_batches(), as_codes=as_codes)

    again = type(encoding).model_validate_json(encoding.model_dump_json(by_alias=True))

    arrays = again.encode(table.to_batches()[0]).arrays
    assert again.decode(arrays)["x"].to_pylist() == [["a", "b"], [], None, ["a"]] * 3


def test_an_encoding_without_tags_has_the_json_it_had() -> None:
    encoding = one_column(pa.array([1.0, 2.0]))

    assert encoding.layout.source_columns == ()
    assert "tags" not in encoding.model_dump_json()


def test_a_row_says_which_members_it_has() -> None:
    codec = codec_of([["a"], ["a"]])

    assert [codec.read(["a", "z", None], name) for name in codec.columns] == ["yes", 1]
    assert codec.read(None, "x[a]") is None
