"""The columns of scores and features."""

import numpy as np
import pyarrow as pa

from aepipe.inference.output_schema import (
    TEXT,
    Predictions,
    Sheet,
    feature_columns,
    feature_fields,
    score_columns,
    score_fields,
)
from aepipe.layout import Port

REASONS = pa.array(["amount", "age", "colour"])
CLASSES = pa.array(["bag", "boot", "unknown"])
INVALID = pa.array(["", "amount is infinite"])


def answers(rows: int = 3, *, invalid: list[int] | None = None, classes: bool = False) -> Predictions:
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


def sheet(found: Predictions) -> pa.RecordBatch:
    fields = [pa.field("id", pa.int64(), metadata={"some": "thing"})]
    columns = score_columns(found, reason_names=REASONS, class_names=CLASSES, invalid_reasons=INVALID)
    own = score_fields(found.reason.shape[1], classes=found.predicted.shape[1] > 0)
    made = Sheet(fields, own, model_version="cells/1")
    return made.rows({"id": pa.array(range(len(found.score)))}, columns)


def test_scores_have_the_promised_columns_in_the_promised_types() -> None:
    assert [(field.name, field.type) for field in sheet(answers()).schema] == [
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


def test_a_scored_row_reads_as_it_was_answered() -> None:
    assert sheet(answers()).to_pylist()[1] == {
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


def test_an_invalid_row_is_null_and_says_why() -> None:
    found = sheet(answers(invalid=[0, 1, 0])).to_pylist()

    assert found[1] == {
        **dict.fromkeys(found[0]),
        "id": 1,
        "p_extrapolated": False,
        "is_anomaly": False,
        "invalid_reason": "amount is infinite",
        "model_version": "cells/1",
    }
    assert found[0] == sheet(answers()).to_pylist()[0]
    assert found[2] == sheet(answers()).to_pylist()[2]


def test_a_class_stands_before_the_reason_why_a_row_is_invalid_and_is_null_where_it_is() -> None:
    found = sheet(answers(invalid=[0, 1, 0], classes=True))

    assert found.schema.names[-4:] == ["predicted_class", "class_confidence", "invalid_reason", "model_version"]
    assert found["predicted_class"].to_pylist() == ["bag", None, "unknown"]
    assert found["class_confidence"].to_pylist() == [0.75, None, 0.75]


def test_features_are_a_column_for_each_latent_and_null_for_invalid_rows() -> None:
    found = answers(invalid=[0, 1, 0])
    fields = feature_fields(
        {"z": Port("z", "float32", (2,)), "codes": Port("codes", "int32", (1,))},
        {"z": ["z_000", "z_001"], "codes": ["c_000"]},
    )

    rows = Sheet([], fields, model_version="v").rows({}, feature_columns(found))

    assert rows.select(["z_000", "z_001"]).to_pydict() == {"z_000": [0, None, 4], "z_001": [1, None, 5]}
    assert rows["c_000"].to_pylist() == [1, None, 1]
    assert [field.type for field in fields] == [pa.float32(), pa.float32(), pa.int32()]


def test_no_rows_and_no_reasons_are_fine() -> None:
    found = answers(0)._replace(reason=np.empty((0, 0), np.int32), reason_z=np.empty((0, 0), np.float32))

    assert sheet(found).num_rows == 0
    own = ["score", "p_value", "p_extrapolated", "is_anomaly", "invalid_reason"]
    assert sheet(found).schema.names == ["id", *own, "model_version"]
