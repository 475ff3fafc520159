"""Synthetic columns against real ones."""

from datetime import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from aepipe.report.marginals import figure_of, kolmogorov_smirnov, marginals, total_variation

rng = np.random.default_rng(0)


@pytest.mark.parametrize("shift", [0.0, 0.3, 5.0])
def test_distance_of_numbers_is_kolmogorov_smirnovs(shift):
    first, second = rng.normal(size=70), np.round(rng.normal(shift, 1, 90), 1)

    assert kolmogorov_smirnov(first, second) == pytest.approx(ks_2samp(first, second).statistic)


def test_distance_of_categories_is_half_the_summed_differences():
    first, second = np.array(["a"] * 6 + ["b"] * 4), np.array(["a"] * 1 + ["c"] * 9)

    assert total_variation(first, second) == pytest.approx((0.5 + 0.4 + 0.9) / 2)


def table(shift: float) -> pa.Table:
    rows = 40
    return pa.table(
        {
            "near": rng.normal(size=rows),
            "far": rng.normal(size=rows) + shift,
            "count": pa.array([2**62, None] * (rows // 2), pa.int64()),
            "price": pa.array([Decimal("1.50")] * rows),
            "kind": pa.array(["x", "y"] * (rows // 2)).dictionary_encode(),
            "code": pa.array([1, 2] * (rows // 2)).dictionary_encode(),
            "yes": [True, None] * (rows // 2),
            "when": [datetime(2026, 1, 1), None] * (rows // 2),
            "empty": pa.nulls(rows, pa.float64()),
            "raw": [b"abc"] * rows,
        }
    )


def test_columns_furthest_apart_come_first_and_what_cannot_be_compared_is_left_out():
    found = marginals(table(0.0), table(9.0).append_column("new", pa.array([1] * 40)))

    assert found[0].name == "far"
    assert found[0].distance == 1.0
    assert {m.name for m in found} == {"near", "far", "count", "price", "kind", "code", "yes", "when"}


def test_every_kind_of_column_is_drawn_without_a_warning():
    svg = figure_of(marginals(table(0.0), table(1.0)))

    assert ">real<" in svg
    assert ">synthetic<" in svg
    assert ">far " in svg
