"""Encode text, dictionaries, booleans and other categories: one code per value."""

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
"""Maximum number of values with a code of their own; less frequent ones share RARE."""
MOST_GIVEN = 10_000
"""Maximum number for a condition, which becomes a one-hot vector."""
MOST_RARE = 100_000
"""Maximum number of rare values that are stored; all others count as unseen."""
_LEAST_COUNT = 2
_ROWS_PER_COUNT = 1_000_000


class CategoryCodec(Codec):
    """Encoder of a category: codes MISSING, UNSEEN, RARE, then the values by descending frequency.

    Values are stored as text in Arrow's notation.
    """

    kind: Literal["category"] = "category"
    type: str = Field(description="type of the values: string, bool, int64 ...")
    values: tuple[str, ...]
    rare: tuple[str, ...] = Field((), description="values too rare for a code of their own, the most frequent first")
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
            # Values are looked up once per dictionary, then rows are gathered.
            known = self._lookup.codes_of_dictionary(array.dictionary)
            indices, nulls = values_of(array.indices), nulls_of(array.indices)
            codes = known.take(indices if nulls is None else np.where(nulls, len(known) - 1, indices))
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
        """Decode codes; unseen and rare codes become the rare value that `uniform` selects.

        Without rare values they become null, or the most frequent value if nulls were never seen.
        """
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
        lookup = self._lookup
        if lookup.decoded is None or lookup.decoded.type != kind:
            lookup.decoded = _typed((*self.values, *self.rare), kind)
        return lookup.decoded.take(array_of(places, pa.int64(), nulls if self.may_be_missing else None))

    @cached_property
    def _lookup(self) -> "_Lookup":
        return _Lookup(self)


class _Lookup:
    """Map from values to codes.

    Arrow hashes the known values on each call, a Python dict only once: batches of few rows use the dict.
    """

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
        """Return the codes of values, int32 (B,)."""
        array = _canonical(array, self.type)
        if len(self.known) > 4 * len(array) + 64:
            one_by_one = (self.by_value.get(value, UNSEEN) for value in array.to_pylist())
            return np.fromiter(one_by_one, np.int32, len(array))
        places = pc.index_in(array, value_set=self.known)
        found, absent = values_of(places), nulls_of(places)
        codes: np.ndarray = self.code_of[found if absent is None else np.where(absent, len(self.known), found)]
        return codes

    def codes_of_dictionary(self, dictionary: pa.Array) -> np.ndarray:
        """Return the codes of a dictionary, int32 (D + 1,), MISSING last; cached: slices of a row group share it."""
        last, known = self._last
        if last is None or not _same_memory(last, dictionary):
            known = np.append(self.codes(dictionary), np.int32(MISSING))
            self._last = dictionary, known
        return known


def _same_memory(one: pa.Array, other: pa.Array) -> bool:
    """Return True if two arrays are views of the same buffers. The caller keeps `one` alive, so none is reused."""
    if (one.type, len(one), one.offset) != (other.type, len(other), other.offset):
        return False
    return [part and part.address for part in one.buffers()] == [part and part.address for part in other.buffers()]


def fit_category(column: Column, index: int, values: pa.ChunkedArray) -> CategoryCodec:
    """Fit an encoder to training values.

    Rare values are those seen once per million rows, unless all are, and those beyond the 500,000 most frequent. There
    is a code for a value even if training had none: a distribution over no outcomes has no likelihood.
    """
    kind = _canonical_type(values.type)
    chunks = [_canonical(chunk, kind) for chunk in values.chunks]
    known = pa.chunked_array([chunk.drop_null() for chunk in chunks], kind)
    missing = len(known) < len(values)
    names, counts = _by_frequency(known)
    frequent = int(np.count_nonzero(counts >= max(_LEAST_COUNT, len(values) // _ROWS_PER_COUNT)))
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
    """Return distinct values as text and their counts, by descending count, ties in alphabetical order."""
    counted = pc.value_counts(values)
    counts = values_of(counted.field(1))
    names = counted.field(0).cast(pa.string()).to_pylist()
    order = sorted(range(len(names)), key=lambda at: (-counts[at], names[at]))
    return [names[at] for at in order], counts[order]


def _canonical_type(kind: pa.DataType) -> pa.DataType:
    """Return one type for all layouts of the same values, which Arrow can hash and parse from text."""
    kind = plain(kind)
    if pt.is_floating(kind) or pt.is_decimal(kind):
        return pa.float64()
    return pa.string() if pt.is_null(kind) else kind


def _canonical(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast values to one type, NaN to null."""
    array = plain_values(array)
    array = array if array.type == kind else array.cast(kind)
    if not pt.is_floating(kind):
        return array
    values, nulls = values_of(array) + 0.0, nulls_of(array)  # -0.0 + 0.0 is 0.0
    absent = np.isnan(values)
    return array_of(values, kind, absent if nulls is None else absent | nulls)


def _typed(texts: tuple[str, ...], kind: pa.DataType) -> pa.Array:
    values = texts_of(texts)
    if pt.is_decimal(kind):  # canonical values are float64: -5.52 may have the text -5.5200000000000005
        return values.cast(pa.float64()).cast(kind)
    return values.cast(kind)
