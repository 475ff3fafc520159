"""Measures of synthetic rows: the measures of the quality gate, and more that shapes and pair trends do not cover."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from aepipe.quality.alignment import Columns, Rows, align
from aepipe.quality.classifier_two_sample import two_sample
from aepipe.quality.column_pair_trends import pair_trends
from aepipe.quality.column_shapes import column_shapes
from aepipe.quality.design_matrix import stacked, tree_matrix
from aepipe.quality.distance_to_closest import closeness
from aepipe.quality.exact_copies import copies
from aepipe.quality.learners import boosted_trees, one_thread
from benchmarks.store import Values

RARE = (0.002, 0.01)
"""Shares of a value that is called rare."""
_MOST_VALUES = 500
_LEAST_DETERMINED = 0.999
_LEAST_ROWS_PER_VALUE = 5

Mask = NDArray[np.bool_]


class Order(NamedTuple):
    """Two number columns: `low` is never greater than `high` in training rows."""

    low: str
    high: str


def measured(train: pa.Table, held_out: pa.Table, made: pa.Table, many: pa.Table, *, target: str, seed: int) -> Values:
    """Return all measures: `many` rows against training rows, the others against held-out rows.

    Moments, rare values and dependencies are measured on `many` rows, since few rows miss rare values by chance.
    """
    columns, (learned, kept, drawn) = align([train, held_out, made], [target])
    apart, copied = two_sample(columns, kept, drawn, seed=seed), copies(train, held_out, made)
    found = {
        "shapes": column_shapes(columns, kept, drawn).score,
        "trends": pair_trends(columns, kept, drawn).score,
        "trees": apart.trees.value,
        "logistic": apart.logistic.value,
        "closer": closeness(learned, kept, drawn, seed=seed).share,
        "copies": copied.share,
        "copies_bound": copied.bound,
        "rare": rare_shares(train, many),
        "dependencies": dependencies(train, many),
        "useful": usefulness(columns, drawn, kept, target=target, seed=seed),
        **moments(*(rows.numbers for rows in align([train, many], [target])[1])),
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}


def of_class(held_out: pa.Table, made: pa.Table, *, seed: int) -> Values:
    """Measure how well trees tell drawn rows of one class from held-out ones."""
    columns, (kept, drawn) = align([held_out, made])
    return {"class_trees": two_sample(columns, kept, drawn, seed=seed).trees.value}


def moments(real: NDArray[np.float64], made: NDArray[np.float64]) -> dict[str, float]:
    """Return the largest errors over number columns (B, N), in standard deviations of the real values."""
    found: dict[str, list[float]] = {"mean": [], "spread": [], "q99": [], "q999": []}
    for first, second in zip(real.T, made.T, strict=True):
        ours, theirs = second[~np.isnan(second)], first[~np.isnan(first)]
        if not len(ours) or len(np.unique(theirs)) < 3:
            continue
        spread = float(theirs.std())
        found["mean"].append(abs(ours.mean() - theirs.mean()) / spread)
        found["spread"].append(abs(ours.std() / spread - 1))
        for name, level in (("q99", 0.99), ("q999", 0.999)):
            found[name].append(abs(np.quantile(ours, level) - np.quantile(theirs, level)) / spread)
    return {name: max(values) if values else float("nan") for name, values in found.items()}


def rare_shares(train: pa.Table, made: pa.Table) -> float:
    """Return the mean ratio of shares of rare values; NaN without any."""
    ratios = []
    for name in train.column_names:
        real, drawn = (_shares(each[name]) for each in (train, made))
        if len(real) <= _MOST_VALUES:
            ratios += [drawn.get(value, 0.0) / share for value, share in real.items() if RARE[0] <= share <= RARE[1]]
    return float(np.mean(ratios)) if ratios else float("nan")


def dependencies(train: pa.Table, made: pa.Table) -> float:
    """Return the mean share of rows whose value of a column follows from another one, as it does in training rows.

    Pairs of columns of few values in which one determines the other in 99.9 % of the rows; NaN without any.
    """
    held = []
    names = [name for name in train.column_names if 2 <= len(_shares(train[name])) <= _MOST_VALUES]
    codes = {name: _codes_of(train[name], made[name]) for name in names}
    for cause in names:
        real, drawn = codes[cause]
        if len(real) < _LEAST_ROWS_PER_VALUE * len(np.unique(real)):
            continue
        for effect in names:
            if effect == cause or len(np.unique(codes[effect][0])) > len(np.unique(real)):
                continue
            table = np.zeros((max(real.max(), drawn.max()) + 1, max(map(np.max, codes[effect])) + 1))
            np.add.at(table, (real, codes[effect][0]), 1)
            if table.max(1).sum() >= _LEAST_DETERMINED * len(real):
                held.append(float((table.argmax(1)[drawn] == codes[effect][1]).mean()))
    return float(np.mean(held)) if held else float("nan")


def usefulness(columns: Columns, made: Rows, kept: Rows, *, target: str, seed: int) -> float:
    """Return the AUROC on held-out rows of trees that learned the rarest common class of `target` from made rows."""
    at = columns.names.index(target)
    matrix = tree_matrix(columns, stacked([made, kept]))
    classes = np.concatenate([made.codes, kept.codes])[:, at - len(columns.numbers)]
    counts = np.bincount(classes[len(made) :])
    common = np.flatnonzero(counts >= max(10, 0.01 * counts.sum()))
    truth = classes == common[counts[common].argmin()]
    values, is_category = np.delete(matrix.values, at, axis=1), np.delete(matrix.is_category, at)
    fitted, tested = slice(None, len(made)), slice(len(made), None)
    if len(np.unique(truth[fitted])) < 2 or len(np.unique(truth[tested])) < 2:
        return float("nan")
    with one_thread():
        learner = boosted_trees(is_category, seed=seed).fit(values[fitted], truth[fitted])
        return float(roc_auc_score(truth[tested], learner.decision_function(values[tested])))


def order_of(train: pa.Table) -> Order | None:
    """Return the closest two number columns with an order that all training rows have; None without any."""
    columns, (rows,) = align([train])
    best, closest = None, np.inf
    spreads = np.nanstd(rows.numbers, axis=0)
    for low, first in enumerate(columns.numbers):
        for high, second in enumerate(columns.numbers):
            gap = rows.numbers[:, high] - rows.numbers[:, low]
            known = gap[~np.isnan(gap)]
            if low == high or not len(known) or known.min() < 0 or not spreads[low] or known.std() == 0:
                continue
            if known.mean() / spreads[low] < closest:
                best, closest = Order(first, second), known.mean() / spreads[low]
    return best


def variation(real: pa.Table, free: pa.Table, constrained: pa.Table, but: Order) -> float:
    """Return the most that a constraint adds to the total variation of a column it does not name, to real rows."""
    names = [name for name in real.column_names if name not in but and len(_shares(real[name])) <= _MOST_VALUES]
    apart = [[_variation(each[name], real[name]) for name in names] for each in (free, constrained)]
    return max((second - first for first, second in zip(*apart, strict=True)), default=float("nan"))


def _variation(first: pa.ChunkedArray, second: pa.ChunkedArray) -> float:
    shares = _shares(first), _shares(second)
    values = set(shares[0]) | set(shares[1])
    return sum(abs(shares[0].get(value, 0.0) - shares[1].get(value, 0.0)) for value in values) / 2


def _shares(column: pa.ChunkedArray) -> dict[object, float]:
    counts = column.combine_chunks().value_counts()
    return {each["values"].as_py(): each["counts"].as_py() / len(column) for each in counts}


def _codes_of(first: pa.ChunkedArray, second: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    both = pa.chunked_array([*first.chunks, *second.cast(first.type).chunks]).combine_chunks()
    codes = np.asarray(both.dictionary_encode(null_encoding="encode").indices, np.int64)
    return codes[: len(first)], codes[len(first) :]
