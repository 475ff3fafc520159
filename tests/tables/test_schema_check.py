import pyarrow as pa
import pytest

from aepipe.tables.schema_check import extra_columns, faults
from tests.support.columns import schema_of

TABLE = pa.table(
    {
        "id": ["a", "b"],
        "amount": pa.array([1.0, 2.0]),
        "count": pa.array([1, 2], pa.int32()),
        "shop": ["x", "y"],
        "opened": pa.array([1, 2], pa.timestamp("us")),
        "empty": pa.nulls(2),
        "fraud": [True, False],
    }
)
SCHEMA = schema_of(TABLE, keys=["id"], labels=["fraud"], event_time="opened")
GONE = "restore it, or change the job and retrain"


def changed(name: str, kind: pa.DataType) -> pa.Schema:
    place = TABLE.schema.get_field_index(name)
    return TABLE.schema.set(place, pa.field(name, kind))


def test_the_training_data_have_no_fault() -> None:
    assert faults(SCHEMA, TABLE.schema, need_labels=True) == []


def test_a_missing_column_is_named_with_its_type_its_role_and_one_that_may_be_meant() -> None:
    renamed = TABLE.rename_columns(["id", "Amount", "count", "shop", "opened", "empty", "fraud"]).schema

    assert faults(SCHEMA, renamed) == [
        f"has no column 'amount' (double), which the model was trained on: {GONE}; did you mean 'Amount'?"
    ]
    assert faults(SCHEMA, TABLE.drop_columns(["id", "opened"]).schema) == [
        f"has no column 'id' (string), which the job names as a key: {GONE}",
        f"has no column 'opened' (timestamp[us]), which is the event time: {GONE}",
    ]


def test_a_changed_type_is_named_with_both_types() -> None:
    assert faults(SCHEMA, changed("amount", pa.string())) == [
        "has column 'amount' as string, but the model was trained on double: write it as double, or retrain"
    ]
    assert faults(SCHEMA, changed("count", pa.int64())) == [
        "has column 'count' as int64, but the model was trained on int32: write it as int32, or retrain"
    ]


def test_every_fault_of_a_file_is_listed_at_once() -> None:
    broken = changed("shop", pa.int8()).remove(1)

    assert [fault.split(",")[0] for fault in faults(SCHEMA, broken)] == [
        "has no column 'amount' (double)",
        "has column 'shop' as int8",
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("amount", pa.int64()),
        ("amount", pa.float32()),
        ("amount", pa.null()),
        ("count", pa.uint16()),
        ("shop", pa.dictionary(pa.int8(), pa.large_string())),
        ("shop", pa.string_view()),
        ("id", pa.int64()),
        ("opened", pa.string()),
        ("empty", pa.string()),
    ],
)
def test_narrower_numbers_other_layouts_and_passthrough_types_fit(name: str, kind: pa.DataType) -> None:
    assert faults(SCHEMA, changed(name, kind)) == []


def test_labels_are_needed_only_on_request() -> None:
    unlabelled = TABLE.drop_columns(["fraud"]).schema

    assert faults(SCHEMA, unlabelled) == []
    assert faults(SCHEMA, unlabelled, need_labels=True) == [
        f"has no column 'fraud' (bool), which the job names as a label: {GONE}"
    ]


def test_ignored_columns_may_be_absent_and_in_any_order() -> None:
    order = ["fraud", "shop", "count", "opened", "amount", "id"]

    assert faults(SCHEMA, TABLE.select(order).schema) == []


def test_a_column_that_is_there_twice_is_refused_if_it_matters() -> None:
    twice = TABLE.schema.append(pa.field("amount", pa.float64())).append(pa.field("new", pa.int8()))

    assert faults(SCHEMA, twice.append(pa.field("new", pa.int8()))) == ["has 2 columns 'amount': rename all but one"]


def test_columns_that_training_did_not_know_are_extra() -> None:
    wider = TABLE.schema.append(pa.field("new", pa.int8())).append(pa.field("newer", pa.int8()))

    assert extra_columns(SCHEMA, wider) == ["new", "newer"]
    assert extra_columns(SCHEMA, TABLE.schema) == []


def test_an_encoding_looks_at_nothing_but_the_modelled_columns() -> None:
    assert faults(SCHEMA.without_keys(), TABLE.select(["amount", "count", "shop"]).schema) == []
