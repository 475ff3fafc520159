"""Gaussian copula: the baseline of synthetic tables that has no network."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from aepipe.tables.arrow_types import plain, sort_of

_RIDGE = 1e-6


class GaussianCopula:
    """Columns of their own empirical distributions, joined by the correlation of their normal scores (Sklar 1959).

    Values are ranked, categories and missing values by frequency; ties are broken at random.
    """

    def __init__(self, train: pa.Table, *, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.train = train
        self.orders = [_order(train[name]) for name in train.column_names]
        scores = np.stack([_scores(_places(order), generator) for order in self.orders], 1)
        correlation = np.nan_to_num(np.corrcoef(scores, rowvar=False)) + _RIDGE * np.eye(scores.shape[1])
        np.fill_diagonal(correlation, 1 + _RIDGE)
        self.factor = np.linalg.cholesky(correlation)

    def sample(self, rows: int, *, seed: int) -> pa.Table:
        """Draw rows, with the values of training rows in every column."""
        normal = np.random.default_rng(seed).standard_normal((rows, len(self.factor))) @ self.factor.T
        place = np.minimum((ndtr(normal) * self.train.num_rows).astype(np.int64), self.train.num_rows - 1)
        columns = [
            self.train[name].take(pa.array(order[of_column]))
            for name, order, of_column in zip(self.train.column_names, self.orders, place.T, strict=True)
        ]
        return pa.table(columns, schema=self.train.schema)


def _order(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the rows in the order of their values: numbers by value, others by how frequent their value is."""
    if sort_of(plain(column.type)) in ("text", "boolean"):
        codes = column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False)
        return np.lexsort((codes, -np.bincount(codes)[codes]))
    values = column.to_numpy()
    return np.argsort(values, kind="stable")


def _places(order: NDArray[np.int64]) -> NDArray[np.int64]:
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def _scores(places: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = ndtri((places + generator.uniform(0.05, 0.95, len(places))) / len(places))
    return scores
