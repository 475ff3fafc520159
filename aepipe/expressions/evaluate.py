"""Evaluation of row conditions, such as `diagnosis = 'benign' and (age >= 18 or income is null)`.

The language has comparisons (= == != <> < <= > >=), `in (...)`, `not in (...)`, `is null`, `is not null`, `and`, `or`,
`not`, parentheses, and boolean columns by themselves. Text and dates are in single quotes; column names that are not
plain words are in double quotes or backticks. Logic has three values, as in SQL: a comparison with a missing value
(null or NaN) selects no row, and neither does its negation.
"""

import datetime
import struct
from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from aepipe.errors import did_you_mean
from aepipe.expressions.parser import (
    All,
    Any,
    Column,
    Compare,
    Holds,
    In,
    IsNull,
    Literal,
    Node,
    Not,
    fault,
)

_COMPARE: dict[str, Callable[..., pa.Array]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_Values: TypeAlias = "pa.Array | pa.ChunkedArray"
_Rows: TypeAlias = "pa.Table | pa.RecordBatch"


class _Operand(NamedTuple):
    """Values and type of a column."""

    values: _Values
    type: pa.DataType


def evaluate_mask(node: Node, text: str, table: _Rows) -> pa.BooleanArray:
    """Evaluate a parsed condition: one boolean per row, False where it is unknown.

    Args:
        node: Tree of the condition.
        text: Text of the condition, for errors.
        table: Rows with the columns of the condition.

    Raises:
        OptionInvalid: A column is missing, or a literal does not fit its type.
    """
    mask = _evaluate(node, table, text)
    mask = pc.fill_null(mask, _one(False, pa.bool_()))
    return mask.combine_chunks() if isinstance(mask, pa.ChunkedArray) else mask


def _evaluate(node: Node, table: _Rows, text: str) -> _Values:
    match node:
        case All(parts):
            return reduce(pc.and_kleene, [_evaluate(part, table, text) for part in parts])
        case Any(parts):
            return reduce(pc.or_kleene, [_evaluate(part, table, text) for part in parts])
        case Not(inner):
            return pc.invert(_evaluate(inner, table, text))
        case IsNull(column):
            operand = _operand(column, table, text)
            return pc.is_null(operand.values, nan_is_null=pt.is_floating(operand.type))
        case Holds(column):
            operand = _operand(column, table, text)
            if not pt.is_boolean(operand.type):
                message = f"column '{column.name}' is {operand.type}, not true or false: compare it with a value"
                raise fault(text, column.at, message)
            return operand.values
        case In(column, values):
            operand = _operand(column, table, text)
            return reduce(pc.or_kleene, [_compared("=", column, operand, value, table, text) for value in values])
        case Compare(sign, left, right):
            return _compared(sign, left, _operand(left, table, text), right, table, text)


def _compared(
    sign: str, column: Column, operand: _Operand, right: Column | Literal, table: _Rows, text: str
) -> _Values:
    if isinstance(right, Column):
        other = _operand(right, table, text)
        try:
            return _COMPARE[sign](operand.values, other.values)
        except pa.ArrowException:
            message = f"'{column.name}' ({operand.type}) and '{right.name}' ({other.type}) cannot be compared"
            raise fault(text, right.at, message) from None
    if pt.is_null(operand.type):
        return operand.values.cast(pa.bool_())
    literal = _scalar(right, operand.type)
    if literal is None:
        raise fault(
            text, right.at, f"{right.written} cannot be compared with column '{column.name}', {_wanted(operand.type)}"
        )
    if literal.type != operand.type and pt.is_floating(literal.type):
        return _COMPARE[sign](operand.values.cast(literal.type, safe=False), literal)
    return _COMPARE[sign](operand.values, literal)


def _operand(column: Column, table: _Rows, text: str) -> _Operand:
    names = table.schema.names
    if names.count(column.name) != 1:
        raise fault(text, column.at, _unknown(column, names))
    values = table.column(column.name)
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        values, kind = values.cast(kind.storage_type), kind.storage_type
    if pt.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    plain = _PLAIN.get(kind, kind)
    if plain != kind:
        values = values.cast(plain)
    if pt.is_floating(plain):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, plain), values)
    return _Operand(values, plain)


