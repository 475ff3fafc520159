"""Lists, nested or not, as one run of values and where each row's begin and end."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from aepipe.arrow_arrays import nulls_of, plain_values, values_of


class FlatLists(NamedTuple):
    """Row i holds `values[starts[i]:ends[i]]`, all levels of nesting laid end to end."""

    values: pa.Array
    starts: np.ndarray
    ends: np.ndarray
    nulls: np.ndarray


def flat(array: pa.Array) -> FlatLists:
    """The rows of a list array of any layout, slices and offsets taken care of."""
    array = _plain_lists(array)
    nulls = nulls_of(array)
    nulls = np.zeros(len(array), np.bool_) if nulls is None else nulls
    starts = np.arange(len(array), dtype=np.int64)
    ends = starts + 1
    while pt.is_list(array.type) or pt.is_large_list(array.type) or pt.is_fixed_size_list(array.type):
        array, starts, ends = _one_level(array, starts, ends)
    return FlatLists(plain_values(array), starts, ends, nulls)


def _plain_lists(array: pa.Array) -> pa.Array:
    if isinstance(array.type, pa.BaseExtensionType):
        return array.storage
    return array.cast(pa.list_(pa.float64())) if pt.is_null(array.type) else array


def _one_level(array: pa.Array, starts: np.ndarray, ends: np.ndarray) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    if pt.is_fixed_size_list(array.type):
        size, first = array.type.list_size, array.offset
        return array.values, (starts + first) * size, (ends + first) * size
    # `offsets` knows of the array's own offset, `values` are the whole run
    offsets = values_of(array.offsets).astype(np.int64)
    return array.values, offsets[starts], offsets[ends]
