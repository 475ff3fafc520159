"""Comparison of synthetic and real columns."""

from datetime import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa

from aepipe.report.figures.column_distributions import compare_columns, draw_distributions

rng = np.random.default_rng(0)


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


def test_most_different_columns_come_first_and_incomparable_ones_are_skipped():
    found = compare_columns(table(0.0), table(9.0).append_column("new", pa.array([1] * 40)))

    assert found[0].name == "far"
    assert found[0].distance == 1.0
    assert {m.name for m in found} == {"near", "far", "count", "price", "kind", "code", "yes", "when"}


def test_every_kind_of_column_is_drawn_without_a_warning():
    svg = draw_distributions(compare_columns(table(0.0), table(1.0)))

    assert ">real<" in svg
    assert ">synthetic<" in svg
    assert ">far " in svg
