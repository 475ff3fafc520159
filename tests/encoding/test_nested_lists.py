import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.encoding.nested_lists import flat

flat_rows = st.lists(st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=4)), max_size=8)
rows_of_rows = st.lists(st.one_of(st.none(), st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3)), max_size=8)


@pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.large_list(pa.uint8())])
@settings(max_examples=50)
@given(rows=flat_rows, first=st.integers(0, 8))
def test_each_row_is_its_own_run_of_the_values(kind: pa.DataType, rows: list[list[int] | None], first: int) -> None:
    lists = flat(pa.array(rows, kind).slice(first))

    runs = [lists.values.slice(start, end - start) for start, end in zip(lists.starts, lists.ends, strict=True)]
    found = [None if null else run.to_pylist() for run, null in zip(runs, lists.nulls, strict=True)]
    assert found == rows[first:]


@settings(max_examples=50)
@given(rows=rows_of_rows, first=st.integers(0, 8))
def test_nested_rows_are_laid_end_to_end(rows: list[list[list[int]] | None], first: int) -> None:
    lists = flat(pa.array(rows, pa.list_(pa.large_list(pa.int16()))).slice(first))

    runs = [lists.values.slice(start, end - start) for start, end in zip(lists.starts, lists.ends, strict=True)]
    expected = [[value for run in row or [] for value in run] for row in rows[first:]]
    assert [run.to_pylist() for run in runs] == expected


def test_fixed_size_lists_know_their_offsets() -> None:
    array = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]], None], pa.list_(pa.list_(pa.int8(), 2), 2))

    lists = flat(array.slice(1))

    assert lists.values.slice(lists.starts[0], 4).to_pylist() == [5, 6, 7, 8]
    assert lists.nulls.tolist() == [False, True]
