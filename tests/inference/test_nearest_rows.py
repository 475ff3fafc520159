"""Nearest rows against scikit-learn's imputer, and values that no imputer of numbers handles."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.impute import KNNImputer

from aepipe.inference import nearest_rows
from aepipe.inference.nearest_rows import NearestRows


def table(rows: int, seed: int) -> pa.Table:
    """Generate a kind, two numbers that depend on it, and an independent number."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(0, 3, rows)
    x = 10.0 * kind + generator.normal(size=rows)
    return pa.table({"kind": [f"k{each}" for each in kind], "x": x, "y": -x, "noise": generator.normal(size=rows)})


def gaps(rows: pa.Table, share: float, seed: int) -> pa.RecordBatch:
    hidden = np.random.default_rng(seed).random((rows.num_rows, rows.num_columns)) < share
    columns = [
        pa.array(column.to_pylist(), column.type, mask=mask)
        for column, mask in zip(rows.columns, hidden.T, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=rows.column_names)


def test_neighbours_of_numbers_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_rows, "_CHUNK", 7)
    names = ["x", "y", "noise"]
    known, asked = table(200, 0), gaps(table(50, 1), 0.3, 2)
    nearest = NearestRows.of(known, numbers=names, categories=[])

    cells = nearest.cells(asked)
    found = nearest.neighbours(cells).numbers

    some = ~np.isnan(cells.numbers).all(1)  # scikit-learn returns the mean where all values are missing
    wanted = KNNImputer(n_neighbors=nearest_rows.NEIGHBOURS, weights="distance").fit(nearest.known.numbers)
    filled = wanted.transform(cells.numbers)
    hidden = np.isnan(cells.numbers) & some[:, None]
    np.testing.assert_allclose(found[hidden], filled[hidden], atol=1e-6)


def test_known_rows_without_a_value_do_not_vote_and_others_take_their_place() -> None:
    known = pa.table(
        {"kind": ["a"] * 8 + ["b"] * 8, "x": [None] * 6 + [1.0, 3.0] + [9.0] * 8, "near": [0.0] * 8 + [5.0] * 8}
    )
    nearest = NearestRows.of(known, numbers=["x", "near"], categories=["kind"])
    asked = pa.RecordBatch.from_pydict(
        {"kind": ["a", None], "x": pa.array([None, 9.0], pa.float64()), "near": [0.0, 5.0]}
    )

    found = nearest.neighbours(nearest.cells(asked))

    x = found.numbers[0, 0] * nearest.scale[0] + nearest.center[0]
    assert 2.0 < x < 2.1  # the two of its kind, and 6 far ones of little weight
    np.testing.assert_allclose(found.shares[0][1], [0, 1])


def test_a_value_that_no_known_row_has_is_as_far_from_all_of_them() -> None:
    nearest = NearestRows.of(table(100, 0), numbers=["x"], categories=["kind"])
    rows = [{"kind": kind, "x": 0.0} for kind in ("new", None)]

    cells = nearest.cells(pa.RecordBatch.from_pylist(rows))
    near = nearest.neighbours(cells)

    assert cells.codes[:, 0].tolist() == [-2, -1]
    np.testing.assert_allclose(near.shares[0][1].sum(), 1)
    assert near.shares[0].argmax(1).tolist() == [nearest.values[0].to_pylist().index("k0")] * 2


def test_at_most_ten_thousand_rows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_rows, "MOST_ROWS", 30)

    first, again = (NearestRows.of(table(100, 0), numbers=["x"], categories=[]) for _ in range(2))

    assert len(first.known.numbers) == 30
    np.testing.assert_array_equal(first.known.numbers, again.known.numbers)
