"""Boosted trees for the quality measures, and their number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    _Trees = TypeVar("_Trees", HistGradientBoostingClassifier, HistGradientBoostingRegressor)


def boosted_trees(
    is_category: NDArray[np.bool_], *, seed: int, is_weighted: bool = False
) -> "HistGradientBoostingClassifier":
    """Create scikit-learn's classifier at its defaults, without early stopping. is_weighted: balance the classes."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        categorical_features=is_category,
        class_weight="balanced" if is_weighted else None,
        early_stopping=False,
        random_state=seed & 0xFFFFFFFF,
    )


def fit_trees(learner: "_Trees", values: NDArray[np.float64], target: NDArray[np.generic]) -> "_Trees":
    """Fit boosted trees to rows (B, D), NaN if missing, and their targets (B,).

    A column of NaN only is constant for the trees, since scikit-learn cannot bin a column without values.
    """
    is_empty = np.isnan(values).all(axis=0)
    return learner.fit(np.where(is_empty, 0.0, values) if is_empty.any() else values, target)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit native libraries to one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):  # on small tables, threads mostly wait for each other
        yield
