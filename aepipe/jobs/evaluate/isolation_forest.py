"""Scores of an isolation forest by arrays, without scikit-learn, which takes a second to import."""

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

_ROWS_AT_ONCE = 4_096


class ForestArrays(NamedTuple):
    """Nodes of all trees, one tree after the other. A leaf leads to itself."""

    roots: NDArray[np.int64]
    """(T,), the first node of each tree"""
    feature: NDArray[np.int64]
    """(M,), the column that a node compares"""
    threshold: NDArray[np.float64]
    """(M,)"""
    children: NDArray[np.int64]
    """(2 M,), by node: where rows go whose value is at most the threshold, and the others"""
    length: NDArray[np.float64]
    """(M,), depth of a leaf and expected further depth of its training rows"""
    depth: NDArray[np.int64]
    """(), steps from a root to the deepest leaf"""
    normal_length: NDArray[np.float64]
    """(), expected depth of a row in a tree of the size that was drawn"""

    @classmethod
    def of(cls, forest: "IsolationForest") -> Self:
        """Take the nodes of a fitted forest that uses all columns in each tree."""
        features, thresholds, children, lengths, roots = [], [], [], [], []
        first = deepest = 0
        for tree in (each.tree_ for each in forest.estimators_):
            at = np.arange(tree.node_count)
            is_leaf = tree.children_left < 0
            sides = np.stack([tree.children_left, tree.children_right], axis=1)
            depths = np.asarray(tree.compute_node_depths(), np.float64)
            roots.append(first)
            features.append(np.where(is_leaf, 0, tree.feature))
            thresholds.append(tree.threshold)
            children.append(first + np.where(is_leaf[:, None], at[:, None], sides).ravel())
            lengths.append(depths - 1 + expected_depth(tree.n_node_samples))
            deepest = max(deepest, int(depths.max()) - 1)
            first += tree.node_count
        return cls(
            np.array(roots, np.int64),
            np.concatenate(features).astype(np.int64),
            np.concatenate(thresholds).astype(np.float64),
            np.concatenate(children).astype(np.int64),
            np.concatenate(lengths),
            np.array(deepest),
            expected_depth(np.array([forest.max_samples_]))[0],
        )

    def scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the anomaly score of each row (B, F): 2 to the power of minus its normalised mean depth, (B,).

        Liu, Ting & Zhou 2008. Values are compared as float32, as scikit-learn does.
        """
        parts = [rows[begin : begin + _ROWS_AT_ONCE] for begin in range(0, len(rows), _ROWS_AT_ONCE)]
        lengths = np.concatenate([np.zeros(0), *map(self.path_lengths, parts)])
        return np.asarray(2.0 ** (-lengths / (len(self.roots) * self.normal_length)), np.float64)

    def path_lengths(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the depths of each row over the trees, (B,)."""
        values = rows.astype(np.float32).ravel()
        begins = np.arange(len(rows)) * rows.shape[1]
        total = np.zeros(len(rows))
        for root in self.roots:
            node = np.full(len(rows), root)
            for _ in range(int(self.depth)):
                is_right = values[begins + self.feature[node]] > self.threshold[node]
                node = self.children[2 * node + is_right]
            total += self.length[node]
        return total


def expected_depth(rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the mean depth of a row in a random tree over this many rows; equation 1 of Liu, Ting & Zhou 2008.

    >>> expected_depth(np.array([1, 2, 256])).round(3).tolist()
    [0.0, 1.0, 10.245]
    """
    n = np.maximum(rows, 2).astype(np.float64)
    many = 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, many))
