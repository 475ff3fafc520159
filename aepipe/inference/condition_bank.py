"""The conditions that samples are drawn at: those of training rows, which the bundle keeps."""

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
from aepipe.tables.schema import did_you_mean

FILE = "conditions.parquet"
"""of a bundle: the condition columns of training rows, in the source's types"""
MOST_ROWS = 10_000

_STREAM = "conditions"
_CHOICE = Port("row", "float32", (1,), "uniform")


class Given(NamedTuple):
    """The conditions of B samples: as columns, and as the tensors that graphs take."""

    columns: pa.RecordBatch
    arrays: Arrays


class ConditionPool:
    """Rows of conditions, all equally likely. A sample's draw depends on the seed and the sample's number alone."""

    def __init__(self, bundle: Bundle, where: Condition | None = None) -> None:
        """where: a condition on condition columns; the rows for which it does not hold are never drawn.

        Raises JobInvalid where it names other columns or holds for no row, OptionInvalid where it cannot be read.
        """
        self.rows = _rows(bundle)
        if where is not None:
            self.rows = self.rows.filter(_holds(where, self.rows, bundle.version))
        self._arrays = bundle.encoding.encode_given(self.rows) if self.rows.num_columns else {}

    def draw(self, *, seed: int, start: int, rows: int) -> Given:
        """The conditions of samples start ... start + rows - 1."""
        if not self._arrays:
            return Given(self.rows, {})
        uniform = noise(_CHOICE, stream=_STREAM, seed=seed, start=start, rows=rows)[:, 0]
        chosen = (uniform.astype(np.float64) * self.rows.num_rows).astype(np.int64)
        arrays = {name: array[chosen] for name, array in self._arrays.items()}
        return Given(self.rows.take(pa.array(chosen)), arrays)


def _rows(bundle: Bundle) -> pa.RecordBatch:
    if not bundle.encoding.schema.conditions:
        return pa.RecordBatch.from_pylist([], pa.schema([]))
    table = pq.ParquetFile(pa.BufferReader(bundle.files[FILE])).read(use_threads=False)
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _holds(where: Condition, rows: pa.RecordBatch, version: str) -> pa.BooleanArray:
    known = rows.schema.names
    if not known:
        raise JobInvalid("where", [f"{version} has no conditions: none of the columns that it learned from is one"])
    others = sorted(where.columns - set(known))
    if others:
        raise JobInvalid("where", [f"'{name}' is no condition of {version}{_known(name, known)}" for name in others])
    holds = where.mask(rows)
    if not holds.true_count:
        raise JobInvalid("where", [f"{where} holds for none of the rows that {version} learned from"])
    return holds


def _known(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"
