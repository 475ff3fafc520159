"""Encode lists of items, such as the purchases of a customer: one code per item of a row, and their number."""

from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from aepipe.encoding.base import FINE, MISSING_VALUE, Codec, EncodedColumn, Features
from aepipe.encoding.nested_lists import members_of, outermost
from aepipe.layout import END, MISSING, Category, Number, Text, absent_codes
from aepipe.tables.arrow_arrays import array_of, texts_of, values_of
from aepipe.tables.schema import Column

MOST_ITEMS = 20_000
"""Default size of the catalogue."""
MOST_PER_ROW = 512
"""Maximum number of items of a row unless the job sets it."""
_LENGTH_QUANTILE = 0.99
_LEAST_COUNT = 2
_LEAST_SPREAD = 1e-3


class ItemsCodec(Codec):
    """Encoder of lists as sets: the codes of a row's items in falling frequency, END after the last, and their number.

    Order and repetitions within a list are lost; of longer lists the most frequent items are kept. Items outside the
    catalogue are left out and counted. A null is MISSING, then END.
    """

    kind: Literal["items"] = "items"
    catalogue: tuple[str, ...] = Field(description="items with a code of their own, by falling frequency")
    length: int = Field(ge=1, description="number of positions")
    cut: float = Field(0.0, description="share of the training lists that are longer")
    may_be_missing: bool = False
    index: int = Field(ge=0, description="index of the column in the layout")
    mean: float = Field(description="mean of log(1 + n) of the number of items n")
    std: float = Field(gt=0, description="standard deviation of the same")

    @property
    def numbers(self) -> tuple[Number, ...]:
        name = f"{self.name}.count"
        return (Number(name=name, column=self.index, transform="log", mean=self.mean, std=self.std),)

    @cached_property
    def described(self) -> tuple[Category, ...]:
        """One feature per position."""
        absent = absent_codes(missing=self.may_be_missing, rare=False)
        size = END + 1 + len(self.catalogue)
        return tuple(
            Category(name=f"{self.name}[{at}]", column=self.index, size=size, absent=absent)
            for at in range(self.length)
        )

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.described

    def text(self, first: int) -> Text:
        """Return the place of the items in a layout; first: index of the first of its categories."""
        size = END + 1 + len(self.catalogue)
        return Text(name=self.name, column=self.index, first=first, length=self.length, size=size, is_set=True)

    def encode(self, array: pa.Array) -> Features:
        lists = outermost(array)
        found, unseen = self._found(array)
        row, code = np.divmod(found, max(1, len(self.catalogue)))
        counts = np.bincount(row, minlength=len(array))
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        coded = np.full((len(array), self.length), END, np.int32)
        is_kept = place < self.length
        coded[row[is_kept], place[is_kept]] = END + 1 + code[is_kept]
        reasons = None
        if lists.nulls.any():
            coded[lists.nulls, 0] = MISSING
            if not self.may_be_missing:
                reasons = np.where(lists.nulls, MISSING_VALUE, FINE).astype(np.int8)
        counted = np.minimum(counts, self.length).astype(np.float64)
        cut = int(np.count_nonzero(counts > self.length))
        return Features(numbers=(counted,), codes=tuple(coded.T), unseen=unseen, cut=cut, reasons=reasons)

    def places(self, array: pa.Array) -> np.ndarray:
        """Return row times size of the catalogue plus place in it for each item of lists, sorted, each once."""
        return self._found(array)[0]

    def _found(self, array: pa.Array) -> tuple[np.ndarray, int]:
        """Return `places`, and the number of items that are not in the catalogue."""
        rows, values = members_of(outermost(array))
        at = pc.index_in(_as_text(values), value_set=self._known)
        is_known = values_of(pc.is_valid(at))
        places = rows[is_known] * len(self.catalogue) + values_of(pc.fill_null(at, 0))[is_known]
        return np.unique(places), int(np.count_nonzero(values_of(pc.is_valid(values)) & ~is_known))

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        """Decode the first codes of each row; its number says how many."""
        codes = features.codes
        nulls = (codes[:, 0] == MISSING) & self.may_be_missing
        counts = np.rint(np.nan_to_num(features.numbers[:, 0])).clip(0, self.length)
        has = (codes > END) & (np.cumsum(codes > END, axis=1) <= counts[:, None]) & ~nulls[:, None]
        items = self._known.take(array_of(codes[has].astype(np.int64) - END - 1, pa.int64()))
        offsets = np.concatenate([[0], np.cumsum(has.sum(axis=1))]).astype(np.int32)
        valid = pa.py_buffer(np.packbits(~nulls, bitorder="little")) if nulls.any() else None
        made = pa.Array.from_buffers(
            pa.list_(pa.string()), len(codes), [valid, pa.py_buffer(offsets)], children=[items]
        )
        return made.cast(kind)

    def read(self, items: list[object]) -> list[str]:
        """Return the text of the item at each position of a row."""
        (codes,) = np.stack(self.encode(pa.array([items])).codes, 1).tolist()
        return self.named([code for code in codes if code > END])

    def named(self, codes: list[int]) -> list[str]:
        """Return the items of codes."""
        return [self.catalogue[code - END - 1] for code in codes]

    @cached_property
    def _known(self) -> pa.Array:
        return texts_of(self.catalogue)


def fit_items(column: Column, index: int, values: pa.ChunkedArray) -> ItemsCodec:
    """Fit an encoder to training lists: the catalogue, the number of items, and the length that 99 % keep within.

    Items of a single row are left out, unless all are.
    """
    found = [members_of(outermost(chunk)) for chunk in values.chunks]
    pairs = [_distinct(rows, _as_text(items)) for rows, items in found]
    names = pa.chunked_array([items for _, items in pairs], pa.string())
    counted = pc.value_counts(names)
    texts, numbers = counted.field(0).to_pylist(), values_of(counted.field(1)).tolist()
    order = sorted(range(len(texts)), key=lambda at: (-numbers[at], texts[at]))
    frequent = [at for at in order if numbers[at] >= _LEAST_COUNT] or order
    catalogue = tuple(texts[at] for at in frequent[: column.catalogue or MOST_ITEMS])
    counts = np.concatenate(
        [np.zeros(0, np.int64)]
        + [np.bincount(rows, minlength=len(chunk)) for (rows, _), chunk in zip(pairs, values.chunks, strict=True)]
    )
    longest = int(np.quantile(counts, _LENGTH_QUANTILE, method="higher")) if len(counts) else 1
    length = max(1, min(column.length or min(MOST_PER_ROW, longest), len(catalogue) or 1))
    sizes = np.log1p(np.minimum(counts, length)) if len(counts) else np.zeros(1)
    return ItemsCodec(
        name=column.name,
        catalogue=catalogue,
        length=length,
        cut=round(float((counts > length).mean()) if len(counts) else 0.0, 6),
        may_be_missing=values.null_count > 0,
        index=index,
        mean=round(float(sizes.mean()), 9),
        std=round(max(float(sizes.std()), _LEAST_SPREAD), 9),
    )


def _distinct(rows: np.ndarray, items: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return the items that are not null, each once per row."""
    valid = pc.is_valid(items)
    rows, coded = rows[values_of(valid)], items.filter(valid).dictionary_encode()
    if not len(coded):
        return rows, pa.array([], pa.string())
    pairs = np.unique(np.stack([rows, values_of(coded.indices)]), axis=1)
    return pairs[0], coded.dictionary.take(array_of(pairs[1].astype(np.int64), pa.int64()))


def _as_text(items: pa.Array) -> pa.Array:
    return items.cast(pa.string())
