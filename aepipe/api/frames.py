"""Tables that the Python interface accepts, and answers in the type of the question."""

import importlib
import sys
from collections.abc import Collection, Iterator
from typing import Any, TypeVar, cast

import pyarrow as pa

from aepipe.errors import ArgumentInvalid, SchemaMismatch, TableInvalid
from aepipe.tables.arrow_arrays import schema_without_views

Frame = TypeVar("Frame")
"""A pandas or Polars data frame, or anything that Arrow reads as a table; other types than these two return Arrow."""

_NO_COMMON_TYPE = (pa.ArrowException, TypeError, ValueError, OverflowError)

FORMATS = ("pandas", "arrow", "polars")
_ACCEPTED = (
    "a pandas or Polars data frame, a pyarrow Table or RecordBatch, or an object with __arrow_c_stream__ or "
    "__dataframe__, such as a DuckDB relation"
)


def to_arrow(rows: object, columns: Collection[str] | None = None) -> pa.Table:
    """Return rows as an Arrow table.

    Args:
        rows: data frame, or any object that exports Arrow data or the dataframe interchange protocol.
        columns: columns that are needed; others of a pandas frame are not converted. None: all.

    Raises:
        TableInvalid: `rows` is not a table.
        SchemaMismatch: a pandas column holds values that Arrow has no type for, or a name is used twice.
    """
    if isinstance(rows, pa.Table):
        return _without_views(rows)
    if isinstance(rows, pa.RecordBatch):
        return _without_views(pa.Table.from_batches([rows]))
    if _is_frame_of("pandas", rows):
        return _from_pandas(cast(Any, rows), columns)
    try:
        if _exports(rows, "__arrow_c_stream__"):
            return _without_views(pa.table(rows))
        if _exports(rows, "__arrow_c_array__"):
            return _without_views(pa.Table.from_batches([pa.record_batch(rows)]))
        if _exports(rows, "__dataframe__"):
            from pyarrow.interchange import from_dataframe

            return from_dataframe(rows)
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError, RuntimeError):
        raise TableInvalid(_refusal(rows)) from None
    raise TableInvalid(_refusal(rows))


def like(rows: Frame, answer: pa.Table, *, with_index: bool = False) -> Frame:
    """Convert an answer to the type of `rows`: pandas, Polars, otherwise Arrow.

    with_index: the answer has one row per row of a pandas frame, and takes its index.
    """
    if _is_frame_of("pandas", rows):
        frame = to_pandas(answer)
        if with_index:
            frame.index = cast(Any, rows).index
        return cast(Frame, frame)
    if _is_frame_of("polars", rows):
        return cast(Frame, sys.modules["polars"].from_arrow(answer))
    return cast(Frame, answer)


def in_format(answer: pa.Table, name: str) -> Any:
    """Convert an answer to the format of this name, one of `FORMATS`; Arrow needs no other package.

    Raises:
        ArgumentInvalid: There is no such format, or its package is not installed.
    """
    if name not in FORMATS:
        raise ArgumentInvalid("format", [f"expected {', '.join(FORMATS)}, got {name!r}"])
    try:
        if name == "pandas":
            return to_pandas(answer)
        if name == "polars":
            return importlib.import_module("polars").from_arrow(answer)
    except ModuleNotFoundError:
        raise ArgumentInvalid(
            "format", [f'{name} is not installed. Install it, or pass format="arrow" for a pyarrow Table']
        ) from None
    return answer


def to_pandas(answer: pa.Table) -> Any:
    """Return the table in pandas; flags with nulls become the nullable type "boolean", so that they still filter."""
    frame = answer.to_pandas()
    for name in answer.column_names:
        column = answer.column(name)
        if column.type == pa.bool_() and column.null_count and name == "is_anomaly":
            frame[name] = frame[name].astype("boolean")
    return frame


def _is_frame_of(package: str, rows: object) -> bool:
    """Return True for a data frame of a package; one that was never imported has made no frame."""
    module = sys.modules.get(package)
    return module is not None and isinstance(rows, getattr(module, "DataFrame", ()))


def _exports(rows: object, method: str) -> bool:
    return not isinstance(rows, type) and callable(getattr(rows, method, None))


def _without_views(table: pa.Table) -> pa.Table:
    """Cast text and bytes that are stored as views, as Polars exports them: Arrow cannot select rows of those."""
    schema = table.schema
    plain = schema_without_views(schema, large=True)
    return table if plain is schema else table.cast(plain)


def _from_pandas(frame: Any, columns: Collection[str] | None) -> pa.Table:
    if columns is not None:
        frame = frame.loc[:, [str(name) in columns for name in frame.columns]]
    names = [str(name) for name in frame.columns]
    faults = [
        f"has {names.count(name)} columns '{name}': rename all but one"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if not faults:
        try:
            return pa.Table.from_pandas(frame, preserve_index=False)
        except _NO_COMMON_TYPE:
            faults += _mixed_columns(frame, names)
    raise SchemaMismatch("the table", faults)


def _mixed_columns(frame: Any, names: list[str]) -> Iterator[str]:
    """Describe each column that Arrow has no type for."""
    for place, name in enumerate(names):
        try:
            pa.Array.from_pandas(frame.iloc[:, place])
        except _NO_COMMON_TYPE as error:
            text = str(error.args[0] if error.args else error) or type(error).__name__
            yield f"has column '{name}' with values of no common type ({text.splitlines()[0]}): convert it"


def _refusal(rows: object) -> str:
    kind = type(rows).__name__
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    return f"rows are not a table: expected {_ACCEPTED}, got {article} {kind}. {_remedy(rows, kind)}"


def _remedy(rows: object, kind: str) -> str:
    """Return how to make a table of what was passed."""
    if kind == "Series":
        return "Keep the row or column a table: frame.iloc[[0]], frame.loc[[key]] or frame[[column]]."
    if isinstance(rows, dict):
        return "Pass pandas.DataFrame([row]) for one row, or pyarrow.table(columns)."
    if isinstance(rows, list | tuple):
        return "Pass pandas.DataFrame(rows) or pyarrow.Table.from_pylist(rows)."
    if kind == "ndarray":
        return "Name the columns: pandas.DataFrame(array, columns=[...])."
    if isinstance(rows, str) or hasattr(rows, "__fspath__"):
        return "Read the file, such as with pyarrow.parquet.read_table(path), or run `aepipe score` on its folder."
    if callable(getattr(rows, "collect", None)):
        return "Call .collect() first."
    return "Pass one of them."
