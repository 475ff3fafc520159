"""Columns of scores and features."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from aepipe.inference.output_schema import (
    TEXT,
    OutputTable,
    Predictions,
    feature_columns,
    score_columns,
    to_table,
)
from aepipe.layout import Port

REASONS = pa.array(["amount", "age", "colour"])
CLASSES = pa.array(["bag", "boot", "unknown"])
INVALID = pa.array(["", "amount is infinite"])


def predictions(rows: int = 3, *, invalid: list[int] | None = None, classes: bool = False) -> Predictions:
    return Predictions(
        features=(np.arange(2 * rows, dtype=np.float32).reshape(rows, 2), np.ones((rows, 1), np.int32)),
        score=np.arange(rows, dtype=np.float32),
        reason=np.tile(np.array([2, 0], np.int32), (rows, 1)),
        reason_z=np.tile(np.array([1.5, 0.5], np.float32), (rows, 1)),
        p_value=np.linspace(0.1, 0.9, rows),
        p_extrapolated=np.arange(rows) == 2,
        is_anomaly=np.arange(rows) == 0,
        predicted=np.arange(rows, dtype=np.int32)[:, None][:, : int(classes)],
        confidence=np.full((rows, int(classes)), 0.75, np.float32),
        invalid=np.array(invalid or [0] * rows, np.int16),
    )


def scores(found: Predictions) -> pa.RecordBatch:
    fields = [pa.field("id", pa.int64(), metadata={"some": "thing"})]
    columns = score_columns(
        found.reason.shape[1],
        reason_names=REASONS,
        class_names=CLASSES if found.predicted.shape[1] else None,
        invalid_reasons=INVALID,
    )
    table = OutputTable(fields, columns, model_version="cells/1")
    return table.rows({"id": pa.array(range(len(found.score)))}, found)


def test_scores_have_these_columns_and_types() -> None:
    assert [(field.name, field.type) for field in scores(predictions()).schema] == [
        ("id", pa.int64()),
        ("score", pa.float32()),
        ("p_value", pa.float64()),
        ("p_extrapolated", pa.bool_()),
        ("is_anomaly", pa.bool_()),
        ("reason_1", TEXT),
        ("reason_2", TEXT),
        ("reason_1_z", pa.float32()),
        ("reason_2_z", pa.float32()),
        ("invalid_reason", pa.string()),
        ("model_version", TEXT),
    ]


def test_scored_row_holds_its_predictions() -> None:
    assert scores(predictions()).to_pylist()[1] == {
        "id": 1,
        "score": 1.0,
        "p_value": 0.5,
        "p_extrapolated": False,
        "is_anomaly": False,
        "reason_1": "colour",
        "reason_2": "amount",
        "reason_1_z": 1.5,
        "reason_2_z": 0.5,
        "invalid_reason": None,
        "model_version": "cells/1",
    }


def test_invalid_row_is_null_and_names_its_reason() -> None:
    found = scores(predictions(invalid=[0, 1, 0])).to_pylist()

    assert found[1] == {
        **dict.fromkeys(found[0]),
        "id": 1,
        "p_extrapolated": False,
        "is_anomaly": False,
        "invalid_reason": "amount is infinite",
        "model_version": "cells/1",
    }
    assert found[0] == scores(predictions()).to_pylist()[0]
    assert found[2] == scores(predictions()).to_pylist()[2]


def test_class_columns_precede_invalid_reason_and_are_null_for_invalid_rows() -> None:
    found = scores(predictions(invalid=[0, 1, 0], classes=True))

    assert found.schema.names[-4:] == ["predicted_class", "class_confidence", "invalid_reason", "model_version"]
    assert found["predicted_class"].to_pylist() == ["bag", None, "unknown"]
    assert found["class_confidence"].to_pylist() == [0.75, None, 0.75]


def test_features_are_one_column_per_latent_and_null_for_invalid_rows() -> None:
    found = predictions(invalid=[0, 1, 0])
    columns = feature_columns(
        {"z": Port("z", "float32", (2,)), "codes": Port("codes", "int32", (1,))},
        {"z": ["z_000", "z_001"], "codes": ["c_000"]},
    )

    rows = to_table(columns, found)

    assert rows.to_pydict() == {"z_000": [0, None, 4], "z_001": [1, None, 5], "c_000": [1, None, 1]}
    assert rows.schema.types == [pa.float32(), pa.float32(), pa.int32()]


def test_with_column_replaces_the_values_of_one_column() -> None:
    found = predictions()
    columns = score_columns(2, reason_names=REASONS, class_names=None, invalid_reasons=INVALID)
    table = OutputTable([], columns, model_version="v")
    flags = np.array([False, True, True])

    rows = table.with_column("is_anomaly", table.rows({}, found), replace(found, is_anomaly=flags))

    assert rows.equals(table.rows({}, replace(found, is_anomaly=flags)))
    assert rows["is_anomaly"].to_pylist() == flags.tolist()


def test_empty_predictions_and_no_reasons_give_an_empty_table() -> None:
    found = replace(predictions(0), reason=np.empty((0, 0), np.int32), reason_z=np.empty((0, 0), np.float32))

    assert scores(found).num_rows == 0
    own = ["score", "p_value", "p_extrapolated", "is_anomaly", "invalid_reason"]
    assert scores(found).schema.names == ["id", *own, "model_version"]
