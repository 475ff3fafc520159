"""Cells that training rows rule out: new categories, numbers far outside the range, broken dependencies.

Errors of a prediction do not show them reliably: a new category has no error, a number far outside of its range may be
as far off as others, and a category with many values is not predicted.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads.cell_predictor import CellRows
from aepipe.layout import FIRST_VALUE, RARE, UNSEEN, Layout
from aepipe.models.layers.tokens import rest_places

IMPOSSIBLE_SCORE = 10.0
"""Added to the score of such a cell, where no dev row has one of its kind in the column.

It is above nearly all other scores, so that the cell is flagged unless calibration rows often have one. Columns in
which such cells are usual get no addition: they would take all alarms.
"""

MARGIN = 0.1
"""Share of the training range by which a number exceeds the range at least."""

TAIL_ROWS, TAILS = 10, 2.0
"""A number also exceeds the range by twice the distance from the outermost training value to the 11th at that end.

In an exponential tail, this distance is 2.9 times the mean excess: a new value exceeds the range that far with a
probability of about .003 over the number of training rows.
"""

EXCEPTIONS = 1e-3
"""Greatest share of training rows that all rules together would rule out, each row by rules from other rows.

It estimates the share of normal rows that are ruled out. Many columns with a few new values each would take all of
alpha from other cells; the rules with the most exceptions are then left out. It is a tenth of the default alpha: the
rules with the fewest exceptions are also the lucky ones, which rule out two to five times this share of new rows.
"""

FEWEST_ROWS = 50
"""Least number of training rows for the range of a number, and of rows in which a dependency holds."""

_LEAST_MARGIN = 1e-2  # standard deviations
_MOST_CODES = 50_000  # of the category that determines another
_MOST_MAPS = 64
_ROWS_PER_CODE = 5
_PURE = 0.995  # share of the rows of a code that have its usual value
_EXCEPTIONS = 1e-3  # of the rows in which a dependency applies
_MOST_COMMON = 0.9  # share of one value above which a category is not worth a dependency
_GLANCE = 256  # rows that most candidates fail on

Codes = NDArray[np.int64]


class Dependency(NamedTuple):
    """Values of one category by the code of another, -1 where the code determines none; indices of both categories."""

    source: int
    target: int
    values: Codes


class Range(NamedTuple):
    """Limits of a number by its index, and how many training rows exceed the limits of all other rows."""

    number: int
    low: float
    high: float
    exceptions: int


class ImpossibleCells(nn.Module):
    """Additions to the scores of cells."""

    low: Tensor
    high: Tensor
    of_unseen: Tensor
    sources: Tensor
    targets: Tensor
    offsets: Tensor
    values: Tensor
    of_broken: Tensor

    def __init__(self, layout: Layout) -> None:
        """Add nothing until `learn`."""
        super().__init__()
        self.columns = len(layout.columns)
        self.register_buffer("low", torch.full((len(layout.numbers),), -torch.inf))
        self.register_buffer("high", torch.full((len(layout.numbers),), torch.inf))
        self.register_buffer("of_unseen", torch.zeros(len(layout.categories), self.columns))
        self._keep(layout, [])

    def numbers(self, dense: Tensor) -> Tensor:
        """Return the additions of numbers, (B, N)."""
        return ((dense < self.low) | (dense > self.high)).to(dense.dtype) * IMPOSSIBLE_SCORE

    def categories(self, codes: Tensor) -> Tensor:
        """Return the additions of categories by column, (B, columns)."""
        found = (codes == UNSEEN).to(self.of_unseen.dtype) @ self.of_unseen
        if len(self.sources):
            wanted = F.embedding(codes.index_select(1, self.sources) + self.offsets, self.values).squeeze(2)
            is_broken = (wanted >= 0) & (codes.index_select(1, self.targets) != wanted)
            found = found + is_broken.to(found.dtype) @ self.of_broken
        return found

    def learn(self, layout: Layout, train: CellRows, dev: CellRows) -> None:
        """Learn rules from training rows; leave out what dev rows contradict, and rules with too many exceptions."""
        codes, fresh = (np.asarray(rows.codes.numpy(), np.int64) for rows in (train, dev))
        alone = rest_places(layout)
        sizes = [layout.categories[index].size for index in alone]
        found = [
            Dependency(alone[each.source], alone[each.target], each.values)
            for each in find_dependencies(codes[:, alone], sizes)
        ]
        dependencies = [each for each in found if not len(_exceptions(each, fresh))][:_MOST_MAPS]
        ranges = list(_ranges(layout, train, dev))
        unseen = [index for index in alone if not (fresh[:, index] == UNSEEN).any()]
        kept = _few_exceptions(
            [
                *(each.exceptions for each in ranges),
                *(_new_codes(codes[:, index]) for index in unseen),
                *(len(_exceptions(each, codes)) for each in dependencies),
            ],
            most=EXCEPTIONS * len(codes),
        )
        of_ranges, of_unseen, of_dependencies = np.split(kept, np.cumsum([len(ranges), len(unseen)]))
        for each in itertools.compress(ranges, of_ranges):
            self.low[each.number], self.high[each.number] = each.low, each.high
        for index in itertools.compress(unseen, of_unseen):
            self.of_unseen[index, layout.categories[index].column] = IMPOSSIBLE_SCORE
        self._keep(layout, list(itertools.compress(dependencies, of_dependencies)))

    def _keep(self, layout: Layout, found: list[Dependency]) -> None:
        sizes = [len(each.values) for each in found]
        of_broken = torch.zeros(len(found), self.columns)
        for at, each in enumerate(found):
            of_broken[at, layout.categories[each.target].column] = IMPOSSIBLE_SCORE
        self.register_buffer("of_broken", of_broken)
        self.register_buffer("sources", torch.tensor([each.source for each in found], dtype=torch.int64))
        self.register_buffer("targets", torch.tensor([each.target for each in found], dtype=torch.int64))
        self.register_buffer("offsets", torch.tensor(np.cumsum([0, *sizes])[:-1], dtype=torch.int64))
        values = np.concatenate([*(each.values for each in found), np.zeros(0, np.int64)])
        self.register_buffer("values", torch.tensor(values, dtype=torch.int64).unsqueeze(1))


def _ranges(layout: Layout, train: CellRows, dev: CellRows) -> Iterator[Range]:
    """Yield the ranges of numbers that dev rows keep to."""
    for index, number in enumerate(layout.numbers):
        rows = train.observed[:, index].numpy() > 0
        known = train.dense[:, index].double().numpy()[rows]
        # parts of a column, such as the week of a date, move on from night to night
        if number.name != layout.columns[number.column] or len(known) < FEWEST_ROWS:
            continue
        low, high = limits(known)
        fresh = dev.dense[dev.observed[:, index] > 0, index].double()
        if not ((fresh < low) | (fresh > high)).any():
            yield Range(index, low, high, _beyond_others(known))


def _beyond_others(values: NDArray[np.float64]) -> int:
    """Return how many values exceed the limits of all others: the least, the greatest, both or none."""
    found = 0
    for at in (int(values.argmin()), int(values.argmax())):
        low, high = limits(np.delete(values, at))
        found += not low <= values[at] <= high
    return found


def _new_codes(codes: Codes) -> float:
    """Return how many of the codes (B,) are new to the other four fifths of the rows, on average over all divisions.

    A code of c rows is, with probability .2^(c - 1) for each of them. A rare value has one row.
    """
    counts = np.bincount(codes, minlength=FIRST_VALUE).astype(np.float64)
    of_values = counts[FIRST_VALUE:]
    return float(counts[RARE] + (of_values * 0.2 ** np.maximum(0.0, of_values - 1)).sum())


def _few_exceptions(exceptions: Sequence[float], *, most: float) -> NDArray[np.bool_]:
    """Choose rules, those with the fewest exceptions first, while all together have at most `most`."""
    counts = np.array([*exceptions, 0.0])[:-1]
    order, kept = np.argsort(counts, kind="stable"), np.zeros(len(counts), np.bool_)
    kept[order] = np.cumsum(counts[order]) <= most
    return kept


def limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the numbers below and above which no value like these is expected.

    >>> limits(np.arange(101.0))
    (-20.0, 120.0)
    """
    ordered = np.sort(values)
    least = max(MARGIN * float(ordered[-1] - ordered[0]), _LEAST_MARGIN)
    low, high = (TAILS * float(abs(end[TAIL_ROWS] - end[0])) for end in (ordered, ordered[::-1]))
    return float(ordered[0]) - max(least, low), float(ordered[-1]) + max(least, high)


