"""Baselines of a few lines without a network."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from aepipe.heads.scores.robust_mahalanobis import concentrate
from aepipe.heads.whitening import mahalanobis_squared
from benchmarks.detection_detectors import Clock, Detector, Scored
from benchmarks.detection_tables import PROTOCOLS, Doubles, Split, standardised

NEIGHBOURS = 5
VARIANCE = 0.9
"""Share of the variance that the principal components explain; at least one direction is left for the error."""

_IQR_OF_NORMAL = 1.349

_Score = Callable[[Split, int, Clock], Doubles]


def detectors() -> list[Detector]:
    """Return all baselines."""
    made: dict[str, tuple[_Score, Mapping[str, object]]] = {
        "random": (_random, {}),
        "pca-error": (_pca_error, {"variance": VARIANCE}),
        "knn-distance": (partial(_knn_distance, NEIGHBOURS), {"neighbours": NEIGHBOURS}),
        "nearest-row": (partial(_knn_distance, 1), {"neighbours": 1}),
        "robust-mahalanobis": (_robust_mahalanobis, {}),
    }
    return [
        Detector(name, partial(_scored, score), dict.fromkeys(PROTOCOLS, options))
        for name, (score, options) in made.items()
    ]


def _scored(score: _Score, split: Split, seed: int, clock: Clock) -> Scored:
    return Scored(score(split, seed, clock))


def _random(split: Split, seed: int, clock: Clock) -> Doubles:
    return np.random.default_rng(seed).random(len(split.test))


def _pca_error(split: Split, seed: int, clock: Clock) -> Doubles:
    """Score rows by their squared distance from the first principal components, after standardisation."""
    train, test = standardised(split.train, split.test)
    with clock.fitting():
        pca = PCA(svd_solver="full").fit(train)
        enough = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), VARIANCE)) + 1
        left = pca.components_[min(enough, train.shape[1] - 1) :]
    with clock.scoring():
        return np.asarray(np.square((test - pca.mean_) @ left.T).sum(axis=1))


def _knn_distance(count: int, split: Split, seed: int, clock: Clock) -> Doubles:
    """Score rows by their mean distance to the nearest training rows, themselves excluded, after standardisation."""
    train, test = standardised(split.train, split.test)
    with clock.fitting():
        neighbours = NearestNeighbors(n_neighbors=count, n_jobs=1).fit(train)
    with clock.scoring():
        distances, _ = neighbours.kneighbors(None if split.scores_own_rows else test)
    scores: Doubles = distances.mean(axis=1)
    return scores


def _robust_mahalanobis(split: Split, seed: int, clock: Clock) -> Doubles:
    """Score rows by the squared Mahalanobis distance from the bulk of training rows, as aepipe's head computes it."""
    with clock.fitting():
        center, scale = np.median(split.train, axis=0), _robust_spread(split.train)
        mean, covariance = concentrate((split.train - center) / scale)
    with clock.scoring():
        return mahalanobis_squared((split.test - center) / scale, mean, covariance)


def _robust_spread(rows: Doubles) -> Doubles:
    """Return interquartile ranges as standard deviations; if they are 0, the standard deviation, or 1."""
    low, high = np.quantile(rows, [0.25, 0.75], axis=0)
    spread = (high - low) / _IQR_OF_NORMAL
    spread = np.where(spread > 0, spread, rows.std(axis=0))
    return np.asarray(np.where(spread > 0, spread, 1.0))
