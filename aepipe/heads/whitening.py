"""Mahalanobis distances by whitening with shrunk, invertible covariances."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aepipe.heads.base import Head, ScoringInputs
from aepipe.heads.distance_space import MODEL, Fields, Matrix, Scaling, Space

LEAST_EIGENVALUE = 1e-3
"""Least eigenvalue relative to the mean: a projection grows by 32 at most, so float32 keeps five digits."""


class WhitenedDistance(Head):
    """Root mean square of the whitened coordinates of a row, (B,): about 1 for a typical row."""

    projection: Tensor
    bias: Tensor

    def __init__(self, scaling: Scaling, *, mean: Matrix, covariance: Matrix, fields: Fields = MODEL) -> None:
        super().__init__()
        self.space = Space(scaling, fields)
        # Division by sqrt(D) makes the length of a whitened row its root mean square.
        projection = whitening_projection(covariance).T / np.sqrt(len(mean))
        self.register_buffer("projection", torch.tensor(projection, dtype=torch.float32))
        self.register_buffer("bias", torch.tensor(-projection @ mean, dtype=torch.float32))

    def forward(self, evidence: ScoringInputs) -> Tensor:
        whitened = F.linear(self.space(evidence), self.projection, self.bias)
        length: Tensor = torch.linalg.vector_norm(whitened, dim=1)
        return length


def whitened_squares(points: Tensor, means: Tensor, whitening: Tensor) -> Tensor:
    """Return the squared Mahalanobis distance of each point to each of K centres, (B, K).

    Args:
        points: Points, (B, D).
        means: Centres, (K, 1, D).
        whitening: Matrices (K, D, D) that give centred points unit covariance.
    """
    squares: Tensor = ((points.unsqueeze(0) - means) @ whitening).square().sum(2).T
    return squares


def whitening_projection(covariance: Matrix) -> Matrix:
    """Return W (D, D) with W W^T = inverse covariance, eigenvalues floored at `LEAST_EIGENVALUE` of their mean."""
    values, vectors = (np.asarray(part, np.float64) for part in np.linalg.eigh(covariance))
    return np.asarray(vectors / np.sqrt(_floored(values)))


def log_determinant(covariance: Matrix) -> float:
    """Return the logarithm of the determinant of a covariance (D, D) with the floors of `whitening_projection`."""
    return float(np.log(_floored(np.asarray(np.linalg.eigvalsh(covariance), np.float64))).sum())


def _floored(eigenvalues: Matrix) -> Matrix:
    return np.maximum(eigenvalues, LEAST_EIGENVALUE * float(eigenvalues.mean()) or 1.0)


def shrunk_covariance(points: Matrix) -> tuple[Matrix, Matrix]:
    """Estimate the mean (D,) and covariance (D, D) of points (B, D), shrunk to a multiple of the identity.

    Ledoit & Wolf 2004: the shrinkage that minimises the expected squared error; 1 if there are fewer than two rows.
    """
    rows, width = points.shape
    mean = points.mean(axis=0)
    centred = points - mean
    sample = centred.T @ centred / rows
    identity = np.trace(sample) / width * np.eye(width)
    distance = float(((sample - identity) ** 2).sum())
    error = float((centred**2).sum(axis=1) @ (centred**2).sum(axis=1)) / rows**2 - float((sample**2).sum()) / rows
    share = min(max(error, 0.0) / distance, 1.0) if distance > 0 else 1.0
    return mean, (1 - share) * sample + share * identity


def mahalanobis_squared(points: Matrix, mean: Matrix, covariance: Matrix) -> Matrix:
    """Return the squared Mahalanobis distance of each point, (B,) float64."""
    return np.asarray((((points - mean) @ whitening_projection(covariance)) ** 2).sum(axis=1))
