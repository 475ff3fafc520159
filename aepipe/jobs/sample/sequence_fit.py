"""Sequences of entities in training rows: their starts, lengths and gaps, and how a row depends on the one before."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.quality.exact_copies import row_codes
from aepipe.quality.learners import boosted_trees, fit_trees, one_thread
from aepipe.tables.arrow_types import plain
from aepipe.tables.entities import Entities

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

MOST_ROWS = 50_000
FEWEST_ENTITIES, FEWEST_PAIRS = 10, 100
LEAST_CARRIED = 0.8
"""Share of steps, beyond chance, in which a column must repeat another one of the row before to be carried over."""
_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Carried:
    """Column whose value repeats `source` of the row before, with this probability beyond chance."""

    target: str
    source: str
    probability: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of entities, in units of the time column: start and length of each, and gaps between their rows.

    starts, lengths, levels: (E,), ordered by start; a level is the mean log gap of an entity. residuals: log gaps
    without their level. unit: greatest common divisor of the gaps. least, most: of the gaps. end: last time.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    levels: NDArray[np.float64]
    residuals: NDArray[np.float64]
    unit: int
    least: int
    most: int
    end: int

    @classmethod
    def fit(cls, entity: NDArray[np.int64], time: NDArray[np.int64]) -> "Pace":
        """Fit to rows ordered by entity and time, (B,) each; entities are numbered from 0."""
        first = np.flatnonzero(np.diff(entity, prepend=-1))
        same = entity[1:] == entity[:-1]
        gaps, owner = np.diff(time)[same], entity[1:][same]
        unit = max(int(np.gcd.reduce(gaps)), 1)
        logs = np.log(gaps + float(unit))
        counts = np.bincount(owner, minlength=len(first))
        levels = np.bincount(owner, weights=logs, minlength=len(first)) / np.maximum(counts, 1)
        levels[counts == 0] = np.median(logs)
        order = np.argsort(time[first], kind="stable")
        lengths = np.bincount(entity)
        return cls(
            time[first][order],
            lengths[order],
            levels[order],
            logs - levels[owner],
            unit,
            int(gaps.min()),
            int(gaps.max()),
            int(time.max()),
        )

    def draw(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Draw the times of one entity, in order, (L,).

        The start lies between two neighbouring starts of training; length and pace come from entities that started at
        about that time, independently of each other. Gaps shrink where the last time of training would be exceeded.
        """
        at = int(generator.integers(len(self.starts)))
        after = self.starts[min(at + 1, len(self.starts) - 1)]
        start = int(self.starts[at]) + int(generator.random() * (after - self.starts[at])) // self.unit * self.unit
        near = np.clip(at + generator.integers(-_NEIGHBOURS, _NEIGHBOURS + 1, 2), 0, len(self.starts) - 1)
        steps = int(self.lengths[near[0]]) - 1
        logs = self.levels[near[1]] + generator.choice(self.residuals, steps)
        gaps = np.clip(np.exp(logs) - self.unit, self.least, self.most)
        left = max(self.end - start, 0)
        gaps *= min(1.0, left / max(float(gaps.sum()), 1.0))
        whole = np.maximum(np.round(gaps / self.unit).astype(np.int64) * self.unit, self.least)
        return start + np.concatenate([np.zeros(1, np.int64), np.cumsum(whole)])


@dataclass(frozen=True, slots=True)
class SequenceModel:
    """Model of sequences, next to the model of single rows.

    step, first: classifiers of real pairs of rows against pairs of other rows, and of first rows against any row; their
    log odds weigh candidates for the next row. None with too few entities.
    """

    pace: Pace
    carried: tuple[Carried, ...]
    step: "HistGradientBoostingClassifier"
    first: "HistGradientBoostingClassifier | None"


