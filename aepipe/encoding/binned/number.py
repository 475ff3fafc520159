"""Encode integers, floats, decimals and durations as one code."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from pydantic import Field

from aepipe.encoding import number_statistics as statistics
from aepipe.encoding.base import FINE, INFINITE_VALUE, MISSING_VALUE, Codec, EncodedColumn, Features
from aepipe.encoding.binned.quantile_bins import Bins, fit_bins
from aepipe.encoding.number import numeric, resolution, within
from aepipe.layout import MISSING, UNSEEN, Category, absent_codes
from aepipe.tables.arrow_arrays import array_of, nulls_of, values_of
from aepipe.tables.schema import Column


class NumberCodes(Codec):
    """Encoder of a number as the code of its bin: MISSING for null and NaN, UNSEEN far outside the training range."""

    kind: Literal["number_codes"] = "number_codes"
    category: Category
    bins: Bins
    unit: str | None = Field(None, description="unit of a duration: s, ms, us or ns")
    may_be_missing: bool = False

    @property
    def categories(self) -> tuple[Category, ...]:
        return (self.category,)

    @property
    def is_shared(self) -> bool:
        return True

    @property
    def code_orders(self) -> tuple[tuple[int, ...] | None, ...]:
        return (self.bins.codes_by_value,)

    def with_values(self, values: pa.ChunkedArray) -> "NumberCodes":
        known, _ = known_values([numeric(chunk, self.unit) for chunk in values.chunks])
        places = decimals(known, resolution(values.type))
        return self.model_copy(update={"bins": self.bins.with_values(known, decimals=places)})

    def widened(self) -> "NumberCodes":
        return self.model_copy(update={"bins": self.bins.widened()})

    def encode(self, array: pa.Array) -> Features:
        array = numeric(array, self.unit)
        return coded(self.bins, values_of(array), nulls_of(array), may_be_missing=self.may_be_missing)

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        codes, uniform = features.codes, features.uniform
        if self.bins.is_empty:  # training had nothing but nulls
            return pa.nulls(len(codes), kind)
        values = self.bins.values(codes[:, 0], uniform[:, 0])
        nulls = codes[:, 0] == MISSING if self.may_be_missing else None
        if pt.is_decimal(kind):
            return array_of(within(values, kind), pa.float64(), nulls).cast(kind)
        return array_of(values, kind, nulls)


def fit_number_codes(column: Column, index: int, values: pa.ChunkedArray) -> NumberCodes:
    """Fit an encoder to training values of the source's plain type (float64 for decimals), without infinite ones."""
    unit = values.type.unit if pt.is_duration(values.type) else None
    known, missing = known_values([numeric(chunk, unit) for chunk in values.chunks])
    bins = fit_bins(known, decimals=decimals(known, resolution(values.type)))
    absent = absent_codes(missing=missing, rare=False)
    category = Category(name=column.name, column=index, size=bins.size, absent=absent, bins=len(bins.lows))
    return NumberCodes(name=column.name, category=category, bins=bins, unit=unit, may_be_missing=missing)


def coded(bins: Bins, values: np.ndarray, nulls: np.ndarray | None, *, may_be_missing: bool) -> Features:
    """Encode values (B,) and set the reasons of invalid rows; NaN is missing."""
    codes = bins.codes(values)
    if values.dtype.kind == "f":
        absent = np.isnan(values)
        nulls = absent if nulls is None else nulls | absent
    if nulls is not None:
        codes[nulls] = MISSING
    return Features(
        codes=(codes,),
        unseen=int(np.count_nonzero(codes == UNSEEN)),
        reasons=_reasons(codes, values, may_be_missing=may_be_missing),
    )


def _reasons(codes: np.ndarray, values: np.ndarray, *, may_be_missing: bool) -> np.ndarray | None:
    missing = codes == MISSING
    infinite = np.isinf(values) & ~missing if values.dtype.kind == "f" else None
    if infinite is not None and infinite.any():
        codes[infinite] = MISSING  # a placeholder: the row is not scored
    elif may_be_missing or not missing.any():
        return None
    reasons = np.where(missing & (not may_be_missing), MISSING_VALUE, FINE).astype(np.int8)
    if infinite is not None:
        reasons[infinite] = INFINITE_VALUE
    return reasons


def known_values(chunks: Sequence[pa.Array]) -> tuple[np.ndarray, bool]:
    """Return the finite values of plain chunks, at least one chunk, and True if any value is missing."""
    every = np.concatenate([values_of(chunk) for chunk in chunks])
    nulls = [nulls_of(chunk) for chunk in chunks]
    absent = np.concatenate(
        [np.zeros(len(chunk), np.bool_) if null is None else null for chunk, null in zip(chunks, nulls, strict=True)]
    )
    if every.dtype.kind == "f":
        absent |= np.isnan(every)
        return every[~absent & np.isfinite(every)], bool(absent.any())
    return every[~absent], bool(absent.any())


def decimals(known: np.ndarray, resolution: float) -> int | None:
    """Return the number of decimals that values are rounded to; None for integers and unrounded values."""
    if known.dtype.kind != "f" or not len(known):
        return None
    values = known.astype(np.float64)
    places = statistics.decimals(values, resolution)
    return 0 if places is None and (values == np.rint(values)).all() else places
