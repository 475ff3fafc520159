"""Type of a column of text that all its values have, found block by block."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aepipe.tables.arrow_arrays import texts_of, values_of
from aepipe.tables.text_values import ISO, PLAIN_NUMBER, parse_moments, parse_numbers, parse_texts

NULL_WORDS = ("", "NULL", "null", "None", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", r"\N")
"""Words for a missing value in a column of numbers or dates; in text only an empty field is missing."""

_INTEGER = r"^[+-]?(0|[1-9][0-9]{0,18})$"
_NUMBER = r"^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_LONG = r"^[+-]?[0-9]{16,}$"
_BOOLEAN = r"^(true|false|True|False|TRUE|FALSE)$"


class ColumnType:
    """Narrowest type of a column: boolean, int64, float64, date, timestamp, or text if no other fits every value.

    Numbers with leading zeros and integers that float64 would round are text.
    """

    def __init__(self) -> None:
        self._possible = {"bool", "int64", "double", "date", "timestamp", "timestamp with zone"}
        self._is_empty = True

    def add(self, texts: pa.Array) -> None:
        """Exclude the types that a value of this block does not have."""
        values = _without_nulls(texts).drop_null()
        if not len(values):
            return
        self._is_empty = False
        if "bool" in self._possible and not _all_match(values, _BOOLEAN):
            self._possible.discard("bool")
        if "int64" in self._possible and not _are_integers(values):
            self._possible.discard("int64")
        if "double" in self._possible and not _are_numbers(values):
            self._possible.discard("double")
        if self._possible & {"date", "timestamp", "timestamp with zone"}:
            self._exclude_times(values)

    def _exclude_times(self, values: pa.Array) -> None:
        found = parse_moments(values, ISO)
        if not found.is_valid.all():
            self._possible -= {"date", "timestamp", "timestamp with zone"}
        if found.has_time.any():
            self._possible.discard("date")
        if found.has_zone.any():
            self._possible.discard("timestamp")
        if not found.has_zone.all():
            self._possible.discard("timestamp with zone")

    @property
    def type(self) -> pa.DataType:
        """Arrow type for all values seen so far; text without any."""
        types = {
            "bool": pa.bool_(),
            "int64": pa.int64(),
            "double": pa.float64(),
            "date": pa.date32(),
            "timestamp": pa.timestamp("us"),
            "timestamp with zone": pa.timestamp("us", "UTC"),
        }
        fitting = (kind for name, kind in types.items() if name in self._possible)
        return pa.string() if self._is_empty else next(fitting, pa.string())


def typed(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the values of a block in the type that `ColumnType` found."""
    if pa.types.is_string(kind):
        return texts
    values = _without_nulls(texts)
    if pa.types.is_boolean(kind):
        return pc.utf8_lower(values).cast(kind)
    if pa.types.is_integer(kind):
        return pc.replace_substring_regex(values, r"^\+", "").cast(kind)
    return parse_texts(values, kind, PLAIN_NUMBER if pa.types.is_floating(kind) else ISO)


def _without_nulls(texts: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(texts)
    is_null = pc.is_in(trimmed, value_set=texts_of(NULL_WORDS))
    return pc.if_else(is_null, pa.nulls(len(texts), pa.string()), trimmed)


def _all_match(values: pa.Array, pattern: str) -> bool:
    return bool(values_of(pc.match_substring_regex(values, pattern)).all())


def _are_integers(values: pa.Array) -> bool:
    if not _all_match(values, _INTEGER):
        return False
    try:
        pc.replace_substring_regex(values, r"^\+", "").cast(pa.int64())
    except pa.ArrowInvalid:  # beyond 64 bits
        return False
    return True


def _are_numbers(values: pa.Array) -> bool:
    long = values_of(pc.match_substring_regex(values, _LONG))
    if not _all_match(values, _NUMBER):
        return False
    numbers = values_of(parse_numbers(values, PLAIN_NUMBER))
    return bool(np.isfinite(numbers).all() and (np.abs(numbers[long]) < 2**53).all())
