"""Best estimates of missing cells: a model's, weighed against the nearest known rows column by column."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.encoding import Encoding
from aepipe.encoding.base import Codec
from aepipe.encoding.binned.category import TwoLevelCodes
from aepipe.encoding.binned.datetime import DatetimeCodes
from aepipe.encoding.binned.number import NumberCodes
from aepipe.encoding.category import CategoryCodec
from aepipe.encoding.datetime import DatetimeCodec
from aepipe.encoding.number import NumberCodec
from aepipe.encoding.relations.numeric_view import column_of, view_of
from aepipe.inference.nearest_rows import Doubles, NearestRows, Neighbours
from aepipe.tables.arrow_arrays import plain_values

HIDDEN = 0.2
"""Share of the cells of held-out rows that are hidden to learn the weights."""
FEWEST_ROWS = 20
"""Rows of either kind below which a model is not weighed."""
_NUMBERS = (NumberCodec, NumberCodes, DatetimeCodec, DatetimeCodes)
_CATEGORIES = (CategoryCodec, TwoLevelCodes)
_PRIOR = 20.0
"""Cells at which both have the same weight, before any held-out cell was seen."""
_GRID = np.linspace(0, 1, 11)

Mask = NDArray[np.bool_]
Estimate = Callable[[pa.RecordBatch, Mapping[str, Mask]], Mapping[str, pa.Array]]
"""A model's estimate of rows whose cells in the mask are missing, by column."""


def has_mean(codec: Codec, kind: pa.DataType) -> bool:
    """Tell whether the values of a column are averaged; otherwise the most frequent one is the best estimate."""
    return isinstance(codec, _NUMBERS) and view_of(kind) is not None


def rounded(codec: Codec, values: Doubles, kind: pa.DataType) -> pa.Array:
    """Return the column of numbers, with as many decimals as in training."""
    places = codec.bins.decimals if isinstance(codec, NumberCodes) else None
    if isinstance(codec, NumberCodec):
        places = codec.decimals
    return column_of(values if places is None else np.round(values, places), kind)


@dataclass(frozen=True, slots=True)
class WeighedEstimate:
    """Weight of a model's estimate per column; the nearest known rows have the rest."""

    codecs: Mapping[str, Codec]
    nearest: NearestRows
    weights: Mapping[str, float]

    @classmethod
    def learn(cls, encoding: Encoding, train: pa.Table, held_out: pa.Table, estimate: Estimate) -> Self:
        """Choose the weights with which hidden cells of held-out rows are estimated best.

        Args:
            encoding: the model's.
            train: rows that the model was trained on.
            held_out: rows that trained no weight.
            estimate: the model's estimate.
        """
        names = set(train.column_names)
        codecs = {codec.name: codec for codec in encoding.codecs if codec.name in names}
        numbers = [name for name, codec in codecs.items() if has_mean(codec, train.schema.field(name).type)]
        categories = [name for name, codec in codecs.items() if isinstance(codec, _CATEGORIES)]
        (rows,) = held_out.combine_chunks().to_batches()
        hidden = np.random.default_rng(0).random((rows.num_rows, len(codecs))) < HIDDEN
        there = {name: ~np.asarray(pc.is_null(rows[name], nan_is_null=True)) for name in codecs}
        masks = {name: cells & there[name] for name, cells in zip(codecs, hidden.T, strict=True)}
        gaps = _without(rows, masks)
        known = NearestRows.of(train, numbers=numbers, categories=categories)
        cells, near = known.cells(rows), known.neighbours(known.cells(gaps))
        own = known.cells({name: values for name, values in estimate(gaps, masks).items() if name in codecs})
        weights = {}
        for at, name in enumerate(numbers):
            asked = masks[name] & ~np.isnan(own.numbers[:, at]) & ~np.isnan(near.numbers[:, at])
            weights[name] = _of_numbers(*(each[asked, at] for each in (own.numbers, near.numbers, cells.numbers)))
        for at, name in enumerate(categories):
            asked = masks[name] & (near.shares[at].sum(1) > 0)
            weights[name] = _of_values(own.codes[asked, at], near.shares[at][asked], cells.codes[asked, at])
        every = NearestRows.of(
            pa.concat_tables([train, held_out]).combine_chunks(), numbers=numbers, categories=categories
        )
        return cls(codecs, every, weights)

    def refine(
        self, batch: pa.RecordBatch, missing: Mapping[str, Mask], found: Mapping[str, pa.Array]
    ) -> dict[str, pa.Array]:
        """Return a model's estimates of the missing cells of rows after weighing; null ones stay null."""
        rows = np.flatnonzero(np.any(list(missing.values()), axis=0))
        refined = dict(found)
        if not len(rows):
            return refined
        taken = pa.array(rows)
        near = self.nearest.neighbours(self.nearest.cells(batch.take(taken)))
        own = {name: plain_values(values.take(taken)) for name, values in found.items()}
        for name, cells in missing.items():
            values = self._column(name, own[name], near) if name in self.weights and cells.any() else None
            if values is not None:
                place = np.full(batch.num_rows, -1)
                place[rows] = np.arange(len(rows))
                spread = values.take(pa.array(place, mask=place < 0))
                refined[name] = pc.if_else(pa.array(place >= 0), spread, plain_values(found[name]))
        return refined

    def _column(self, name: str, own: pa.Array, near: Neighbours) -> pa.Array:
        weight, nearest = self.weights[name], self.nearest
        alone = np.asarray(own.is_null())
        if name in nearest.numbers:
            at = nearest.numbers.index(name)
            mine = nearest.number_cells(at, own)
            theirs = np.where(np.isnan(near.numbers[:, at]), mine, near.numbers[:, at])
            mean = (weight * mine + (1 - weight) * theirs) * nearest.scale[at] + nearest.center[at]
            return rounded(self.codecs[name], np.where(alone, np.nan, mean), own.type)
        at = nearest.categories.index(name)
        codes, shares = nearest.category_cells(at, own), near.shares[at]
        best = _voted(codes, shares, weight).argmax(1) if shares.shape[1] else np.zeros(len(own), np.int64)
        is_theirs = (codes >= 0) & (shares.sum(1) > 0)
        return pc.if_else(pa.array(is_theirs), nearest.values[at].cast(own.type).take(pa.array(best)), own)


def _without(rows: pa.RecordBatch, masks: Mapping[str, Mask]) -> pa.RecordBatch:
    columns = {
        name: pc.if_else(pa.array(masks[name]), pa.scalar(None, column.type), column) if name in masks else column
        for name, column in ((name, plain_values(rows[name])) for name in rows.schema.names)
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _of_numbers(own: Doubles, near: Doubles, truth: Doubles) -> float:
    """Return the weight of least squares, drawn towards one half; 1/2 where both say the same."""
    apart = own - near
    size = float((apart**2).sum())
    if not size:
        return 0.5
    prior = _PRIOR * size / len(apart)
    return float(np.clip(((apart * (truth - near)).sum() + 0.5 * prior) / (size + prior), 0, 1))


def _of_values(own: NDArray[np.int64], near: Doubles, truth: NDArray[np.int64]) -> float:
    """Return the weight with most right values; of several, the one nearest to one half."""
    if not len(truth):
        return 0.5
    right = [float((_voted(own, near, weight).argmax(1) == truth).sum()) for weight in _GRID]
    return float(_GRID[np.argmax(np.array(right) - np.abs(_GRID - 0.5))])


def _voted(own: NDArray[np.int64], near: Doubles, weight: float) -> Doubles:
    votes = (1 - weight) * near
    known = np.flatnonzero(own >= 0)
    votes[known, own[known]] += weight
    return votes
