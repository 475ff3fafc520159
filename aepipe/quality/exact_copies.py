"""Exact copies: share of synthetic rows, and of held-out rows, that equal a training row in every column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.quality.alignment import coded_together, joined
from aepipe.quality.intervals import upper_bound
from aepipe.tables.arrow_arrays import bytes_of, nulls_of, values_of
from aepipe.tables.arrow_types import innermost, sort_of

LEVEL = 0.99
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Copies:
    """Shares of rows that equal a training row. bound: upper 99 % confidence bound of the share of held-out rows."""

    share: float
    held_out: float
    bound: float
    rows: int
    held_out_rows: int

    @property
    def is_within(self) -> bool:
        """True if synthetic rows are copies no more often than held-out rows are, up to chance."""
        return self.share <= self.bound


def copies(train: pa.Table, held_out: pa.Table, synthetic: pa.Table) -> Copies:
    """Count the rows of either side that equal a training row in the columns of `synthetic`; Clopper-Pearson bound."""
    learned, kept, drawn = row_codes([table.select(synthetic.column_names) for table in (train, held_out, synthetic)])
    hits = int(np.isin(kept, learned).sum())
    return Copies(
        share=float(np.isin(drawn, learned).mean()) if len(drawn) else 0.0,
        held_out=hits / max(len(kept), 1),
        bound=upper_bound(hits, len(kept), level=LEVEL),
        rows=len(drawn),
        held_out_rows=len(kept),
    )


def row_codes(tables: Sequence[pa.Table]) -> list[NDArray[np.int64]]:
    """Encode the rows of each table: equal codes for rows with equal values in all columns; missing equals missing."""
    ends = np.cumsum([table.num_rows for table in tables])[:-1]
    found = np.zeros(sum(table.num_rows for table in tables), np.int64)
    for name in tables[0].column_names:
        codes, size = coded_together([_comparable(joined(table[name])) for table in tables])
        _, found = np.unique(found * size + codes, return_inverse=True)
    return list(np.split(found.astype(np.int64), ends))


class RowSet:
    """Set of the rows of a table, to look up rows batch by batch; equal as in `row_codes`, up to a hash of 64 bits."""

    def __init__(self, rows: pa.Table) -> None:
        self._columns = {name: _ValueSet(_comparable(joined(rows[name]))) for name in rows.column_names}
        self._hashes = np.unique(self._hashed(rows)[0])

    def contains(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Return the mask of the rows that are in the set, (B,), by the columns that the set was built with."""
        hashes, is_known = self._hashed(rows)
        return is_known & np.isin(hashes, self._hashes)

    def _hashed(self, rows: pa.Table) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Return a hash per row, (B,), and the mask of the rows whose values are all in the set."""
        hashes, is_known = np.zeros(rows.num_rows, np.uint64), np.ones(rows.num_rows, np.bool_)
        for name, column in self._columns.items():
            codes = column.codes(_comparable(joined(rows[name])))
            is_known &= codes >= 0
            hashes = hashes * _ODD + codes.astype(np.uint64)
            hashes ^= hashes >> np.uint64(29)
        return hashes, is_known


class _ValueSet:
    """Distinct values of a column; numbers and times are sorted as bits, other values are looked up by Arrow."""

    def __init__(self, array: pa.Array) -> None:
        self._kind = array.type
        self._is_fixed = (pt.is_primitive(array.type) and not pt.is_boolean(array.type)) or pt.is_temporal(array.type)
        self._has_missing = array.null_count > 0
        known = array.drop_null()
        self._values = np.unique(_bits(known)) if self._is_fixed else known.unique()

    def codes(self, array: pa.Array) -> NDArray[np.int64]:
        """Return the place of each value plus 1, (B,); 0 for missing, -1 for a value that is not in the set."""
        array = array if array.type == self._kind else array.cast(self._kind, safe=False)
        nulls = nulls_of(array)
        if self._is_fixed and len(self._values):
            bits = _bits(array)
            at = np.minimum(np.searchsorted(self._values, bits), len(self._values) - 1)
            found = np.where(self._values[at] == bits, at + 1, -1)
        elif self._is_fixed:
            found = np.full(len(array), -1)
        else:
            found = np.asarray(pc.fill_null(pc.index_in(array, value_set=self._values), -2), np.int64) + 1
        return found if nulls is None else np.where(nulls, 0 if self._has_missing else -1, found)


def _bits(array: pa.Array) -> NDArray[np.unsignedinteger]:
    values = values_of(array)
    bits: NDArray[np.unsignedinteger] = values.view(f"u{values.dtype.itemsize}")
    return bits


def _comparable(array: pa.Array) -> pa.Array:
    """Convert lists to the bytes of their values, and -0.0 to 0.0."""
    if sort_of(array.type) != "list":
        if pa.types.is_float16(array.type):
            array = array.cast(pa.float32())  # pc.add has no kernel for half floats
        return pc.add(array, 0.0).cast(array.type) if pa.types.is_floating(array.type) else array
    if sort_of(innermost(array.type)) == "text":
        return pc.cast(pa.array([None if row is None else repr(row) for row in array.to_pylist()]), pa.string())
    starts, values = np.arange(len(array) + 1), array
    while sort_of(values.type) == "list":
        lengths = np.asarray(pc.fill_null(pc.list_value_length(values), 0), np.int64)
        starts, values = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])[starts], values.flatten()
    numbers = np.ascontiguousarray(values_of(values.cast(innermost(values.type))))
    known = np.asarray(array.is_valid())
    return bytes_of(
        [
            numbers[a:b].tobytes() if is_known else None
            for a, b, is_known in zip(starts, starts[1:], known, strict=False)
        ]
    )
