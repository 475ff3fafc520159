"""Values that the nearest known rows have in the missing cells of a row (Troyanskaya et al. 2001)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.encoding.relations.numeric_view import numbers_of
from aepipe.tables.arrow_arrays import plain_values

NEIGHBOURS = 8
"""Rows whose values are averaged, chosen with the weights on tables that no figure of the docs is about."""
MOST_ROWS = 10_000
"""Maximum known rows that neighbours are sought among."""
_CANDIDATES = 64
"""Nearest rows; a column takes the first ones that have a value in it."""
_CHUNK = 512
_NO_VALUE, _NEW_VALUE = -1, -2
_LEAST_DISTANCE = 1e-6

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of B rows: standardised numbers (B, N), NaN if missing, and codes of categories (B, C), -1 if missing."""

    numbers: Doubles
    codes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Means of standardised numbers (B, N), NaN without any, and weights of the values of each category (B, values)."""

    numbers: Doubles
    shares: tuple[Doubles, ...]


@dataclass(frozen=True, slots=True)
class NearestRows:
    """Known rows, with the scale of their numbers and the values of their categories."""

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    center: Doubles
    scale: Doubles
    values: tuple[pa.Array, ...]
    known: Cells

    @classmethod
    def of(cls, rows: pa.Table, *, numbers: Sequence[str], categories: Sequence[str]) -> Self:
        """Prepare at most 10,000 of the rows, always the same, to be compared in these columns."""
        if rows.num_rows > MOST_ROWS:
            chosen = np.random.default_rng(0).permutation(rows.num_rows)[:MOST_ROWS]
            rows = rows.take(pa.array(np.sort(chosen)))
        (batch,) = rows.combine_chunks().to_batches()
        found = np.stack([_finite(batch[name]) for name in numbers], 1) if numbers else np.zeros((batch.num_rows, 0))
        is_known = ~np.isnan(found)
        count = np.maximum(is_known.sum(0), 1)
        center = np.where(is_known, found, 0).sum(0) / count
        scale = np.sqrt(np.where(is_known, (found - center) ** 2, 0).sum(0) / count)
        scale[~(scale > 0)] = 1.0
        values = tuple(plain_values(batch[name]).unique().drop_null() for name in categories)
        empty = Cells(np.zeros((0, len(numbers))), np.zeros((0, len(categories)), np.int64))
        unfilled = cls(tuple(numbers), tuple(categories), center, scale, values, empty)
        return replace(unfilled, known=unfilled.cells(batch))

    def cells(self, rows: pa.RecordBatch | Mapping[str, pa.Array]) -> Cells:
        """Return the compared cells of rows."""
        numbers = [self.number_cells(at, rows[name]) for at, name in enumerate(self.numbers)]
        codes = [self.category_cells(at, rows[name]) for at, name in enumerate(self.categories)]
        count = len(numbers[0] if numbers else codes[0]) if numbers or codes else 0
        return Cells(
            np.stack(numbers, 1) if numbers else np.zeros((count, 0)),
            np.stack(codes, 1) if codes else np.zeros((count, 0), np.int64),
        )

    def neighbours(self, rows: Cells) -> Neighbours:
        """Return what the nearest known rows have in all cells, weighted by the inverse of their distance.

        The squared distance sums the squared differences of standardised numbers, and 2 per different category, over
        the cells that a row has. A cell that only the known row lacks counts as one of a random row.
        """
        parts = [self._of_chunk(rows, slice(at, at + _CHUNK)) for at in range(0, max(1, len(rows.numbers)), _CHUNK)]
        return Neighbours(
            np.concatenate([part.numbers for part in parts]),
            tuple(np.concatenate(shares) for shares in zip(*(part.shares for part in parts), strict=True)),
        )

    def _of_chunk(self, rows: Cells, chunk: slice) -> Neighbours:
        numbers, codes = rows.numbers[chunk], rows.codes[chunk]
        squared = self._distances(numbers, codes)
        most = min(_CANDIDATES, squared.shape[1])
        nearest = np.argpartition(squared, most - 1, axis=1)[:, :most]
        nearest = np.take_along_axis(nearest, np.argsort(np.take_along_axis(squared, nearest, 1), 1), 1)
        weight = 1 / np.maximum(np.sqrt(np.take_along_axis(squared, nearest, 1)), _LEAST_DISTANCE)
        means = np.full(numbers.shape, np.nan)
        for at in range(numbers.shape[1]):
            found = self.known.numbers[nearest, at]
            own = _first(weight, ~np.isnan(found))
            total = own.sum(1)
            np.divide((own * np.nan_to_num(found)).sum(1), total, out=means[:, at], where=total > 0)
        shares = []
        for at, values in enumerate(self.values):
            found_codes = self.known.codes[nearest, at]
            own = _first(weight, found_codes >= 0)
            votes = np.zeros((len(nearest), len(values)))
            line = np.broadcast_to(np.arange(len(nearest))[:, None], found_codes.shape)
            np.add.at(votes, (line[own > 0], found_codes[own > 0]), own[own > 0])
            shares.append(votes / np.maximum(votes.sum(1, keepdims=True), np.finfo(np.float64).tiny))
        return Neighbours(means, tuple(shares))

    def _distances(self, numbers: Doubles, codes: NDArray[np.int64]) -> Doubles:
        """Return squared distances of rows to all known rows, (B, known)."""
        there, given = ~np.isnan(self.known.numbers), ~np.isnan(numbers)
        known, cells = np.where(there, self.known.numbers, 0.0), np.where(given, numbers, 0.0)
        squared = (cells**2).sum(1)[:, None] - 2 * cells @ known.T + given @ (known**2 + ~there).T
        for at in range(codes.shape[1]):
            own = codes[:, at, None]
            squared += 2.0 * ((own != self.known.codes[None, :, at]) & (own != _NO_VALUE))
        distances: Doubles = np.maximum(squared, 0.0)
        return distances

    def number_cells(self, at: int, column: pa.Array) -> Doubles:
        """Return a column of numbers standardised, (B,): NaN if missing or infinite."""
        standardised: Doubles = (_finite(column) - self.center[at]) / self.scale[at]
        return standardised

    def category_cells(self, at: int, column: pa.Array) -> NDArray[np.int64]:
        """Return the codes of a column of categories, (B,): -1 if missing, -2 for a value that no known row has."""
        column = plain_values(column)
        found = pc.index_in(column, value_set=self.values[at].cast(column.type))
        codes = np.asarray(found.fill_null(_NEW_VALUE).to_numpy(zero_copy_only=False)).astype(np.int64)
        return np.where(np.asarray(column.is_null()), _NO_VALUE, codes)


def _finite(column: pa.Array) -> Doubles:
    values = numbers_of(column)
    return np.where(np.isfinite(values), values, np.nan)


def _first(weight: Doubles, has_value: NDArray[np.bool_]) -> Doubles:
    """Return the weights of the first neighbours with a value, 0 of all others."""
    return np.where(has_value & (has_value.cumsum(1) <= NEIGHBOURS), weight, 0.0)
