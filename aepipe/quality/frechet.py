"""Frechet distance between two sets of points, each modelled as a normal distribution."""

import numpy as np
from numpy.typing import NDArray


def frechet_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Compute |m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^1/2) of the points' means and covariances.

    This is the squared 2-Wasserstein distance of the two normals. Dowson & Landau 1982; for image features, Heusel et
    al. 2017.

    Args:
        first: Points, (B, Z), at least two.
        second: Points, (M, Z), at least two.
    """
    difference = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    one, other = (np.atleast_2d(np.cov(np.asarray(side, np.float64), rowvar=False)) for side in (first, second))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    # tr (S1 S2)^(1/2) equals that of the symmetric S1^(1/2) S2 S1^(1/2): real, and stable if a feature is constant.
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other @ root), 0.0, None)).sum()
    return float(max(difference @ difference + np.trace(one) + np.trace(other) - 2 * shared, 0.0))