_PLAIN = {
    pa.float16(): pa.float32(),
    pa.string_view(): pa.string(),
    pa.time32("s"): pa.time64("us"),
    pa.time32("ms"): pa.time64("us"),
}
"""Types that Arrow cannot compare, and the type that each is cast to."""


def _unknown(column: Column, names: list[str]) -> str:
    if column.name in names:
        return f"there are several columns '{column.name}'"
    hint = did_you_mean(column.name, names, listed=20)
    text = f" (put text in single quotes: '{column.name}')" if column.quoted else ""
    return f"no column '{column.name}'{text}{hint}"


def _wanted(kind: pa.DataType) -> str:
    if pt.is_string(kind) or pt.is_large_string(kind):
        return f"which is {kind}: write text, in single quotes"
    if pt.is_date(kind) or pt.is_timestamp(kind):
        return f"which is {kind}: write a date such as '2026-01-31'" + (
            " or '2026-01-31 23:59'" if pt.is_timestamp(kind) else ""
        )
    if pt.is_time(kind):
        return f"which is {kind}: write a time such as '23:59'"
    if pt.is_boolean(kind):
        return "which is boolean: write true or false"
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
        return f"which is {kind}: write a number"
    return f"which is {kind}: only 'is null' works on it"


def _scalar(literal: Literal, kind: pa.DataType) -> pa.Scalar | None:
    """Return the literal in a type that can be compared with the column; None if there is none."""
    value = literal.value
    try:
        if pt.is_boolean(kind):
            return _one(bool(value), pa.bool_()) if value in (0, 1) else None
        if isinstance(value, bool):
            return None
        if pt.is_string(kind) or pt.is_large_string(kind):
            return _text(value).cast(kind) if isinstance(value, str) else None
        if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
            return _number(literal.written.strip("'"), kind)
        return _moment(value, kind) if isinstance(value, str) else None
    except (ValueError, ArithmeticError, pa.ArrowException):
        return None


def _number(written: str, kind: pa.DataType) -> pa.Scalar:
    """Return a scalar of the column's own type if it fits, else float64."""
    exact = Decimal(written)
    if pt.is_floating(kind):
        return _one(float(exact), pa.float64()).cast(kind)
    try:
        if pt.is_integer(kind) and exact == exact.to_integral_value() and abs(exact) < 2**63:
            return _one(int(exact), pa.int64()).cast(kind)
        return pa.scalar(exact).cast(kind)
    except pa.ArrowException:
        return _one(float(exact), pa.float64())


def _one(value: float, kind: pa.DataType) -> pa.Scalar:
    """Return a scalar of a boolean, int64 or float64. `pa.scalar` imports pandas if it is installed."""
    packed = struct.pack("=?" if pt.is_boolean(kind) else "=q" if pt.is_integer(kind) else "=d", value)
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(packed)])[0]


def _text(value: str) -> pa.Scalar:
    content = value.encode()
    offsets = pa.py_buffer(struct.pack("=ii", 0, len(content)))
    return pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(content)])[0]


def _moment(written: str, kind: pa.DataType) -> pa.Scalar | None:
    if pt.is_date(kind):
        return pa.scalar(written).cast(kind)
    if pt.is_time(kind):
        return pa.scalar(datetime.time.fromisoformat(written), pa.time64("us"))
    if not pt.is_timestamp(kind):
        return None
    return _timestamp(written, kind)


def _timestamp(written: str, kind: pa.TimestampType) -> pa.Scalar:
    """Parse a timestamp; text without an offset is wall time in the column's zone."""
    for unit in dict.fromkeys((kind.unit, "us", "ns")):
        for read in (_wall_time, _with_offset):
            try:
                return read(pa.scalar(written), pa.timestamp(unit, tz=kind.tz))
            except pa.ArrowException:
                continue
    raise ValueError(written)


def _wall_time(written: pa.Scalar, kind: pa.TimestampType) -> pa.Scalar:
    naive = written.cast(pa.timestamp(kind.unit))
    return pc.assume_timezone(naive, kind.tz, ambiguous="earliest", nonexistent="earliest") if kind.tz else naive


def _with_offset(written: pa.Scalar, kind: pa.TimestampType) -> pa.Scalar:
    return written.cast(pa.timestamp(kind.unit, tz="UTC")).cast(kind)
