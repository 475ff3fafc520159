"""Encode lists of text: one code per frequent member, whether a row has it, and the number of its other members."""

from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aepipe.encoding.base import FINE, MISSING_VALUE, Codec, EncodedColumn, Features
from aepipe.encoding.nested_lists import members_of, outermost
from aepipe.layout import FIRST_VALUE, MISSING, Category, absent_codes
from aepipe.tables.arrow_arrays import array_of, nulls_of, texts_of, values_of
from aepipe.tables.schema import Column

MOST_MEMBERS = 64
"""Maximum number of members with a code of their own."""
MOST_OTHERS = 3
"""Other members of a row are counted up to this number."""
_LEAST_SHARE = 0.005
"""Minimum share of rows that a member with a code of its own is in."""


class TagsCodec(Codec):
    """Encoder of lists of text as sets: absent or present for each member, then 0 to 3 other members.

    Order and repetitions within a list are lost. All codes of a null list are MISSING.
    """

    kind: Literal["tags"] = "tags"
    members: tuple[str, ...]
    may_be_missing: bool = False
    features: tuple[Category, ...]

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.features

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.features)

    def encode(self, array: pa.Array) -> Features:
        lists = outermost(array)
        rows, values = members_of(lists)
        places = pc.index_in(values, value_set=self._known)
        is_other = values_of(pc.and_(pc.is_null(places), pc.is_valid(values)))
        found = values_of(pc.fill_null(places, len(self.members)))
        has = np.zeros((len(array), len(self.members) + 1), np.int32)
        has[rows, found] = 1
        others = np.bincount(rows[is_other], minlength=len(array))
        has[:, -1] = np.minimum(others, MOST_OTHERS)
        codes = has + FIRST_VALUE
        codes[lists.nulls] = MISSING
        reasons = None
        if lists.nulls.any() and not self.may_be_missing:
            reasons = np.where(lists.nulls, MISSING_VALUE, FINE).astype(np.int8)
        return Features(codes=tuple(codes.T), unseen=int(others.sum()), reasons=reasons)

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        """Decode codes to lists of the members that a row has; other members have no text and are left out."""
        codes = features.codes
        nulls = (2 * (codes == MISSING).sum(axis=1) > codes.shape[1]) & self.may_be_missing
        has = (codes[:, :-1] == FIRST_VALUE + 1) & ~nulls[:, None]
        members = self._known.take(array_of(np.nonzero(has)[1], pa.int64()))
        offsets = np.concatenate([[0], np.cumsum(has.sum(axis=1))]).astype(np.int32)
        valid = pa.py_buffer(np.packbits(~nulls, bitorder="little")) if nulls.any() else None
        made = pa.Array.from_buffers(
            pa.list_(pa.string()), len(codes), [valid, pa.py_buffer(offsets)], children=[members]
        )
        return made.cast(kind)

    def read(self, members: list[str | None] | None, feature: str) -> str | int | None:
        """Return what a row's list says about one of `columns`: yes, no, or the number of other members."""
        if members is None:
            return None
        at = self.columns.index(feature)
        if at < len(self.members):
            return "yes" if self.members[at] in members else "no"
        return sum(member is not None and member not in self.members for member in members)

    @cached_property
    def _known(self) -> pa.Array:
        return texts_of(self.members)


def fit_tags(column: Column, index: int, values: pa.ChunkedArray) -> TagsCodec:
    """Fit an encoder to training lists: the members that most rows have, by falling frequency.

    Members of fewer than one in 200 rows, or beyond the 64 most frequent, are other members.
    """
    counts = pc.value_counts(pa.chunked_array([pa.nulls(0, pa.string()), *map(_members, values.chunks)]))
    names, numbers = counts.field(0).to_pylist(), values_of(counts.field(1))
    order = sorted(range(len(names)), key=lambda at: (-numbers[at], names[at]))
    least = max(2, _LEAST_SHARE * len(values))
    members = tuple(names[at] for at in order[:MOST_MEMBERS] if numbers[at] >= least)
    missing = values.null_count > 0
    absent = absent_codes(missing=missing, rare=False)
    sizes = [FIRST_VALUE + 2] * len(members) + [FIRST_VALUE + MOST_OTHERS + 1]
    labels = [*(f"{column.name}[{member}]" for member in members), f"{column.name}[other members]"]
    return TagsCodec(
        name=column.name,
        members=members,
        may_be_missing=missing,
        features=tuple(
            Category(name=label, column=index + at, size=size, absent=absent)
            for at, (label, size) in enumerate(zip(labels, sizes, strict=True))
        ),
    )


def _members(lists: pa.Array) -> pa.Array:
    """Return the members of all lists, each once per list."""
    rows, values = members_of(outermost(lists))
    known = nulls_of(values)
    rows, values = (rows, values) if known is None else (rows[~known], values.drop_null())
    codes = values.dictionary_encode()
    pairs = np.unique(np.stack([rows, values_of(codes.indices)]), axis=1) if len(values) else np.zeros((2, 0), int)
    return codes.dictionary.take(array_of(pairs[1], pa.int64()))
