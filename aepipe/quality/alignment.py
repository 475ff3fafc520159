"""Align several tables: convert their rows to arrays of numbers and of codes that are shared by all tables."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.tables.arrow_arrays import nulls_of, plain_values, values_of
from aepipe.tables.arrow_types import plain, sort_of

MOST_OF_A_VECTOR = 32
MISSING = 0
"""Code of a missing value in a category."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns, in the order of the arrays."""

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    sizes: tuple[int, ...]
    """Number of codes per category, the missing value included."""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, numbers first."""
        return self.numbers + self.categories


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table: numbers (B, N) float64, NaN where missing, and codes (B, C) int32, 0 where missing."""

    numbers: NDArray[np.float64]
    codes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, indices: NDArray[np.int64] | slice) -> "Rows":
        """Select rows by index."""
        return Rows(self.numbers[indices], self.codes[indices])

    def subsample(self, count: int, generator: np.random.Generator) -> "Rows":
        """Sample rows without replacement, in their order."""
        return self.take(np.sort(generator.choice(len(self), count, replace=False)))


def align(tables: Sequence[pa.Table], categories: Collection[str] = ()) -> tuple[Columns, list[Rows]]:
    """Return the columns of the first table that are numbers or categories, and the rows of every table.

    Times and durations are numbers in their unit; text and booleans are categories. A vector contributes at most 32
    entries, evenly spaced, as numbers. Other lists, images and columns without a value are omitted.

    Args:
        tables: Tables with the same columns.
        categories: Columns that are categories although their type is a number, a time or binary.
    """
    tables = _without_vectors(tables)
    first = tables[0].schema
    sorts = {name: sort_of(plain(first.field(name).type)) for name in first.names}
    named = tuple(
        name
        for name, sort in sorts.items()
        if sort in ("text", "boolean") or (name in categories and sort in ("number", "time", "bytes"))
    )
    numbers = tuple(name for name, sort in sorts.items() if sort in ("number", "time") and name not in named)
    ends = np.cumsum([table.num_rows for table in tables])[:-1]
    width = sum(table.num_rows for table in tables)
    columns = []
    for name in numbers:
        arrays = [joined(table[name]) for table in tables]
        kind = arrays[0].type
        same = [array if array.type == kind else array.cast(kind, safe=False) for array in arrays]
        columns.append(np.concatenate([_floats(array) for array in same]))
    coded = [coded_together([joined(table[name]) for table in tables]) for name in named]
    values = np.stack(columns, axis=1) if columns else np.zeros((width, 0))
    codes = np.stack([codes for codes, _ in coded], axis=1) if coded else np.zeros((width, 0), np.int32)
    rows = [Rows(*parts) for parts in zip(np.split(values, ends), np.split(codes, ends), strict=True)]
    return Columns(numbers, named, tuple(size for _, size in coded)), rows


def joined(column: pa.ChunkedArray) -> pa.Array:
    """Concatenate the chunks of a column to one array of its plain type."""
    chunks = [plain_values(chunk) for chunk in column.chunks]
    return pa.concat_arrays(chunks) if chunks else pa.nulls(0, plain(column.type))


def coded_together(arrays: Sequence[pa.Array]) -> tuple[NDArray[np.int32], int]:
    """Encode arrays with one code per distinct value, 0 for missing; return the codes, concatenated, and their number.

    >>> coded_together([pa.array(["a", None]), pa.array(["b", "a"])])
    (array([1, 0, 2, 1], dtype=int32), 3)
    """
    kind = next((array.type for array in arrays if not pt.is_null(array.type)), pa.null())
    same = [array if array.type == kind else array.cast(kind, safe=False) for array in arrays]
    packed = pa.concat_arrays(same).dictionary_encode()
    codes = np.asarray(values_of(packed.indices), np.int32) + 1
    nulls = nulls_of(packed.indices)
    return codes if nulls is None else np.where(nulls, np.int32(MISSING), codes), len(packed.dictionary) + 1


def moments(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each column, (N,), over known values; 1 for a constant column."""
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, numbers, 0.0)
    exponents = np.frexp(np.abs(filled).max(axis=0, initial=0.0))[1]  # powers of two: the squares of 1e300 are finite
    scaled = np.ldexp(filled, -exponents)
    center = scaled.sum(axis=0) / count
    spread = np.ldexp(np.sqrt((np.where(known, scaled - center, 0.0) ** 2).sum(axis=0) / count), exponents)
    return np.ldexp(center, exponents), np.where(spread > 0, spread, 1.0)


def _without_vectors(tables: Sequence[pa.Table]) -> Sequence[pa.Table]:
    """Replace lists of one length by one column per entry, such as wave[0]; drop other lists."""
    names = [field.name for field in tables[0].schema if sort_of(field.type) == "list"]
    for name in names:
        entries = [_entries(joined(table[name])) for table in tables]
        tables = [table.drop_columns([name]) for table in tables]
        width = entries[0].shape[1]
        if sum(map(len, entries)) and all(side.shape[1] == width for side in entries if len(side)):
            for index in np.unique(np.linspace(0, width - 1, min(width, MOST_OF_A_VECTOR)).astype(int)):
                tables = [
                    table.append_column(f"{name}[{index}]", pa.array(side[:, index] if len(side) else np.zeros(0)))
                    for table, side in zip(tables, entries, strict=True)
                ]
    return tables


def _entries(lists: pa.Array) -> NDArray[np.float64]:
    """Return the values of lists of one length, (B, T), NaN for a missing list; (B, 0) for any other list."""
    lengths = pc.list_value_length(lists).drop_null().unique()
    if len(lengths) != 1 or sort_of(lists.type.value_type) != "number":
        return np.zeros((len(lists), 0))
    found = np.full((len(lists), lengths[0].as_py()), np.nan)
    known = np.asarray(lists.is_valid())
    found[known] = _floats(plain_values(lists.drop_null().flatten())).reshape(-1, found.shape[1])
    return found


def _floats(array: pa.Array) -> NDArray[np.float64]:
    if pt.is_decimal(array.type):
        array = array.cast(pa.float64())
    values = np.array(values_of(array), np.float64)
    nulls = nulls_of(array)
    if nulls is not None:
        values[nulls] = np.nan
    values[~np.isfinite(values)] = np.nan
    return values
