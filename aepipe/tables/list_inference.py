"""Infer whether a column of lists holds vectors of one length or windows of a time series."""

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from aepipe.tables.arrow_types import innermost, list_depth, plain, sort_of
from aepipe.tables.schema import Column

REMEDY = 'name it under [columns] as "key", "label" or "ignore"'
_NAME = "name it series"
_MOST_EMPTY = 0.1
"""Share of invalid rows that quarantines a partition by default."""
_FEWEST_STEPS = 8
_EXAMPLE = '{kind = "image", shape = [1, 28, 28]}'


class ListsRefused(Exception):
    """Fault of a column of lists; the message continues the name of the column."""


class ListKind(NamedTuple):
    """Kind of a column of lists, the rule that chose it, and the shape if it is known before training."""

    kind: Literal["vector", "series"]
    why: str
    shape: tuple[int, ...] | None = None


def kind_of_lists(
    kind: pa.DataType,
    values: pa.ChunkedArray | None,
    *,
    asked: Literal["vector", "series"] | None,
    shape: tuple[int, ...] | None,
) -> ListKind:
    """Infer the kind of a column of lists: vectors if all have one length or are empty, else windows.

    Args:
        kind: Arrow type of the column.
        values: sampled rows; None for none.
        asked: kind named in the job; None for none.
        shape: shape given in the job; None for none.

    Raises:
        ListsRefused: the column cannot be modelled.
    """
    kind = plain(kind)
    depth = list_depth(kind)
    if sort_of(innermost(kind)) != "number" or not 1 <= depth <= 2 or (depth == 2 and asked == "vector"):
        wanted = "series" if asked == "series" else "vector"
        raise ListsRefused(f"which is not a {wanted} of numbers: {REMEDY}")
    if asked == "series":
        return ListKind("series", "named in the job", _checked_shape(kind, shape))
    if depth == 2:
        return ListKind("series", f"{_found(kind, values)}: windows of a time series; an image needs {_EXAMPLE}")
    if pt.is_fixed_size_list(kind):
        return ListKind("vector", f"lists of {kind.list_size} numbers", (kind.list_size,))
    if shape is not None and len(shape) == 1:
        return ListKind("vector", "the job gives its length", shape)
    lengths = _lengths(values)
    if len(lengths) > 1 and lengths[0] == 0:  # a missing vector is often written as an empty list
        lengths = lengths[1:]
    if not lengths or lengths[-1] == 0 or (len(lengths) > 1 and asked == "vector"):
        found = f"lists of {lengths[0]} to {lengths[-1]} numbers" if lengths else "lists of unknown length"
        raise ListsRefused(f"{found}, which are not vectors: give all the same length, or {REMEDY}")
    if len(lengths) > 1:
        return ListKind("series", f"{_found(kind, values)}: windows of a time series")
    rows = len(values or ())
    why = f"lists of {lengths[0]} numbers in {rows:,} sampled rows; an image needs its shape in the job"
    return ListKind("vector", why, (lengths[0],))


def _checked_shape(kind: pa.DataType, shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the [steps, channels] of the job if they agree with the type."""
    if shape is None:
        return None
    if len(shape) != 2 or min(shape) < 1:
        raise ListsRefused(f"whose shape is invalid: expected [steps, channels], got {list(shape)}: correct the shape")
    steps = kind.list_size if pt.is_fixed_size_list(kind) else shape[0]
    inner = kind.value_type
    channels = 1 if sort_of(inner) != "list" else inner.list_size if pt.is_fixed_size_list(inner) else shape[1]
    if (steps, channels) != shape:
        raise ListsRefused(f"windows of {steps} x {channels}, but the job's shape is {list(shape)}: correct the shape")
    return shape


def _found(kind: pa.DataType, values: pa.ChunkedArray | None) -> str:
    lengths = _lengths(values)
    span = (
        " to ".join(str(length) for length in dict.fromkeys((lengths[0], lengths[-1]))) if lengths else "any number of"
    )
    what = "numbers"
    if list_depth(kind) == 2:
        inner = kind.value_type
        what = f"lists of {inner.list_size} numbers" if pt.is_fixed_size_list(inner) else "lists of numbers"
    return f"lists of {span} {what}" + (f" in {len(values):,} sampled rows" if values is not None else "")


def _lengths(values: pa.ChunkedArray | None) -> list[int]:
    """Return the distinct lengths of the lists, sorted; nulls are skipped."""
    return [] if values is None else sorted(pc.unique(pc.list_value_length(values).drop_null()).to_pylist())


def without_baskets(columns: list[Column], arrow: pa.Schema, sample: pa.Table | None) -> list[Column]:
    """Ignore lists in a table with other columns that hardly are windows of a series.

    As windows they would be modelled alone, without the other columns.
    """
    others = [column for column in columns if column.kind not in ("series", "key", "label", "ignore")]
    kept = []
    for column in columns:
        if others and column.kind == "series" and (why := _why_no_window(arrow.field(column.name), sample)):
            kind = arrow.field(column.name).type
            remedy = "name it items, or series" if may_be_items(kind) else _NAME
            why = f"{why}; as windows of a series they would be modelled alone: {remedy}"
            column = column.model_copy(update={"kind": "ignore", "why": why})
        kept.append(column)
    return kept


def may_be_items(kind: pa.DataType) -> bool:
    """Return True for lists of integers, which may be the items of a row."""
    return list_depth(kind) == 1 and pt.is_integer(innermost(kind))


def _why_no_window(field: pa.Field, sample: pa.Table | None) -> str:
    """Return why lists of numbers are hardly windows of a series; empty if they may be."""
    if pt.is_integer(innermost(field.type)):
        return "lists of integers, often sets of codes"
    if sample is None or not len(sample) or sample.schema.names.count(field.name) != 1:
        return ""
    lengths = pc.fill_null(pc.list_value_length(sample[field.name]), 0).to_numpy()
    empty = float(np.mean(lengths == 0))
    if empty > _MOST_EMPTY:
        return f"{empty:.0%} of its lists are empty or missing, and a window needs a value"
    shortest = float(np.median(lengths))
    return f"lists of {shortest:.0f} numbers in the median" if shortest < _FEWEST_STEPS else ""
