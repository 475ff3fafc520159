"""Accuracy of a logistic regression of a label on features, by stratified folds."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.learners import one_thread

_MOST_COLUMNS = 128
"""Of a regression that is fitted by Newton's method here; a step takes the square of the columns."""
_MOST_STEPS = 50
_KNOWN_STEPS = 3
"""Steps with a curvature that was computed for weights nearby."""
_ENOUGH = 1e-2
"""Nats that a further Newton step would gain, of all rows together."""
_CONSTANT = 1e-10
"""Variance of a standardised column below which it is constant in the rows that are fitted."""

Floats = NDArray[np.float64]
Narrow = NDArray[np.float32]
Labels = NDArray[Any]
"""Texts or integers, (B,)."""


def label_accuracy(matrix: NDArray[np.floating], target: Labels, *, folds: int) -> float:
    """Return the accuracy of a logistic regression of the label on features (B, D), the mean of stratified folds.

    Features are standardised by the rows that are fitted, and the squared weights of the columns are penalised by half
    of their sum. A label of two values is fitted here, since scikit-learn takes more than a second to import.
    """
    classes = np.unique(target)
    with one_thread():  # on a busy machine, two threads took twenty times as long
        if len(classes) > 2 or matrix.shape[1] > _MOST_COLUMNS:
            return accuracy_by_scikit_learn(matrix, target, folds=folds)
        return accuracy_by_newton(matrix, target, folds=folds)


def accuracy_by_newton(matrix: NDArray[np.floating], target: Labels, *, folds: int) -> float:
    """Compute `label_accuracy` of a label of two values.

    All folds share a matrix that is standardised by all rows: a weight is penalised by the variance of its column in
    the rows that are fitted, which is the penalty of a column standardised by these rows. Each fold starts from the
    weights of all rows, with the curvature there.
    """
    fold = stratified_folds(target, folds)
    order = np.argsort(fold, kind="stable")
    ends = np.searchsorted(fold[order], np.arange(folds + 1))
    blocks = [slice(begin, end) for begin, end in pairwise(ends)]
    rows, is_second = standardised(matrix[order]), (target == np.unique(target)[-1])[order]
    start = fit_logistic_regression(rows, is_second)
    curvatures = np.stack([_curvature(rows[block], _shares(rows[block] @ _narrow(start))) for block in blocks])
    found = []
    for block, own, variances in zip(blocks, curvatures, variances_without(rows[:, :-1], blocks), strict=True):
        weights = fit_logistic_regression(
            np.delete(rows, block, axis=0),
            np.delete(is_second, block),
            start=start,
            penalty=np.append(np.where(variances > _CONSTANT, variances, 1.0), 0.0),
            curvature=curvatures.sum(axis=0) - own,
        )
        found.append(float(((rows[block] @ weights > 0) == is_second[block]).mean()))
    return float(np.mean(found))


def standardised(matrix: NDArray[np.floating]) -> Narrow:
    """Return the columns with mean 0 and variance 1, constant ones as 0, and a column of ones, (B, D + 1).

    float32 halves the time; before standardisation it would lose the differences of large numbers, such as times.
    """
    centred = matrix - matrix.mean(axis=0, dtype=np.float64)
    spread = np.sqrt(np.einsum("ij,ij->j", centred, centred) / len(matrix))
    rows = np.ones((len(matrix), matrix.shape[1] + 1), np.float32)
    np.divide(centred, np.where(spread > 0, spread, 1.0), out=rows[:, :-1], casting="same_kind")
    return rows


def variances_without(rows: Narrow, blocks: Sequence[slice]) -> Iterator[Floats]:
    """Yield the variances of the columns without the rows of one block, (D,), for each block."""
    sizes = np.array([[block.stop - block.start] for block in blocks])
    means = np.stack([rows[block].mean(axis=0, dtype=np.float64) for block in blocks])
    within = []
    for block, mean in zip(blocks, means, strict=True):
        centred = rows[block] - _narrow(mean)
        within.append(np.einsum("ij,ij->j", centred, centred, dtype=np.float64))
    for left_out in range(len(blocks)):
        size, mean = np.delete(sizes, left_out, axis=0), np.delete(means, left_out, axis=0)
        whole = (size * mean).sum(axis=0) / size.sum()
        inside = np.delete(within, left_out, axis=0)
        yield (inside + size * (mean - whole) ** 2).sum(axis=0) / size.sum()


