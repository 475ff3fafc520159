"""Flatten list arrays, nested or not, to values and the start and end of each row."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from aepipe.tables.arrow_arrays import array_of, nulls_of, plain_values, values_of


class FlatLists(NamedTuple):
    """Flattened lists: row i holds `values[starts[i]:ends[i]]`; starts and ends int64 (B,), nulls bool (B,)."""

    values: pa.Array
    starts: np.ndarray
    ends: np.ndarray
    nulls: np.ndarray


def flat(array: pa.Array) -> FlatLists:
    """Flatten all levels of a list array of any layout."""
    array = _plain_lists(array)
    nulls = _nulls(array)
    starts = np.arange(len(array), dtype=np.int64)
    ends = starts + 1
    while is_lists(array):
        array, starts, ends = _one_level(array, starts, ends)
    return FlatLists(plain_values(array), starts, ends, nulls)


def outermost(array: pa.Array) -> FlatLists:
    """Flatten one level of a list array; `values` may be lists and holds the values of these rows only."""
    array = _plain_lists(array)
    starts = np.arange(len(array), dtype=np.int64)
    values, starts, ends = _one_level(array, starts, starts + 1)
    first, last = (int(starts.min()), int(ends.max())) if len(starts) else (0, 0)
    return FlatLists(values.slice(first, last - first), starts - first, ends - first, _nulls(array))


def members_of(lists: FlatLists) -> tuple[np.ndarray, pa.Array]:
    """Return the row of each member of each list, int64, and the members in their plain type, in order of the lists."""
    sizes = lists.ends - lists.starts
    before = np.cumsum(sizes) - sizes
    positions = np.arange(int(sizes.sum())) + np.repeat(lists.starts - before, sizes)
    return np.repeat(np.arange(len(sizes)), sizes), plain_values(lists.values).take(array_of(positions, pa.int64()))


def is_lists(array: pa.Array) -> bool:
    """Return True if the array holds lists."""
    kind = array.type
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def _nulls(array: pa.Array) -> np.ndarray:
    nulls = nulls_of(array)
    return np.zeros(len(array), np.bool_) if nulls is None else nulls


def _plain_lists(array: pa.Array) -> pa.Array:
    if isinstance(array.type, pa.BaseExtensionType):
        return array.storage
    return array.cast(pa.list_(pa.float64())) if pt.is_null(array.type) else array


def _one_level(array: pa.Array, starts: np.ndarray, ends: np.ndarray) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    array = _plain_lists(array)
    if pt.is_fixed_size_list(array.type):
        size, first = array.type.list_size, array.offset
        return array.values, (starts + first) * size, (ends + first) * size
    # `offsets` includes the array's own offset, `values` does not
    offsets = values_of(array.offsets).astype(np.int64)
    return array.values, offsets[starts], offsets[ends]
