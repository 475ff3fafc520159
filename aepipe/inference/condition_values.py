"""Check that training rows had the values that a condition asks for, before anything is generated."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from aepipe.bundles.bundle import Bundle
from aepipe.encoding.base import Codec
from aepipe.encoding.binned.category import TwoLevelCodes
from aepipe.encoding.binned.datetime import DatetimeCodes
from aepipe.encoding.binned.number import NumberCodes
from aepipe.encoding.category import CategoryCodec
from aepipe.encoding.number import NumberCodec
from aepipe.errors import JobInvalid, OptionInvalid, did_you_mean
from aepipe.expressions.condition import Condition, quote_name
from aepipe.expressions.parser import All, Column, Compare, In, IsNull, Literal, Node
from aepipe.expressions.parser import Any as Either
from aepipe.tables.arrow_arrays import array_of
from aepipe.tables.arrow_types import plain

_ONE_SIDED = {"<": 0, "<=": 0, ">": 1, ">=": 1}
"""Bound of the training range that has to satisfy a comparison: its minimum or its maximum."""


def refuse_unknown_values(bundle: Bundle, where: Condition, *, subject: str = "where") -> None:
    """Check that training rows had the values that a condition asks for, each by itself.

    Negated parts are not checked, nor are columns of kinds without a known set or range of values.

    Raises:
        JobInvalid: A category does not occur, a number or time lies outside the training range, or a column that is
            never missing is asked to be.
        OptionInvalid: A literal does not fit the type of its column.
    """
    encoding = bundle.encoding
    codecs = {codec.name: codec for codec in (*encoding.codecs, *encoding.given, *encoding.labels)}
    types = encoding.schema.arrow
    try:
        faults = [
            f"{fault} in the training rows of {bundle.version}{remedy}"
            for fault, remedy in _faults(where.node, codecs, types)
        ]
    except OptionInvalid:
        if where.columns <= set(types.names):
            where.mask(types.empty_table())  # raises with the text of the condition, not of the part that was checked
        raise
    if faults:
        raise JobInvalid(subject, list(dict.fromkeys(faults)))


def _faults(node: Node, codecs: dict[str, Any], types: pa.Schema) -> Iterator[tuple[str, str]]:
    match node:
        case All(parts) | Either(parts):
            for part in parts:
                yield from _faults(part, codecs, types)
        case Compare(sign, left, Literal() as literal) if left.name in codecs:
            yield from _faults_of_value(left, sign, literal, codecs[left.name], plain(types.field(left.name).type))
        case In(column, literals) if column.name in codecs:
            for literal in literals:
                codec, kind = codecs[column.name], plain(types.field(column.name).type)
                yield from _faults_of_value(column, "=", literal, codec, kind)
        case IsNull(column) if column.name in codecs:
            if not _may_be_missing(codecs[column.name]):
                yield f"'{column.name}' is never missing", ""


def _faults_of_value(
    column: Column, sign: str, literal: Literal, codec: Codec, kind: pa.DataType
) -> Iterator[tuple[str, str]]:
    values = _categories(codec)
    if values is not None:
        text = str(literal.value).lower() if isinstance(literal.value, bool) else str(literal.value)
        if sign == "=" and text not in values:
            yield f"'{column.name}' never has the value '{text}'", did_you_mean(text, values, listed=20)
        return
    bounds = _range(codec, kind)
    if bounds is None or sign == "!=":
        return
    row = pa.table({column.name: bounds})
    checks = [(sign, _ONE_SIDED[sign])] if sign in _ONE_SIDED else [("<=", 0), (">=", 1)]
    name = quote_name(column.name)
    if not all(Condition.parse(f"{name} {sign} {literal.written}").mask(row)[side].as_py() for sign, side in checks):
        low, high = bounds.to_pylist()
        yield f"'{column.name}' is never {sign} {literal.written}", f": expected a value from {low} to {high}"
        return
    if sign != "=" or not isinstance(codec, NumberCodes) or not codec.bins.is_exact:
        return
    known = np.unique(np.array(codec.bins.known))  # a column of few values has no others
    if isinstance(literal.value, int | float):
        value = float(literal.value)
        if not np.isclose(known.astype(np.float64), value, rtol=1e-6, atol=0).any():
            place = int(np.searchsorted(known, value))
            near = " or ".join(str(each) for each in known[max(place - 1, 0) : place + 1].tolist())
            yield f"'{column.name}' is never {literal.written}", f": expected a value such as {near}"


def _categories(codec: Codec) -> tuple[str, ...] | None:
    """Return the values of a category as text, the most frequent ones first.

    None for other columns, and for types that are not written as such.
    """
    whole = codec.whole if isinstance(codec, TwoLevelCodes) else codec
    if not isinstance(whole, CategoryCodec):
        return None
    kind = pa.type_for_alias(whole.type)
    is_text = pt.is_string(kind) or pt.is_large_string(kind) or pt.is_integer(kind) or pt.is_boolean(kind)
    return tuple(dict.fromkeys((*whole.values, *whole.rare))) if is_text else None


def _range(codec: Codec, kind: pa.DataType) -> pa.Array | None:
    """Return the least and the greatest training value in the column's type; None if they are not known."""
    match codec:
        case NumberCodes(bins=bins) if not bins.is_empty:
            ends = [min(bins.known), max(bins.known)]
        case NumberCodec(least=least, greatest=greatest) if least is not None and greatest is not None:
            ends = [least, greatest]
        case DatetimeCodes() if not codec.bins[0].is_empty:
            ends = [min((codec.least, *codec.moments)), max((codec.greatest, *codec.moments))]
            return array_of(np.array(ends, np.int64), kind, None)
        case _:
            return None
    if pt.is_duration(kind):
        return array_of(np.array(ends, np.int64), kind, None)
    return pa.array(ends).cast(kind, safe=False)


def _may_be_missing(codec: Codec) -> bool:
    whole = codec.whole if isinstance(codec, TwoLevelCodes) else codec
    match whole:
        case CategoryCodec() | NumberCodes() | DatetimeCodes():
            return whole.may_be_missing
        case NumberCodec():
            return any(number.may_be_missing for number in whole.numbers)
        case _:
            return True
