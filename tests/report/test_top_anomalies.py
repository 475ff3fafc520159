"""Cards of the top anomalies."""

import numpy as np
import pyarrow as pa
import pytest

from aepipe.report.page_model import TopAnomalies
from aepipe.report.top_anomalies import MOST_ROWS, build_anomaly_cards, list_attributions


def rows(**changes) -> TopAnomalies:
    scores = pa.table(
        {
            "id": [842_302, 842_517],
            "diagnosis": ["malignant", None],
            "score": pa.array([12.34, 5.0], pa.float32()),
            "p_value": [0.0123, 0.2],
            "is_anomaly": [True, False],
            "reason_1": ["worst area", "texture"],
            "reason_1_z": pa.array([8.0, 1.0], pa.float32()),
            "reason_2": ["texture", None],
            "reason_2_z": pa.array([2.0, None], pa.float32()),
        }
    )
    source = pa.table({"texture": [1.0, 2.0], "worst area": [3_143.2, 500.0], "age": [61, 44]})
    expected = pa.table({"texture": [1.5, 2.5], "worst area": [2_086.0, 510.0], "age": [60, 44]})
    found = {"scores": scores, "keys": ("id",), "source": source, "reconstruction": expected}
    return TopAnomalies(**{**found, **changes})


def test_card_shows_keys_score_and_passthrough_columns():
    first, second = build_anomaly_cards(rows(partitions=["dt=1", "dt=2"]))

    assert first.keys == [("id", "842302")]
    assert first.place == "dt=1"
    assert first.passthrough == [("diagnosis", "malignant")]
    assert (first.score, first.p_value, first.flagged) == ("12.3", "0.0123", True)
    assert not second.flagged


def test_attributed_columns_come_first_in_order():
    first, _ = build_anomaly_cards(rows())

    assert [tuple(value) for value in first.values] == [
        ("worst area", "3,143", "2,086", "8.00", ""),
        ("texture", "1.00", "1.50", "2.00", ""),
    ]
    assert [value.column for value in first.rest] == ["age"]


def test_a_reconstruction_that_equals_the_value_is_left_out():
    equal = pa.table({"texture": [1.0, 2.0], "worst area": [3_143.2, 510.0], "age": [61, 44]})
    words = [{"worst area": "above all training values", "age": "too high given the other columns"}, {}]

    first, second = build_anomaly_cards(rows(reconstruction=equal, words=words))

    assert first.values[0] == ("worst area", "3,143", "", "8.00", "above all training values")
    assert first.rest == [("age", "61", "", "", "")]
    assert second.values[0].why == ""


def test_bar_lengths_are_proportional_to_z():
    first, second = build_anomaly_cards(rows())

    assert [reason.length for reason in first.reasons] == [1.0, 0.25]
    assert [reason.length for reason in second.reasons] == [1.0]


def test_attribution_without_z_is_kept():
    (name, z), *others = list_attributions({"reason_1": "area", "reason_1_z": None})

    assert name == "area"
    assert np.isnan(z)
    assert others == []


def test_rows_without_source_or_reconstruction_have_no_values():
    first, _ = build_anomaly_cards(rows(source=None, reconstruction=None))

    assert first.values == first.rest == []


def test_number_of_cards_is_bounded():
    many = pa.table({"id": range(500), "score": np.arange(500.0)})

    assert len(build_anomaly_cards(TopAnomalies(scores=many, keys=("id",)))) == MOST_ROWS


def test_tables_of_different_lengths_are_rejected():
    with pytest.raises(ValueError, match=r"TopAnomalies\.source has the wrong length: expected 2 rows, got 1"):
        rows(source=pa.table({"a": [1]}))
