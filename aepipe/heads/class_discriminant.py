"""Classification by regularised discriminant analysis of the latents, with a background class."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads.whitening import whitened_squares
from aepipe.layout import Port

CLASS_PORTS = (Port("class", "int32", (1,)), Port("class_confidence", "float32", (1,)))

FEWEST = 10
"""Least number of training rows per class."""

SHRINKAGE = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Candidate shrinkages of a class covariance towards the pooled one, selected on dev rows."""

OTHERS = 1.5
"""Covariance of the background class, in multiples of the covariance of all known rows."""

OTHERS_SHARE = 0.3
"""Weight of the background class relative to all known rows.

With one or two classes of digits and of Fashion-MNIST held out in turn, 1 to 4 covariances and weights of .05 to .3
separate correctly classified rows from all others about equally well (AUROC .98, and .66 to .86).
"""

_FLOOR = 0.01

Matrix = NDArray[np.float64]


class _Gaussian(NamedTuple):
    """Weight, mean (Z,) and covariance (Z, Z) of a Gaussian."""

    share: float
    mean: Matrix
    covariance: Matrix


def points(z: Tensor, total: Tensor) -> Tensor:
    """Concatenate the latents (B, Z) and the asinh of the row loss (B,), in nats, to (B, Z + 1).

    Features that the latents cannot express show in the loss; asinh limits its weight.
    """
    return torch.cat([z, torch.asinh(total).unsqueeze(1)], 1)


class Classes(nn.Module):
    """Classifier of points (B, D): class (int32) and its posterior probability, (B, 1) each.

    Regularised discriminant analysis (Friedman 1989) with a wide background Gaussian, so that
    the confidence falls far from all classes as it does between two.
    """

    log_heights: Tensor
    means: Tensor
    whitening: Tensor

    def __init__(self, gaussians: tuple[_Gaussian, ...]) -> None:
        """Store one Gaussian per class, followed by the background Gaussian."""
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
        """Return the log joint density of each class and of the background, (B, K + 1), up to a constant."""
        return self.log_heights - 0.5 * whitened_squares(points, self.means, self.whitening)


def fit_classes(
    train: tuple[Matrix, NDArray[np.integer]], dev: tuple[Matrix, NDArray[np.integer]], *, classes: int
) -> Classes:
    """Fit a classifier on points (B, D) with codes (B,) in 0 ... classes - 1, selecting the shrinkage on dev rows."""
    if not len(dev[0]):
        return _fitted(*train, classes, SHRINKAGE[len(SHRINKAGE) // 2])
    fitted = [_fitted(*train, classes, shrinkage) for shrinkage in SHRINKAGE]
    return max(fitted, key=lambda each: log_likelihood(each, *dev))


@torch.no_grad()
def log_likelihood(fitted: Classes, z: Matrix, codes: NDArray[np.integer]) -> float:
    """Return the mean log probability of the codes (B,) of points z (B, D), in nats."""
    known = fitted.joint(torch.from_numpy(z).float())[:, :-1].log_softmax(1)
    return float(known[torch.arange(len(codes)), torch.from_numpy(codes).long()].mean())


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
