"""Encode lists of numbers of one length: one code per element."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from aepipe.encoding.base import FINE, INFINITE_VALUE, MISSING_VALUE, OTHER, Codec, EncodedColumn, Features
from aepipe.encoding.binned.number import decimals
from aepipe.encoding.binned.quantile_bins import Bins, fit_bins
from aepipe.encoding.number import resolution
from aepipe.encoding.vector import grid_of, lists_of
from aepipe.layout import MISSING, UNSEEN, Category, absent_codes
from aepipe.tables.arrow_arrays import dtype_of
from aepipe.tables.schema import Column


class VectorCodes(Codec):
    """Encoder of vectors, `cat[:, j]` is the code of element j.

    All elements of a null list are missing; a list of another length is invalid.
    """

    kind: Literal["vector_codes"] = "vector_codes"
    elements: tuple[Category, ...]
    bins: tuple[Bins, ...]
    may_be_missing: tuple[bool, ...]

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.elements

    @property
    def reasons(self) -> tuple[str, ...]:
        return (*super().reasons, f"{self.name} has another length than {len(self.elements)}")

    @property
    def is_shared(self) -> bool:
        return True

    @property
    def code_orders(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(bins.codes_by_value for bins in self.bins)

    def with_values(self, values: pa.ChunkedArray) -> "VectorCodes":
        grid, inner = _grid(values, len(self.elements)), values.type.value_type
        found = [_known(column, inner) for column in grid.T]
        bins = [
            each.with_values(known, decimals=decimals(known, resolution(inner)))
            for each, known in zip(self.bins, found, strict=True)
        ]
        return self.model_copy(update={"bins": tuple(bins)})

    def widened(self) -> "VectorCodes":
        return self.model_copy(update={"bins": tuple(each.widened() for each in self.bins)})

    def encode(self, array: pa.Array) -> Features:
        grid, wrong = grid_of(array, len(self.elements))
        codes = [bins.codes(grid[:, at]) for at, bins in enumerate(self.bins)]
        missing, infinite = np.isnan(grid), np.isinf(grid)
        for at, column in enumerate(codes):
            column[missing[:, at] | infinite[:, at]] = MISSING
        reasons = np.full(len(grid), FINE, np.int8)
        reasons[(missing & ~np.array(self.may_be_missing, np.bool_)).any(axis=1)] = MISSING_VALUE
        reasons[infinite.any(axis=1)] = INFINITE_VALUE
        reasons[wrong] = OTHER
        unseen = sum(int(np.count_nonzero(column == UNSEEN)) for column in codes)
        return Features(codes=tuple(codes), unseen=unseen, reasons=reasons if reasons.any() else None)

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        codes, uniform = features.codes, features.uniform
        columns = [bins.values(codes[:, at], uniform[:, at]) for at, bins in enumerate(self.bins)]
        values = np.stack(columns, axis=1) if columns else np.zeros((len(codes), 0))
        can = [may or bins.is_empty for may, bins in zip(self.may_be_missing, self.bins, strict=True)]
        return lists_of(values, (codes == MISSING) & np.array(can, np.bool_), kind)


def fit_vector_codes(column: Column, index: int, values: pa.ChunkedArray) -> VectorCodes:
    """Fit an encoder to training lists; lists of another length than the schema's are skipped."""
    grid, inner = _grid(values, (column.shape or (0,))[0]), values.type.value_type
    found = [_known(each, inner) for each in grid.T]
    bins = [fit_bins(known, decimals=decimals(known, resolution(inner))) for known in found]
    missing = tuple(np.isnan(grid).any(axis=0).tolist())
    elements = tuple(
        Category(
            name=f"{column.name}[{at}]",
            column=index,
            size=each.size,
            absent=absent_codes(missing=missing[at], rare=False),
            bins=len(each.lows),
        )
        for at, each in enumerate(bins)
    )
    return VectorCodes(name=column.name, elements=elements, bins=tuple(bins), may_be_missing=missing)


def _grid(values: pa.ChunkedArray, length: int) -> np.ndarray:
    """Return the lists of this length as rows, float64 (n, length)."""
    grids = [grid[~wrong] for grid, wrong in (grid_of(chunk, length) for chunk in values.chunks)]
    return np.concatenate([*grids, np.zeros((0, length))])


def _known(values: np.ndarray, inner: pa.DataType) -> np.ndarray:
    """Return the finite values of an element in the type of the lists."""
    known: np.ndarray = values[np.isfinite(values)]
    return known if pt.is_decimal(inner) else known.astype(dtype_of(inner))