def times_of(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """Return times as whole numbers, (B,); None for a column that is no integer, date or timestamp, or has nulls."""
    kind = plain(column.type)
    if column.null_count or not (pt.is_timestamp(kind) or pt.is_date(kind) or pt.is_integer(kind)):
        return None
    values = column.combine_chunks()
    narrow = pa.int32() if pt.is_date32(kind) else pa.int64()
    return np.asarray(values.cast(narrow), np.int64)


def fit_sequences(
    rows: pa.Table,
    features: NDArray[np.float64],
    entity: NDArray[np.int64],
    time: NDArray[np.int64],
    *,
    fixable: Collection[str],
    seed: int,
) -> SequenceModel | None:
    """Fit a model of sequences to training rows; None with fewer than 10 entities or 100 pairs of rows.

    Args:
        rows: Sampled columns.
        features: Numeric view of the rows, (B, D).
        entity: Number of the entity of each row, (B,).
        time: Time of each row, (B,).
        fixable: Columns that the model of rows can be given.
        seed: Random seed.
    """
    generator = np.random.default_rng(seed)
    counts = np.bincount(entity)
    chosen = np.zeros(len(counts), np.bool_)
    shuffled = generator.permutation(np.flatnonzero(counts))
    chosen[shuffled[: max(int((np.cumsum(counts[shuffled]) <= MOST_ROWS).sum()), 1)]] = True
    order = np.lexsort((time, entity))
    order = order[chosen[entity[order]]]
    number = np.unique(entity[order], return_inverse=True)[1]
    before = np.flatnonzero(number[1:] == number[:-1])
    if len(before) < FEWEST_PAIRS or number.max(initial=0) + 1 < FEWEST_ENTITIES:
        return None
    ordered = rows.take(pa.array(order))
    carried = find_carried(ordered, before, fixable)
    values = features[order]
    groups = np.zeros(len(order), np.int64)
    if carried:
        (groups,) = row_codes([ordered.select([each.target for each in carried])])
    pairs = [values[before], values[before + 1]]
    other = before + 1
    # the noise of the classifier is what the sampler proposes: rows with the same carried values
    random = [np.lexsort((generator.random(len(other)), groups[other])) for _ in range(2)]
    mixed = np.empty_like(other)
    mixed[random[0]] = other[random[1]]
    step = _classifier(pair_features(*pairs), pair_features(pairs[0], values[mixed]), seed)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    first = None
    if len(starts) >= FEWEST_PAIRS:
        first = _classifier(values[starts], values[generator.integers(0, len(values), len(starts))], seed)
    return SequenceModel(Pace.fit(number, time[order]), carried, step, first)


def find_carried(rows: pa.Table, before: NDArray[np.int64], fixable: Collection[str]) -> tuple[Carried, ...]:
    """Find the columns that repeat a column of the row before: themselves, or another one of the same text values.

    Args:
        rows: Rows of entities in order.
        before: Indices of rows that the same entity's next row follows.
        fixable: Columns that may be carried.
    """
    found = []
    names = [name for name in rows.column_names if name in fixable]
    is_text = {name: pt.is_string(plain(rows.schema.field(name).type)) for name in names}
    for target in names:
        best = Carried(target, target, 0.0)
        for source in names:
            if source != target and not (is_text[source] and is_text[target]):
                continue
            kept = [rows[name].combine_chunks() for name in (source, target)]
            last, following = (
                pa.table({"value": column.take(pa.array(at))})
                for column, at in zip(kept, (before, before + 1), strict=True)
            )
            one, other = row_codes([last, following])
            size = int(max(one.max(), other.max())) + 1
            shares = [np.bincount(codes, minlength=size) / len(codes) for codes in (one, other)]
            chance = float(shares[0] @ shares[1])
            repeated = (float((one == other).mean()) - chance) / max(1 - chance, 1e-9)
            if repeated > best.probability:
                best = Carried(target, source, repeated)
        if best.probability >= LEAST_CARRIED:
            found.append(best)
    return tuple(found)


def pair_features(last: NDArray[np.float64], following: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the features of pairs of rows, (B, 3 D): both rows and their difference."""
    return np.hstack([last, following, following - last])


def entities_of(rows: pa.Table, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the number of the entity of each row, (B,)."""
    return Entities.of([rows[name] for name in names]).codes.astype(np.int64)


def _classifier(real: NDArray[np.float64], other: NDArray[np.float64], seed: int) -> "HistGradientBoostingClassifier":
    """Fit boosted trees that tell real rows (or pairs) from others, as many of each."""
    matrix, truth = np.concatenate([real, other]), np.arange(len(real) + len(other)) < len(real)
    with one_thread():
        return fit_trees(boosted_trees(np.zeros(matrix.shape[1], np.bool_), seed=seed), matrix, truth)
