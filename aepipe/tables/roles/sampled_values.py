"""Values of sampled columns as arrays, and the words of their names."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.tables.arrow_arrays import nulls_of, plain_values, values_of
from aepipe.tables.arrow_types import sort_of

Values = NDArray[np.float64]


def joined(columns: Sequence[pa.ChunkedArray]) -> pa.Array:
    """Return the values of the columns, one after the other, in their plain type."""
    arrays = [plain_values(chunk) for column in columns for chunk in column.chunks]
    return pa.concat_arrays(arrays) if arrays else pa.nulls(0)


def numbers_of(column: pa.ChunkedArray) -> Values:
    """Return the finite values of numbers or times in their order, float64 (n,); times in the unit of their type."""
    array = joined([column])
    if pt.is_null(array.type):
        return np.zeros(0)
    if sort_of(array.type) == "number" and not (pt.is_integer(array.type) or pt.is_duration(array.type)):
        array = array.cast(pa.float64())
    values, nulls = values_of(array), nulls_of(array)
    known = (values if nulls is None else values[~nulls]).astype(np.float64)
    return known[np.isfinite(known)]


def count_distinct(array: pa.Array | pa.ChunkedArray) -> int:
    """Count the distinct values, nulls aside; 0 for a type whose values Arrow cannot compare.

    >>> count_distinct(pa.array([1, 2, 2, None])), count_distinct(pa.nulls(3))
    (2, 0)
    """
    try:
        return len(array.drop_null().unique())
    except pa.ArrowNotImplementedError:
        return 0


def words_of(name: str) -> list[str]:
    """Split a name into lower-case words.

    >>> words_of("isFraud"), words_of("Order-ID"), words_of("user_id2")
    (['is', 'fraud'], ['order', 'id'], ['user', 'id2'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]