def find_dependencies(codes: Codes, sizes: list[int]) -> list[Dependency]:
    """Return the pairs of categories (B, K) in which the first determines the second in nearly all rows."""
    found = []
    for source, size in enumerate(sizes):
        for target in range(len(sizes)):
            if source == target or size > _MOST_CODES or not _is_possible(codes[:_GLANCE], source, target):
                continue
            if (values := _determined(codes[:, source], codes[:, target], size)) is not None:
                found.append(Dependency(source, target, values))
    return found


def _is_possible(codes: Codes, source: int, target: int) -> bool:
    """Return False if some code clearly has several values among a few rows."""
    pairs = np.unique(codes[:, [source, target]], axis=0)
    return len(pairs) <= 1.1 * len(np.unique(codes[:, source])) + 1


def _determined(source: Codes, target: Codes, size: int) -> Codes | None:
    """Return the value of the target by code of the source, -1 where there is none; None without a dependency."""
    pairs, counts = np.unique(np.stack([source, target], 1), axis=0, return_counts=True)
    rows = np.bincount(source, minlength=size)
    order = np.argsort(counts, kind="stable")
    usual, most = np.full(size, -1, np.int64), np.zeros(size, np.int64)
    usual[pairs[order, 0]], most[pairs[order, 0]] = pairs[order, 1], counts[order]  # the most frequent pair is last
    is_clear = (rows >= _ROWS_PER_CODE) & (most >= _PURE * rows) & (usual >= FIRST_VALUE)
    is_clear[:FIRST_VALUE] = False
    covered, right = int(rows[is_clear].sum()), int(most[is_clear].sum())
    if covered < max(FEWEST_ROWS, len(source) / 2) or covered - right > _EXCEPTIONS * covered:
        return None
    common = np.bincount(usual[is_clear], weights=rows[is_clear]).max()
    return None if common > _MOST_COMMON * covered else np.where(is_clear, usual, -1)


def _exceptions(each: Dependency, codes: Codes) -> Codes:
    """Return the positions of the rows that break a dependency."""
    wanted = each.values[np.clip(codes[:, each.source], 0, len(each.values) - 1)]
    return np.flatnonzero((wanted >= 0) & (codes[:, each.target] != wanted))
