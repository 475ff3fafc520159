"""Comparison of imputers: hidden cells, errors of filled values, and the encoding for scikit-learn."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.impute import KNNImputer

from benchmarks.imputation import Found, distances, fill_by, hide, section


def _rows(rows: int, seed: int) -> pa.Table:
    """Generate rows whose shop determines the price, in two equal columns, up to noise."""
    generator = np.random.default_rng(seed)
    shop = generator.integers(0, 3, rows)
    price = 10.0 * shop + generator.normal(size=rows)
    return pa.table({"shop": pa.array([f"shop {each}" for each in shop]), "price": price, "same": price})


def test_hidden_cells_are_null_and_the_others_unchanged() -> None:
    rows = _rows(50, 0)
    hidden = np.random.default_rng(1).random((50, 3)) < 0.3

    gaps = hide(rows, hidden)

    for name, cells in zip(rows.column_names, hidden.T, strict=True):
        assert np.array_equal(np.asarray(gaps[name].is_null()), cells)
        assert gaps[name].drop_null().to_pylist() == rows[name].filter(pa.array(~cells)).to_pylist()


def test_fillings_are_compared_in_hidden_cells_alone() -> None:
    rows = _rows(400, 0)
    hidden = np.zeros((400, 3), np.bool_)
    hidden[:100, 0] = hidden[:50, 1] = True
    spread = float(np.std(rows["price"].to_numpy()))
    shops = ["none"] * 25 + rows["shop"].to_pylist()[25:]
    filled = rows.set_column(0, "shop", pa.array(shops)).set_column(
        1, "price", pa.array(rows["price"].to_numpy() + np.repeat([2 * spread, 9.0], [50, 350]))
    )

    error, right = distances(rows, rows, filled, hidden)

    assert error == pytest.approx(2.0)
    assert right == pytest.approx(0.75)
    numbers = rows.select(["price"])
    assert np.isnan(distances(numbers, numbers, numbers, hidden[:, 1:2])[1])


def test_a_neighbour_fills_cells_that_follow_from_others() -> None:
    learned, whole = _rows(500, 0), _rows(100, 1)
    hidden = np.zeros((100, 3), np.bool_)
    hidden[:50, 0] = hidden[50:, 1] = True

    filled = fill_by(KNNImputer(n_neighbors=5), learned, hide(whole, hidden))
    error, right = distances(learned, whole, filled, hidden)

    assert filled.schema.names == whole.schema.names
    assert right == 1.0
    assert error < 0.05


def test_the_section_counts_the_tables_won_in_both_measures() -> None:
    none = float("nan")
    results = {
        "a": {"ours": Found(0.5, 0.9, 3), "kNN": Found(0.6, 0.8, 0), "iterative": Found(0.7, 0.9, 0)},
        "b": {"ours": Found(0.5, 0.7, 3), "kNN": Found(0.6, 0.8, 0), "iterative": Found(0.7, 0.7, 0)},
        "c": {"ours": Found(0.5, none, 3), "kNN": Found(0.4, none, 0), "iterative": Found(1.0, none, 0)},
    }

    text = section(results)

    assert "| a | 0.500 / 90.0 / 3 | 0.600 / 80.0 / 0 | 0.700 / 90.0 / 0 |" in text
    assert "| c | 0.500 / - / 3 |" in text
    assert "in 1 of 3 tables (2 by the error, 2 by the categories)" in text
