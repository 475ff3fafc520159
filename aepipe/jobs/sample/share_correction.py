"""Correction of rejected rows: keep drawn rows so that constraints do not change the shares of values.

Raking (Deming & Stephan 1940) on a pilot of draws: each column has a factor per value, or per quantile bin of numbers.
The product of a row's factors is the probability to keep it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.encoding.relations.numeric_view import numbers_of, view_of
from aepipe.tables.arrow_arrays import plain_values

LEAST_SATISFYING = 0.05
"""Minimum share of draws that satisfy the constraints; with fewer, nothing is corrected."""
_NUMBER_BINS = 20
_LEAST_ROWS = 30
"""Minimum number of satisfying pilot rows of a value with a factor of its own; rarer values share one."""
_SWEEPS = 10
_LARGEST_FACTOR = 8.0
_LARGEST_WEIGHT = 5.0
"""Largest weight of a row, in means; greater ones are cut, so that at least a fifth of the rows is kept."""


class _Coding(NamedTuple):
    """Codes of the values of a column: bins between `edges` for numbers, else the place among `values`."""

    name: str
    edges: NDArray[np.float64] | None
    values: pa.Array | None
    factors: NDArray[np.float64]

    def codes(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """Return a code per row, (B,); missing values and values without a factor of their own come last."""
        column = plain_values(rows.column(self.name))
        if self.edges is not None:
            numbers = numbers_of(column)
            bins = np.searchsorted(self.edges, np.nan_to_num(numbers), side="right")
            return np.where(np.isnan(numbers), len(self.edges) + 1, bins)
        assert self.values is not None
        places = pc.index_in(column, value_set=self.values)
        return np.asarray(places.fill_null(len(self.values)), np.int64)


class ShareCorrection:
    """Probability to keep a row that satisfies the constraints; one for all rows if nothing has to be corrected."""

    def __init__(self, pilot: Sequence[pa.RecordBatch], masks: Sequence[NDArray[np.bool_]]) -> None:
        """Fit the factors until satisfying pilot rows have the shares of all pilot rows, column by column.

        Args:
            pilot: Batches of drawn rows; none: nothing is corrected.
            masks: Mask of the rows of each batch that satisfy all constraints, (B,).
        """
        self._codings: list[_Coding] = []
        self._limit = 1.0
        satisfied = np.concatenate([np.ones(0, np.bool_), *masks])
        if satisfied.all() or satisfied.mean() < LEAST_SATISFYING:
            return
        table = pa.Table.from_batches(pilot).unify_dictionaries().combine_chunks()
        (rows,) = table.to_batches()
        codings = [found for name in rows.schema.names if (found := _coding(rows, name, satisfied)) is not None]
        codes = [each.codes(rows) for each in codings]
        weights = np.ones(int(satisfied.sum()))
        for _ in range(_SWEEPS):
            for each, own in zip(codings, codes, strict=True):
                size = len(each.factors)
                target = np.bincount(own, minlength=size) / len(own)
                now = np.bincount(own[satisfied], weights, size) / weights.sum()
                steps = np.divide(target, now, out=np.ones(size), where=(now > 0) & (target > 0))
                factors = np.clip(each.factors * steps, 1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
                weights *= (factors / each.factors)[own[satisfied]]
                each.factors[:] = factors
        self._codings = codings
        self._limit = float(min(weights.max(), _LARGEST_WEIGHT * weights.mean()))

    def kept(self, rows: pa.RecordBatch, uniform: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return the mask of the rows to keep, (B,), by uniform (B,)."""
        weights = np.ones(rows.num_rows)
        for each in self._codings:
            weights *= each.factors[each.codes(rows)]
        return uniform * self._limit < weights


def _coding(rows: pa.RecordBatch, name: str, satisfied: NDArray[np.bool_]) -> _Coding | None:
    column = plain_values(rows.column(name))
    if view_of(column.type) is not None:
        numbers = numbers_of(column)
        known = numbers[~np.isnan(numbers)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _NUMBER_BINS + 1)[1:-1])) if len(known) else known
        return _Coding(name, edges, None, np.ones(len(edges) + 2))
    if pt.is_nested(column.type):
        return None
    counts = pc.value_counts(column.filter(pa.array(satisfied)).drop_null())
    often = counts.field("values").filter(pc.greater_equal(counts.field("counts"), _LEAST_ROWS))
    return _Coding(name, None, often, np.ones(len(often) + 1))
