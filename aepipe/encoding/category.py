"""Text, dictionaries, booleans and whatever else the job calls a category: one code a value."""

from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pydantic import Field

from aepipe.encoding.base import FINE, MISSING_VALUE, Codec, EncodedColumn, Features
from aepipe.layout import FIRST_VALUE, MISSING, RARE, UNSEEN, Category, absent_codes
from aepipe.tables.arrow_arrays import array_of, nulls_of, plain_values, texts_of, values_of
from aepipe.tables.arrow_types import plain
from aepipe.tables.schema import Column

MOST_VALUES = 500_000
"""So many values of a column have a code of their own; less frequent ones share RARE."""
MOST_GIVEN = 10_000
"""The same of a condition, which becomes a one-hot vector."""
MOST_RARE = 100_000
"""So many rare values are remembered; beyond them a rare value counts as unseen."""
_LEAST_COUNT = 2
_ROWS_A_COUNT = 1_000_000


class CategoryCodec(Codec):
    """Codes MISSING, UNSEEN, RARE, then the values by falling frequency, which are kept as text in Arrow's notation."""

    kind: Literal["category"] = "category"
    type: str = Field(description="type of the values: string, bool, int64 ...")
    values: tuple[str, ...]
    rare: tuple[str, ...] = Field((), description="seen too seldom in training for a code, the most frequent first")
    may_be_missing: bool = False
    category: Category

    @property
    def categories(self) -> tuple[Category, ...]:
        return (self.category,)

    @property
    def is_shared(self) -> bool:
        return len(self.rare) > 1

    def encode(self, array: pa.Array) -> Features:
        if pt.is_dictionary(array.type):
            codes = self._of_dictionary(array)
        else:
            codes = self._lookup.codes(array)
        if codes.min(initial=FIRST_VALUE) == FIRST_VALUE:
            return Features(codes=(codes,))
        missing = codes == MISSING
        reasons = None
        if not self.may_be_missing and missing.any():
            reasons = np.where(missing, MISSING_VALUE, FINE).astype(np.int8)
        return Features(codes=(codes,), unseen=int(np.count_nonzero(codes == UNSEEN)), reasons=reasons)

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        """Unseen and rare codes become a rare value, by `uniform`; without one null, or the most frequent value."""
        codes, uniform = features.codes, features.uniform
        if not self.values and not self.rare:  # training had nothing but nulls
            return pa.nulls(len(codes), kind)
        places = np.clip(codes[:, 0].astype(np.int64) - FIRST_VALUE, 0, max(len(self.values) - 1, 0))
        odd = (codes[:, 0] == UNSEEN) | (codes[:, 0] == RARE)
        nulls = codes[:, 0] == MISSING
        if self.rare:
            places[odd] = len(self.values) + (uniform[odd, 0] * len(self.rare)).astype(np.int64)
        else:
            nulls |= odd
        return self._values(kind).take(array_of(places, pa.int64(), nulls if self.may_be_missing else None))

    def _values(self, kind: pa.DataType) -> pa.Array:
        """Values and rare ones as an array of the plain type, which is made once."""
        if self._lookup.decoded is None or self._lookup.decoded.type != kind:
            self._lookup.decoded = _typed((*self.values, *self.rare), kind)
        return self._lookup.decoded

    def _of_dictionary(self, array: pa.DictionaryArray) -> np.ndarray:
        """Values are looked up once a dictionary, rows are gathered."""
        known = self._lookup.codes_of_dictionary(array.dictionary)
        indices, nulls = values_of(array.indices), nulls_of(array.indices)
        codes: np.ndarray = known.take(indices if nulls is None else np.where(nulls, len(known) - 1, indices))
        return codes

    @cached_property
    def _lookup(self) -> "_Lookup":
        return _Lookup(self)


