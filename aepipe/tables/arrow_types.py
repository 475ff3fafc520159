"""Arrow types: sorts, and which type can hold the values of another. Does not look at values."""

from typing import Literal

import pyarrow as pa
import pyarrow.types as pt

Sort = Literal["number", "boolean", "text", "time", "bytes", "list", "null", "other"]


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type without extension, dictionary, run-end, view or 64-bit offset layout.

    >>> plain(pa.dictionary(pa.int8(), pa.large_string())), plain(pa.large_list(pa.string_view()))
    (DataType(string), ListType(list<item: string>))
    """
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return plain(kind.value_type)
    if pt.is_large_string(kind) or pt.is_string_view(kind):
        return pa.string()
    if pt.is_large_binary(kind) or pt.is_binary_view(kind):
        return pa.binary()
    if pt.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_type), kind.list_size)
    if pt.is_list(kind) or pt.is_large_list(kind):
        return pa.list_(plain(kind.value_type))
    return kind


def sort_of(kind: pa.DataType) -> Sort:
    """Classify a type by its values.

    >>> sort_of(pa.decimal128(9, 2)), sort_of(pa.timestamp("ns", tz="UTC")), sort_of(pa.struct([]))
    ('number', 'time', 'other')
    """
    kind = plain(kind)
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind) or pt.is_duration(kind):
        return "number"
    if pt.is_boolean(kind):
        return "boolean"
    if pt.is_string(kind):
        return "text"
    if pt.is_date(kind) or pt.is_timestamp(kind) or pt.is_time(kind):
        return "time"
    if pt.is_binary(kind) or pt.is_fixed_size_binary(kind):
        return "bytes"
    if pt.is_list(kind) or pt.is_fixed_size_list(kind):
        return "list"
    return "null" if pt.is_null(kind) else "other"


def innermost(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values in nested lists; the type itself if it is not a list."""
    kind = plain(kind)
    return innermost(kind.value_type) if sort_of(kind) == "list" else kind


def list_depth(kind: pa.DataType) -> int:
    """Return how deep lists are nested: 0 for a type that is not a list.

    >>> list_depth(pa.float32()), list_depth(pa.list_(pa.list_(pa.float32())))
    (0, 2)
    """
    return 1 + list_depth(kind.value_type) if sort_of(kind) == "list" else 0


def carries(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Return True if data of type `found` can be read as `wanted`: the same values or narrower ones.

    float64 is accepted for integers: pandas writes integers as float64 as soon as one value is missing.

    >>> carries(pa.int32(), pa.float64()), carries(pa.float64(), pa.int32()), carries(pa.float32(), pa.int32())
    (True, True, False)
    """
    found, wanted = plain(found), plain(wanted)
    if found == wanted or pt.is_null(found):
        return True
    if sort_of(found) != sort_of(wanted):
        return False
    match sort_of(wanted):
        case "number":
            return _widens(found, wanted)
        case "time":
            if pt.is_timestamp(found) and pt.is_timestamp(wanted):
                return (found.tz is None) == (wanted.tz is None)
            return bool((pt.is_date(found) and pt.is_date(wanted)) or (pt.is_time(found) and pt.is_time(wanted)))
        case "bytes":
            return not (pt.is_fixed_size_binary(found) and pt.is_fixed_size_binary(wanted))
        case "list":
            fixed = pt.is_fixed_size_list(found) and pt.is_fixed_size_list(wanted)
            same = not fixed or found.list_size == wanted.list_size
            return same and carries(found.value_type, wanted.value_type)
        case _:
            return False


def _widens(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pt.is_duration(found) or pt.is_duration(wanted):
        return bool(pt.is_duration(found) and pt.is_duration(wanted))
    if pt.is_integer(found):
        if not pt.is_integer(wanted):
            return True
        signed = pt.is_signed_integer(found), pt.is_signed_integer(wanted)
        if signed == (False, True):
            return bool(found.bit_width < wanted.bit_width)
        return bool(signed[0] == signed[1] and found.bit_width <= wanted.bit_width)
    if pt.is_decimal(found):
        if pt.is_float64(wanted) or not pt.is_decimal(wanted):
            return bool(pt.is_float64(wanted))
        return bool(found.scale <= wanted.scale and found.precision - found.scale <= wanted.precision - wanted.scale)
    if pt.is_integer(wanted):
        return bool(pt.is_float64(found))
    return bool(pt.is_floating(wanted) and found.bit_width <= wanted.bit_width)
