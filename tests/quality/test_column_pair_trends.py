"""Column pair trends compared with numpy and SDMetrics."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aepipe.quality.alignment import align
from aepipe.quality.column_pair_trends import correlations, pair_trends
from tests.support.quality_tables import real, synthetic

SDMETRICS = {
    ("age", "wage"): 0.9165382771,
    ("age", "born"): 1.0000000000,
    ("age", "town"): 0.7950000000,
    ("age", "trade"): 0.8314285714,
    ("age", "owner"): 0.8664285714,
    ("wage", "born"): 0.9117016409,
    ("wage", "town"): 0.4221428571,
    ("wage", "trade"): 0.3928571429,
    ("wage", "owner"): 0.4378571429,
    ("born", "town"): 0.7921428571,
    ("born", "trade"): 0.8364285714,
    ("born", "owner"): 0.8728571429,
    ("town", "trade"): 0.8342857143,
    ("town", "owner"): 0.8342857143,
    ("trade", "owner"): 0.9460714286,
}
"""CorrelationSimilarity, and ContingencySimilarity with ten bins, of SDMetrics 0.32 on the two tables."""


def test_trends_equal_sdmetrics() -> None:
    columns, (first, second) = align([real(), synthetic()])

    found = pair_trends(columns, first, second)

    places = {name: at for at, name in enumerate(found.names)}
    ours = {pair: found.similarity[places[pair[0]], places[pair[1]]] for pair in SDMETRICS}
    assert ours == pytest.approx(SDMETRICS, abs=1e-9)
    assert found.score == pytest.approx(np.mean(list(SDMETRICS.values())))
    assert found.worst is not None
    assert set(found.worst[:2]) == {"wage", "trade"}


def test_correlations_use_rows_where_both_are_known_also_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    numbers = 1e9 + rng.standard_normal((60, 3)) @ rng.standard_normal((3, 3))
    numbers[rng.random(numbers.shape) < 0.2] = np.nan

    np.testing.assert_allclose(correlations(numbers), pd.DataFrame(numbers).corr().to_numpy(), atol=1e-6)


def test_constant_number_has_no_trend_with_a_number() -> None:
    columns, (first, second) = align([pa.table({"x": [1.0, 2.0, 3.0], "c": [1.0] * 3, "k": list("aab")})] * 2)

    found = pair_trends(columns, first, second)

    assert np.isnan(found.similarity[0, 1])
    assert found.score == 1.0
