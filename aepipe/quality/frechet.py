"""Frechet's distance between two clouds of points, each taken for a normal distribution."""

import numpy as np
from numpy.typing import NDArray


def frechet_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """|m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^1/2) of the points' means and covariances.

    first, second: (B, Z) and (M, Z), two points at least. The squared 2-Wasserstein distance of the two normals.
    Dowson & Landau 1982; of the features of pictures, Heusel et al. 2017.
    """
    apart = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    one, other = (np.atleast_2d(np.cov(np.asarray(side, np.float64), rowvar=False)) for side in (first, second))
    root = _root(one)
    # tr (S1 S2)^(1/2) is that of the symmetric S1^(1/2) S2 S1^(1/2): real, and stable where a feature is constant.
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other @ root), 0.0, None)).sum()
    return float(max(apart @ apart + np.trace(one) + np.trace(other) - 2 * shared, 0.0))


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    found: NDArray[np.float64] = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    return found
