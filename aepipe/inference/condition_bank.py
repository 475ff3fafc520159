"""Condition columns for samples, drawn from the training rows that the bundle stores."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.bundles.bundle import Bundle
from aepipe.encoding import Arrays
from aepipe.errors import JobInvalid
from aepipe.expressions.condition import Condition
from aepipe.inference.counter_rng import noise
from aepipe.layout import Port

FILE = "conditions.parquet"
"""File of a bundle: the condition columns of training rows, in the types of the source."""
MOST_ROWS = 10_000
"""Maximum rows in that file."""

_STREAM = "conditions"
_CHOICE = Port("row", "float32", (1,), "uniform")


class ConditionRows(NamedTuple):
    """Conditions of B samples, as columns and as input tensors of the graphs."""

    columns: pa.RecordBatch
    arrays: Arrays


class ConditionPool:
    """Rows of conditions, all equally likely. A draw depends only on the seed and the index of the sample."""

    def __init__(self, bundle: Bundle, where: Condition | None = None) -> None:
        """Read the rows of the bundle for which `where`, on condition columns only, holds.

        Raises:
            JobInvalid: `where` holds for no row.
            OptionInvalid: a literal does not fit the type of its column.
        """
        if bundle.encoding.schema.conditions:
            table = pq.ParquetFile(pa.BufferReader(bundle.files[FILE])).read(use_threads=False)
            (self.rows,) = table.combine_chunks().to_batches()
        else:
            self.rows = pa.RecordBatch.from_pylist([], pa.schema([]))
        if where is not None:
            self.rows = self.rows.filter(_holds(where, self.rows, bundle))
        self._arrays = bundle.encoding.encode_given(self.rows) if self.rows.num_columns else {}

    def draw(self, *, seed: int, start: int, rows: int) -> ConditionRows:
        """Return the conditions of samples start ... start + rows - 1."""
        if not self._arrays:
            return ConditionRows(self.rows, {})
        uniform = noise(_CHOICE, stream=_STREAM, seed=seed, start=start, rows=rows)[:, 0]
        chosen = (uniform.astype(np.float64) * self.rows.num_rows).astype(np.int64)
        arrays = {name: array[chosen] for name, array in self._arrays.items()}
        return ConditionRows(self.rows.take(pa.array(chosen)), arrays)


def _holds(where: Condition, rows: pa.RecordBatch, bundle: Bundle) -> pa.BooleanArray:
    holds = where.mask(rows)
    if not holds.true_count:
        raise JobInvalid("where", [f"{where} holds for none of the training rows of {bundle.version}"])
    return holds
