"""Exact copies: share of synthetic rows, and of held-out rows, that equal a training row in every column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.quality.alignment import coded_together, joined
from aepipe.quality.intervals import upper_bound
from aepipe.tables.arrow_arrays import bytes_of, values_of
from aepipe.tables.arrow_types import innermost, sort_of

LEVEL = 0.99


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
