"""Column shapes compared with closed forms, SciPy and SDMetrics."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from aepipe.quality.alignment import align
from aepipe.quality.column_shapes import column_shapes, kolmogorov_smirnov, total_variation
from tests.support.quality_tables import real, synthetic

rng = np.random.default_rng(0)

SDMETRICS = {
    "age": 0.9638820638820639,
    "wage": 0.41892857142857143,
    "born": 0.9639285714285715,
    "town": 0.8342857142857143,
    "trade": 0.9718985234510712,
    "owner": 0.9978571428571428,
}
"""KSComplement and TVComplement of SDMetrics 0.32 on the two tables."""


@pytest.mark.parametrize("shift", [0.0, 0.3, 5.0])
def test_distance_of_numbers_equals_scipy_kolmogorov_smirnov(shift: float) -> None:
    first, second = rng.normal(size=70), np.round(rng.normal(shift, 1, 90), 1)

    assert kolmogorov_smirnov(first, second) == pytest.approx(ks_2samp(first, second).statistic)


def test_distance_of_categories_is_half_the_sum_of_differences() -> None:
    first, second = np.array(["a"] * 6 + ["b"] * 4), np.array(["a"] * 1 + ["c"] * 9)

    assert total_variation(first, second) == pytest.approx((0.5 + 0.4 + 0.9) / 2)


def test_shapes_equal_sdmetrics() -> None:
    columns, (first, second) = align([real(), synthetic()])

    found = column_shapes(columns, first, second)

    assert found.known == pytest.approx(SDMETRICS)
    assert found.score == pytest.approx(np.mean(list(SDMETRICS.values())))
    assert found.missing["age"] == pytest.approx(0.9821428571428571)
    assert found.missing["wage"] == 1.0


def test_column_without_values_is_ignored() -> None:
    tables = [
        pa.table({"x": [1.0, 2.0], "gone": pa.array([1.0, 2.0])}),
        pa.table({"x": [1.0, 2.0], "gone": pa.nulls(2, pa.float64())}),
    ]
    columns, (first, second) = align(tables)

    found = column_shapes(columns, first, second)

    assert np.isnan(found.known["gone"])
    assert found.score == 1.0
    assert found.missing["gone"] == 0.0