def fit_logistic_regression(
    rows: Narrow,
    truth: NDArray[np.bool_],
    *,
    start: Floats | None = None,
    penalty: Floats | None = None,
    curvature: Floats | None = None,
) -> Floats:
    """Return the weights of a logistic regression, (D,): minimise its loss plus half of the penalised squares.

    Newton's method; a step that raises the loss is halved.

    Args:
        rows: (B, D).
        truth: (B,).
        start: weights to start from; None: zeros.
        penalty: of each squared weight, (D,); None: 1, and 0 for the last column, which is 1.
        curvature: of the loss without penalties near the start, (D, D), for the first steps; None: it is computed.
    """
    weights = np.zeros(rows.shape[1]) if start is None else start
    if penalty is None:
        penalty = np.append(np.ones(rows.shape[1] - 1), 0.0)
    sign = np.where(truth, np.float32(1.0), np.float32(-1.0))

    def loss(at: Floats) -> tuple[float, Narrow]:
        margins = rows @ _narrow(at)
        return float(_softplus(-sign * margins).sum(dtype=np.float64) + (penalty * at**2).sum() / 2), margins

    now, margins = loss(weights)
    known = 0 if curvature is None else _KNOWN_STEPS
    for _ in range(_MOST_STEPS):
        share = _shares(margins)
        if curvature is None or known == 0:
            curvature = _curvature(rows, share)
        gradient = (share - truth) @ rows + penalty * weights
        # the curvature of a row that is certain vanishes in float32
        step = np.linalg.solve(curvature + np.diag(penalty + 1e-9 * len(rows)), gradient)
        size = 1.0
        while size > 1e-4:
            then, then_margins = loss(weights - size * step)
            if then <= now:
                break
            size /= 2
        else:
            if known == 0:
                break
            known = 0  # again from here, with the curvature here
            continue
        weights, gain, now, margins = weights - size * step, now - then, then, then_margins
        known = max(0, known - 1)
        if gain < _ENOUGH:
            break
    return weights


def _curvature(rows: Narrow, share: Narrow) -> Floats:
    """Return the second derivatives of the loss where rows have these shares of the second class, (D, D)."""
    scaled = rows * np.sqrt(share * (1 - share))[:, None]
    return np.asarray(scaled.T @ scaled, np.float64)  # the symmetric product of one array takes half of the time


def _shares(margins: Narrow) -> Narrow:
    return np.asarray(1 / (1 + np.exp(-np.clip(margins, -80, 80))), np.float32)


def _softplus(values: Narrow) -> Narrow:
    """Return log(1 + exp(values)), (B,); `logaddexp` takes several times as long."""
    return np.maximum(values, 0) + np.log1p(np.exp(-np.abs(values)))


def _narrow(values: Floats) -> Narrow:
    return values.astype(np.float32)


def stratified_folds(target: Labels, folds: int) -> NDArray[np.int64]:
    """Return the fold of each row, (B,): the classes have equal shares in all. Folds as in scikit-learn."""
    generator = np.random.RandomState(0)
    names, first, code = np.unique(target, return_index=True, return_inverse=True)
    code = np.argsort(np.argsort(first))[code]  # classes in the order of their first rows
    in_order = np.sort(code)
    found = np.zeros(len(target), np.int64)
    counts = np.stack([np.bincount(in_order[fold::folds], minlength=len(names)) for fold in range(folds)])
    for each in range(len(names)):
        of_class = np.arange(folds).repeat(counts[:, each])
        generator.shuffle(of_class)
        found[code == each] = of_class
    return found


def accuracy_by_scikit_learn(matrix: NDArray[np.floating], target: Labels, *, folds: int) -> float:
    """Compute `label_accuracy` of any label."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    narrow = FunctionTransformer(np.float32)
    classifier = make_pipeline(StandardScaler(), narrow, LogisticRegression(max_iter=2_000))
    chosen = StratifiedKFold(folds, shuffle=True, random_state=0)
    return float(cross_val_score(classifier, matrix, target, cv=chosen).mean())
