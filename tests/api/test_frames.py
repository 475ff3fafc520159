"""Tables that the Python interface accepts and refuses, in the types of many libraries."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aepipe.api.frames import FORMATS, in_format, like, to_arrow
from aepipe.errors import AepipeError, ArgumentInvalid, SchemaMismatch, TableInvalid

TABLE = pa.table({"a": [1.0, 2.0], "b": ["x", None]})


class Stream:
    """Stand-in for a DuckDB relation or a Polars frame."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


class Interchange:
    """Stand-in for other data frames."""

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> object:
        return TABLE.__dataframe__(nan_as_null, allow_copy)


class Lazy:
    def collect(self) -> pa.Table:
        return TABLE


ACCEPTED = {
    "table": lambda: TABLE,
    "batch": lambda: TABLE.to_batches()[0],
    "reader": lambda: TABLE.to_reader(),
    "pandas": lambda: TABLE.to_pandas(),
    "stream": Stream,
    "interchange": Interchange,
}
REFUSED = {
    "pandas series": (pd.Series([1.0], name="a"), "frame.iloc[[0]]"),
    "dict": ({"a": 1.0, "b": "x"}, "pandas.DataFrame([row])"),
    "list of dicts": ([{"a": 1.0}], "from_pylist"),
    "numpy array": (np.ones((2, 2)), "columns="),
    "path": (Path("rows.parquet"), "read_table"),
    "text": ("rows.parquet", "read_table"),
    "lazy frame": (Lazy(), ".collect()"),
    "none": (None, "Pass one"),
    "number": (5, "Pass one"),
    "class": (pd.DataFrame, "Pass one"),
    "arrow array of numbers": (pa.array([1, 2]), "Pass one"),
    "arrow chunked array": (pa.chunked_array([[1, 2]]), "Pass one"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_table_is_read_with_its_values(name: str) -> None:
    found = to_arrow(ACCEPTED[name]())

    assert found.to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize("how", ["stream", "table", "batch"])
def test_text_views_become_text_whose_rows_can_be_selected(how: str) -> None:
    views = TABLE.set_column(1, "b", TABLE["b"].cast(pa.string_view()))

    class Views:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return views.__arrow_c_stream__(requested_schema)

    found = to_arrow({"stream": Views(), "table": views, "batch": views.to_batches()[0]}[how])

    assert found.schema.field("b").type == pa.large_string()
    assert found.take([1, 0]).to_pydict() == {"a": [2.0, 1.0], "b": [None, "x"]}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_a_type_error_of_one_sentence_with_the_remedy(name: str) -> None:
    rows, remedy = REFUSED[name]

    with pytest.raises(TypeError, match="expected a pandas or Polars data frame") as caught:
        to_arrow(rows)

    assert isinstance(caught.value, AepipeError)
    assert remedy in str(caught.value)
    assert f"got a {type(rows).__name__}" in str(caught.value) or f"got an {type(rows).__name__}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_columns_of_a_frame_need_no_arrow_type() -> None:
    frame = TABLE.to_pandas().assign(mixed=[1, "one"])

    assert to_arrow(frame, ["a", "b"]).column_names == ["a", "b"]
    with pytest.raises(SchemaMismatch, match=r"has column 'mixed' with values of no common type .*: convert it$"):
        to_arrow(frame)


def test_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([[1.0, 2.0]], columns=["a", "a"])

    with pytest.raises(SchemaMismatch, match="has 2 columns 'a': rename all but one"):
        to_arrow(frame)


def test_pandas_types_survive_the_way_there_and_back() -> None:
    frame = pd.DataFrame({"whole": pd.array([1, None], "Int64"), "kind": pd.Categorical(["x", "y"])}, index=[5, 3])

    back = like(frame, to_arrow(frame), with_index=True)

    pd.testing.assert_frame_equal(back, frame)


def test_flags_with_nulls_still_filter() -> None:
    frame = like(pd.DataFrame(), pa.table({"is_anomaly": [True, None, False]}))

    assert frame[frame["is_anomaly"]].index.tolist() == [0]


def test_a_format_that_is_unknown_or_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "polars", None)

    with pytest.raises(ArgumentInvalid, match=f"format: expected {', '.join(FORMATS)}, got 'csv'"):
        in_format(TABLE, "csv")
    with pytest.raises(ArgumentInvalid, match=r'format: polars is not installed. Install it, or pass format="arrow"'):
        in_format(TABLE, "polars")


def test_polars_is_answered_by_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1.0, 2.0]})

    assert to_arrow(frame).column_names == ["a"]
    assert isinstance(like(frame, TABLE), polars.DataFrame)
    with pytest.raises(TableInvalid, match="expected"):
        to_arrow(frame["a"])


def test_a_duckdb_relation_is_a_table() -> None:
    duckdb = pytest.importorskip("duckdb")

    assert to_arrow(duckdb.sql("select 1.5 as a")).to_pydict() == {"a": [1.5]}


def test_refusals_do_not_depend_on_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("sys").modules, "pandas")

    with pytest.raises(TableInvalid, match="rows are not a table"):
        to_arrow({"a": 1})
