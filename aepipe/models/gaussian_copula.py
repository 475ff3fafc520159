"""Gaussian copula of codes: the columns' own distributions, joined by the correlation of their normal scores."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

_RIDGE = 1e-4


def draw_by_copula(
    codes: NDArray[np.int32], orders: Sequence[Sequence[int] | None], *, rows: int, seed: int
) -> NDArray[np.int32]:
    """Draw rows of codes (rows, C) from the Gaussian copula of rows (B, C). Sklar 1959.

    Args:
        codes: (B, C), at least two rows.
        orders: codes of each column in the order of their values; None: no order, codes are ranked by frequency. Ties
            are broken at random.
        rows: number of rows to draw.
        seed: seed of the draws and of the ties.
    """
    generator = np.random.default_rng(seed)
    count, columns = codes.shape
    sorted_codes = np.empty_like(codes)
    scores = np.empty(codes.shape)
    for at, order in enumerate(orders):
        column = codes[:, at]
        ranked = np.argsort(-np.bincount(column), kind="stable") if order is None else np.asarray(order)
        place = np.empty(len(ranked), np.int64)
        place[ranked] = np.arange(len(ranked))
        by_value = np.argsort(place[column] + generator.random(count))
        sorted_codes[:, at] = column[by_value]
        scores[by_value, at] = _normal_quantile((np.arange(count) + 0.5) / count)
    correlation = np.atleast_2d(np.corrcoef(scores, rowvar=False))
    factor = np.linalg.cholesky((1 - _RIDGE) * correlation + _RIDGE * np.eye(columns))
    normal = generator.standard_normal((rows, columns)) @ factor.T
    drawn = np.minimum((_normal_cdf(normal) * count).astype(np.int64), count - 1)
    return np.take_along_axis(sorted_codes, drawn, 0)


def _normal_quantile(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = torch.special.ndtri(torch.from_numpy(shares)).numpy()
    return found


def _normal_cdf(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = torch.special.ndtr(torch.from_numpy(values)).numpy()
    return found
