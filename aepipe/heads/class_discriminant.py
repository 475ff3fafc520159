"""Which known class a row belongs to, and how sure that is: a Gaussian of the latents each, and one for all others."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads.whitening import whitened_squares
from aepipe.layout import Port

CLASS_PORTS = (Port("class", "int32", (1,)), Port("class_confidence", "float32", (1,)))

FEWEST = 10
"""Training rows that a class needs."""

SHRINKAGE = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Shares of the common covariance that a class's own is drawn to; dev rows say which."""

OTHERS = 1.5
"""The spread of rows of no known class, in covariances of all known rows."""

OTHERS_SHARE = 0.3
"""How many of them there are, for one known row.

With one or two classes of digits and of Fashion-MNIST unknown in turn, 1 to 4 covariances and shares of .05 to .3 tell
rows that are answered rightly from all others about equally well (AUROC .98, and .66 to .86).
"""

_FLOOR = 0.01

Matrix = NDArray[np.float64]


class _Gaussian(NamedTuple):
    """A Gaussian's share, mean (Z,) and covariance (Z, Z)."""

    share: float
    mean: Matrix
    covariance: Matrix


def points(z: Tensor, total: Tensor) -> Tensor:
    """Latents (B, Z) and the loss of the row (B,), in nats, side by side, (B, Z + 1).

    What no latent can express shows in the loss, which the logarithm keeps from outweighing everything else.
    """
    return torch.cat([z, torch.asinh(total).unsqueeze(1)], 1)


class Classes(nn.Module):
    """Points (B, D) to (class, confidence), (B, 1) each: int32, and its probability beside all classes and none.

    Regularised discriminant analysis (Friedman 1989) with one more, wide Gaussian for rows of no known class: far from
    all classes the confidence falls as it does between two.
    """

    log_heights: Tensor
    means: Tensor
    whitening: Tensor

    def __init__(self, gaussians: tuple[_Gaussian, ...]) -> None:
        """gaussians: one a class, then the one of all others."""
        super().__init__()
        factors = [np.linalg.cholesky(each.covariance) for each in gaussians]
        heights = [np.log(each.share) - np.log(np.diag(f)).sum() for each, f in zip(gaussians, factors, strict=True)]
        whitening = [np.linalg.inv(factor).T for factor in factors]
        self.register_buffer("log_heights", torch.tensor(heights, dtype=torch.float32))
        self.register_buffer("means", torch.tensor(np.stack([g.mean for g in gaussians])[:, None], dtype=torch.float32))
        self.register_buffer("whitening", torch.tensor(np.stack(whitening), dtype=torch.float32))

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        joint = self.joint(points)
        best, found = joint[:, :-1].max(1, keepdim=True)
        return found.to(torch.int32), (best - joint.logsumexp(1, keepdim=True)).exp()

    def joint(self, points: Tensor) -> Tensor:
        """Log of share times density, up to a constant, of each class and of all others, (B, K + 1)."""
        return self.log_heights - 0.5 * whitened_squares(points, self.means, self.whitening)


def fit_classes(
    train: tuple[Matrix, NDArray[np.integer]], dev: tuple[Matrix, NDArray[np.integer]], *, classes: int
) -> Classes:
    """The classes of points (B, D) whose codes (B,) are 0 ... classes - 1; dev rows choose how much is shrunk."""
    if not len(dev[0]):
        return _fitted(*train, classes, SHRINKAGE[len(SHRINKAGE) // 2])
    fitted = [_fitted(*train, classes, shrinkage) for shrinkage in SHRINKAGE]
    return max(fitted, key=lambda each: _log_likelihood(each, *dev))


def _fitted(z: Matrix, codes: NDArray[np.integer], classes: int, shrinkage: float) -> Classes:
    spread = np.maximum(z.std(axis=0), 1e-6)
    of_class = [z[codes == code] for code in range(classes)]
    means = [rows.mean(axis=0) for rows in of_class]
    own = [_covariance(rows - mean) for rows, mean in zip(of_class, means, strict=True)]
    common = sum(len(rows) * each for rows, each in zip(of_class, own, strict=True)) / len(z)
    floor = _FLOOR * np.diag(spread**2)
    gaussians = [
        _Gaussian(len(rows) / len(z), mean, (1 - shrinkage) * each + shrinkage * common + floor)
        for rows, mean, each in zip(of_class, means, own, strict=True)
    ]
    center = z.mean(axis=0)
    others = _Gaussian(OTHERS_SHARE, center, OTHERS * (_covariance(z - center) + floor))
    return Classes((*gaussians, others))


def _covariance(centred: Matrix) -> Matrix:
    return np.asarray(centred.T @ centred / len(centred))


@torch.no_grad()
def _log_likelihood(fitted: Classes, z: Matrix, codes: NDArray[np.integer]) -> float:
    known = fitted.joint(torch.from_numpy(z).float())[:, :-1].log_softmax(1)
    return float(known[torch.arange(len(codes)), torch.from_numpy(codes).long()].mean())
