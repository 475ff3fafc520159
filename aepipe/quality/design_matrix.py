"""Design matrices of rows, for boosted trees and for linear models."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import Columns, Rows, moments

MOST_CODES = 254  # per category, the limit of scikit-learn's trees; rarer values share the last code
MOST_SHOWN = 64  # per category, as one-hot columns of a linear model


class TreeMatrix(NamedTuple):
    """Matrix (B, N + C) of numbers, NaN where missing, then codes; and the mask of the code columns."""

    values: NDArray[np.float64]
    is_category: NDArray[np.bool_]


def tree_matrix(columns: Columns, rows: Rows) -> TreeMatrix:
    """Build the design matrix for boosted trees."""
    codes = [_frequent(column, MOST_CODES) for column in rows.codes.T]
    values = np.column_stack([rows.numbers, *codes]) if codes else rows.numbers
    return TreeMatrix(values, np.arange(values.shape[1]) >= len(columns.numbers))


def linear_matrix(rows: Rows) -> NDArray[np.float64]:
    """Build the design matrix for a linear model, (B, D): standardised numbers with missing flags, one-hot codes."""
    center, spread = moments(rows.numbers)
    missing = np.isnan(rows.numbers)
    blocks = [np.where(missing, 0.0, (np.nan_to_num(rows.numbers) - center) / spread)]
    blocks.append(missing[:, missing.any(axis=0)])
    for column in rows.codes.T:
        codes = _frequent(column, MOST_SHOWN)
        blocks.append(codes[:, None] == np.arange(codes.max(initial=0) + 1))
    return np.hstack(blocks).astype(np.float64)


def stacked(sides: Sequence[Rows]) -> Rows:
    """Concatenate the rows of all sides."""
    return Rows(np.concatenate([side.numbers for side in sides]), np.concatenate([side.codes for side in sides]))


def _frequent(codes: NDArray[np.int32], most: int) -> NDArray[np.int64]:
    """Renumber codes by frequency, 0 the most frequent; the rarest share the code `most - 1`."""
    values, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(values))
    return np.minimum(ranks, most - 1)[inverse]