class _Lookup:
    """Values to codes. Arrow hashes the known values at each call, Python's dictionary once: few rows take this one."""

    def __init__(self, codec: CategoryCodec) -> None:
        self.type = pa.type_for_alias(codec.type)
        values = (*codec.values, *codec.rare)
        self.known = pa.concat_arrays([_typed(values, self.type), pa.nulls(1, self.type)])
        kept = np.arange(len(codec.values)) + FIRST_VALUE
        codes = [kept, np.full(len(codec.rare), RARE), np.array([MISSING, UNSEEN])]
        self.code_of = np.concatenate(codes).astype(np.int32)
        self.decoded: pa.Array | None = None
        self._last: tuple[pa.Array | None, np.ndarray] = (None, np.zeros(0, np.int32))
        self.by_value = dict(zip(self.known.to_pylist(), self.code_of.tolist(), strict=False))

    def codes(self, array: pa.Array) -> np.ndarray:
        """int32 (B,)."""
        array = _canonical(array, self.type)
        if len(self.known) > 4 * len(array) + 64:
            return self._one_by_one(array)
        places = pc.index_in(array, value_set=self.known)
        found, absent = values_of(places), nulls_of(places)
        codes: np.ndarray = self.code_of[found if absent is None else np.where(absent, len(self.known), found)]
        return codes

    def codes_of_dictionary(self, dictionary: pa.Array) -> np.ndarray:
        """int32 (D + 1,), MISSING last; remembered, for the slices of a row group share one dictionary."""
        last, known = self._last
        if last is None or not _same_memory(last, dictionary):
            known = np.append(self.codes(dictionary), np.int32(MISSING))
            self._last = dictionary, known
        return known

    def _one_by_one(self, array: pa.Array) -> np.ndarray:
        codes = (self.by_value.get(value, UNSEEN) for value in array.to_pylist())
        return np.fromiter(codes, np.int32, len(array))


def _same_memory(one: pa.Array, other: pa.Array) -> bool:
    """Whether two arrays are views of the same values; the first is held, so its memory is not another's by now."""
    if (one.type, len(one), one.offset) != (other.type, len(other), other.offset):
        return False
    return [part and part.address for part in one.buffers()] == [part and part.address for part in other.buffers()]


def fit_category(column: Column, index: int, values: pa.ChunkedArray) -> CategoryCodec:
    """The codec of training values. Rare are those seen once (a million rows), unless all are, and those past 500,000.

    There is a code for a value even where training had none: a distribution over nothing has no likelihood.
    """
    kind = _canonical_type(values.type)
    chunks = [_canonical(chunk, kind) for chunk in values.chunks]
    known = pa.chunked_array([chunk.drop_null() for chunk in chunks], kind)
    missing = len(known) < len(values)
    names, counts = _by_frequency(known)
    frequent = int(np.count_nonzero(counts >= max(_LEAST_COUNT, len(values) // _ROWS_A_COUNT)))
    kept = min(frequent or len(names), MOST_GIVEN if column.kind == "condition" else MOST_VALUES)
    if pt.is_boolean(kind):
        names, kept = ["false", "true"], 2
    return CategoryCodec(
        name=column.name,
        type=str(kind),
        values=tuple(names[:kept]),
        rare=tuple(names[kept : kept + MOST_RARE]),
        may_be_missing=missing,
        category=Category(
            name=column.name,
            column=index,
            size=FIRST_VALUE + max(kept, 1),
            absent=absent_codes(missing=missing, rare=kept < len(names)),
        ),
    )


def _by_frequency(values: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Distinct values as text and their counts, the most frequent first, ties in alphabetical order."""
    counted = pc.value_counts(values)
    counts = values_of(counted.field(1))
    names = counted.field(0).cast(pa.string()).to_pylist()
    order = sorted(range(len(names)), key=lambda at: (-counts[at], names[at]))
    return [names[at] for at in order], counts[order]


def _canonical_type(kind: pa.DataType) -> pa.DataType:
    """One type for all layouts of the same values, one that Arrow can hash and read from text."""
    kind = plain(kind)
    if pt.is_floating(kind) or pt.is_decimal(kind):
        return pa.float64()
    return pa.string() if pt.is_null(kind) else kind


def _canonical(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Values of one type, NaN as null."""
    array = plain_values(array)
    array = array if array.type == kind else array.cast(kind)
    if not pt.is_floating(kind):
        return array
    values, nulls = values_of(array) + 0.0, nulls_of(array)  # -0.0 + 0.0 is 0.0
    absent = np.isnan(values)
    return array_of(values, kind, absent if nulls is None else absent | nulls)


def _typed(texts: tuple[str, ...], kind: pa.DataType) -> pa.Array:
    return texts_of(texts).cast(kind)
