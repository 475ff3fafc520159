"""Accuracy of a logistic regression of a label on features, by stratified folds."""

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.learners import one_thread

_MOST_COLUMNS = 128
"""Of a regression that is fitted by Newton's method here; a step takes the square of the columns."""
_MOST_STEPS = 50
_ENOUGH = 1e-2
"""Nats that a further Newton step would gain, of all rows together."""

Floats = NDArray[np.float64]
Narrow = NDArray[np.float32]


def label_accuracy(matrix: NDArray[np.floating], target: NDArray[np.str_], *, folds: int) -> float:
    """Return the accuracy of a logistic regression of the label on features (B, D), the mean of stratified folds.

    Features are standardised by the rows that are fitted, and the squared weights of the columns are penalised by half
    of their sum. A label of two values is fitted here, since scikit-learn takes more than a second to import.
    """
    classes = np.unique(target)
    with one_thread():  # on a busy machine, two threads took twenty times as long
        if len(classes) > 2 or matrix.shape[1] > _MOST_COLUMNS:
            return accuracy_by_scikit_learn(matrix, target, folds=folds)
        return accuracy_by_newton(matrix, target, folds=folds)


def accuracy_by_newton(matrix: NDArray[np.floating], target: NDArray[np.str_], *, folds: int) -> float:
    """Compute `label_accuracy` of a label of two values."""
    is_second = target == np.unique(target)[-1]
    of = stratified_folds(target, folds)
    weights = np.zeros(matrix.shape[1] + 1)
    found = []
    for fold in range(folds):
        fitted, held_out = of != fold, of == fold
        scale = matrix[fitted].std(axis=0, dtype=np.float64)
        scale = np.where(scale > 0, scale, 1.0)
        rows = np.ones((len(matrix), matrix.shape[1] + 1), np.float32)
        # float32 halves the time; before standardisation it would lose the differences of large numbers, such as times
        rows[:, :-1] = (matrix - matrix[fitted].mean(axis=0, dtype=np.float64)) / scale
        weights = fit_logistic_regression(rows[fitted], is_second[fitted], start=weights)
        found.append(float(((rows[held_out] @ weights > 0) == is_second[held_out]).mean()))
    return float(np.mean(found))


def fit_logistic_regression(rows: Narrow, truth: NDArray[np.bool_], *, start: Floats | None = None) -> Floats:
    """Return the weights of a logistic regression, (D,): minimise its loss plus half of the squared weights.

    Newton's method; a step that raises the loss is halved.

    Args:
        rows: (B, D); the last column is 1, and its weight is not penalised.
        truth: (B,).
        start: weights to start from; None: zeros.
    """
    weights = np.zeros(rows.shape[1]) if start is None else start
    penalty = np.ones(rows.shape[1])
    penalty[-1] = 0.0
    sign = np.where(truth, 1.0, -1.0)

    def loss(at: Floats) -> tuple[float, Floats]:
        margins = (rows @ at.astype(np.float32)).astype(np.float64)
        return float(np.logaddexp(0.0, -sign * margins).sum() + (penalty * at**2).sum() / 2), margins

    now, margins = loss(weights)
    for _ in range(_MOST_STEPS):
        share = 1.0 / (1.0 + np.exp(-np.clip(margins, -500, 500)))
        gradient = rows.T @ (share - truth).astype(np.float32) + penalty * weights
        scaled = rows * np.sqrt(share * (1.0 - share)).astype(np.float32)[:, None]
        curvature = scaled.T @ scaled  # the symmetric product of one array takes half of the time
        # the curvature of a row that is certain vanishes in float32
        step = np.linalg.solve(curvature + np.diag(penalty + 1e-9 * len(rows)), gradient)
        size = 1.0
        while size > 1e-4:
            then, then_margins = loss(weights - size * step)
            if then <= now:
                break
            size /= 2
        else:
            break
        weights, gain, now, margins = weights - size * step, now - then, then, then_margins
        if gain < _ENOUGH:
            break
    return weights


def stratified_folds(target: NDArray[np.str_], folds: int) -> NDArray[np.int64]:
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


def accuracy_by_scikit_learn(matrix: NDArray[np.floating], target: NDArray[np.str_], *, folds: int) -> float:
    """Compute `label_accuracy` of any label."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    narrow = FunctionTransformer(np.float32)
    classifier = make_pipeline(StandardScaler(), narrow, LogisticRegression(max_iter=2_000))
    chosen = StratifiedKFold(folds, shuffle=True, random_state=0)
    return float(cross_val_score(classifier, matrix, target, cv=chosen).mean())
