"""Arithmetic on real latents: interpolation, attribute vectors, traversals, clusters.

numpy in, numpy out. Independent of graphs, tables and torch.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Latents = NDArray[np.float64]
How = Literal["lerp", "slerp"]

SPREAD = (0.025, 0.975)
"""Quantiles of the training latents that bound a traversal."""

_PARALLEL = 1e-9  # the sine of an angle below which two directions are one
_LEAST_NORM = 1e-30  # a shorter latent has no direction: squares of its coordinates underflow


def path(first: ArrayLike, last: ArrayLike, *, steps: int, how: How = "slerp") -> Latents:
    """Interpolate from each first latent to its last one, both ends exact, (B, steps, Z).

    Args:
        first: (B, Z).
        last: (B, Z).
        steps: latents per path, at least 2.
        how: "slerp" follows the arc, "lerp" the straight line.

    >>> path([[0.0, 0.0]], [[1.0, 2.0]], steps=3, how="lerp")[0].tolist()
    [[0.0, 0.0], [0.5, 1.0], [1.0, 2.0]]
    """
    return (slerp if how == "slerp" else lerp)(first, last, shares(steps))


def shares(steps: int) -> NDArray[np.float64]:
    """Return the share of the last end at each of `steps` steps, 0 to 1, (steps,)."""
    return np.linspace(0, 1, steps)


def lerp(first: ArrayLike, last: ArrayLike, share: ArrayLike) -> Latents:
    """Interpolate linearly: (1 - t) first + t last, (B, S, Z). first, last: (B, Z); share: (S,)."""
    a, b, t = _ends(first, last, share)
    return np.asarray((1 - t) * a + t * b)


def slerp(first: ArrayLike, last: ArrayLike, share: ArrayLike) -> Latents:
    """Interpolate along the arc: constant angular speed, linear norm, (B, S, Z).

    Draws from N(0, I) in many dimensions lie near a sphere; a straight line crosses its inside, where training saw
    nothing. Equals Shoemake 1985 and White 2016 for ends of equal norm; otherwise the norm is interpolated linearly.
    Opposite ends are joined by the half circle towards the axis with the smallest component. If an end is 0, or Z = 1,
    the path is straight.

    Args:
        first: (B, Z).
        last: (B, Z).
        share: (S,).
    """
    a, b, t = _ends(first, last, share)
    norm_a, norm_b = (np.linalg.norm(ends, axis=2, keepdims=True) for ends in (a, b))
    unit_a, unit_b = (ends / np.maximum(norm, _LEAST_NORM) for ends, norm in ((a, norm_a), (b, norm_b)))
    cosine = (unit_a * unit_b).sum(2, keepdims=True)
    across = unit_b - cosine * unit_a
    sine = np.linalg.norm(across, axis=2, keepdims=True)
    angle = np.arctan2(sine, cosine)  # exact for small angles too, where an arccos is not
    is_opposite = (sine < _PARALLEL) & (cosine < 0)
    towards = np.where(is_opposite, _perpendicular(unit_a), across / np.maximum(sine, _PARALLEL))
    arc = (np.cos(t * angle) * unit_a + np.sin(t * angle) * towards) * ((1 - t) * norm_a + t * norm_b)
    is_straight = (np.minimum(norm_a, norm_b) < _LEAST_NORM) | (a.shape[2] == 1)
    return np.where((t == 0) | (t == 1) | is_straight, (1 - t) * a + t * b, arc)


def attribute_vector(having: ArrayLike, lacking: ArrayLike) -> Latents:
    """Return the mean latent of rows with an attribute minus that of rows without it, (Z,).

    Larsen et al. 2016.

    Args:
        having: (B, Z), at least one row.
        lacking: (B, Z), at least one row.
    """
    means = (np.asarray(rows, np.float64).mean(axis=0) for rows in (having, lacking))
    return np.asarray(next(means) - next(means))


def shifted(latents: ArrayLike, vector: ArrayLike, amounts: ArrayLike) -> Latents:
    """Add each of `amounts` (A,) times the vector (Z,) to the latents (B, Z): (B, A, Z)."""
    z, by = np.asarray(latents, np.float64), np.asarray(amounts, np.float64)
    return np.asarray(z[:, None] + by[None, :, None] * np.asarray(vector, np.float64))


def spread(latents: ArrayLike, *, steps: int) -> Latents:
    """Return evenly spaced values between the `SPREAD` quantiles of each dimension, (steps, Z). latents: (B, Z)."""
    low, high = np.quantile(np.asarray(latents, np.float64), SPREAD, axis=0)
    return np.asarray(np.linspace(low, high, steps))


def traversal(latents: ArrayLike, dimensions: ArrayLike, values: ArrayLike) -> Latents:
    """Set one dimension at a time of the latents (B, Z) to each of its values, (B, D, steps, Z).

    Args:
        latents: (B, Z).
        dimensions: (D,) indices.
        values: (steps, Z), as returned by `spread`.
    """
    z, index, settings = (
        np.asarray(latents, np.float64),
        np.asarray(dimensions, np.int64),
        np.asarray(values, np.float64),
    )
    moved = np.tile(z[:, None, None], (1, len(index), len(settings), 1))
    moved[:, np.arange(len(index)), :, index] = settings[:, index].T[:, None]
    return moved


class Assigned(NamedTuple):
    """Component of each latent, int32 (B,), and the Mahalanobis distance to its centre, (B,)."""

    component: NDArray[np.int32]
    distance: NDArray[np.float64]


class Mixture(NamedTuple):
    """Gaussian mixture over latents. weights: (K,). means: (K, Z). factors: (K, Z, Z), lower Cholesky factors."""

    weights: Latents
    means: Latents
    factors: Latents

    def assign(self, latents: ArrayLike) -> Assigned:
        """Return the component of greatest posterior probability and the Mahalanobis distance to its centre.

        A typical distance is about sqrt(Z); a row far beyond it is unlike the training rows.
        """
        distances = self.distances(latents)
        component = (self.log_heights - 0.5 * distances**2).argmax(axis=1)
        return Assigned(component.astype(np.int32), distances[np.arange(len(distances)), component])

    def distances(self, latents: ArrayLike) -> NDArray[np.float64]:
        """Return the Mahalanobis distance to every centre, (B, K)."""
        centred = np.asarray(latents, np.float64)[None] - self.means[:, None]
        return np.asarray(np.linalg.norm(centred @ self.whitening, axis=2).T)

    @property
    def log_heights(self) -> Latents:
        """Log of each component's weighted density at its centre, without (2 pi)^(-Z/2), (K,)."""
        diagonals = np.diagonal(self.factors, axis1=1, axis2=2)
        return np.asarray(np.log(self.weights) - np.log(diagonals).sum(axis=1))

    @property
    def whitening(self) -> Latents:
        """Whitening matrices (K, Z, Z): centred rows times a matrix have unit covariance."""
        return np.asarray(np.linalg.inv(self.factors).swapaxes(1, 2))


def _ends(first: ArrayLike, last: ArrayLike, share: ArrayLike) -> tuple[Latents, Latents, Latents]:
    """Return the ends as (B, 1, Z) and the shares as (1, S, 1)."""
    a, b = np.asarray(first, np.float64)[:, None], np.asarray(last, np.float64)[:, None]
    return a, b, np.asarray(share, np.float64)[None, :, None]


def _perpendicular(units: Latents) -> Latents:
    """Return a unit vector orthogonal to each of `units` (B, 1, Z), towards the axis of the smallest component."""
    axis = np.eye(units.shape[2])[np.abs(units).argmin(axis=2)]
    across = axis - (axis * units).sum(2, keepdims=True) * units
    return np.asarray(across / np.maximum(np.linalg.norm(across, axis=2, keepdims=True), np.finfo(float).tiny))
