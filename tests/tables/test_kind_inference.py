import io
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from aepipe.errors import SchemaMismatch
from aepipe.tables.kind_inference import infer
from aepipe.tables.schema import Column
from aepipe.tables.struct_fields import with_struct_fields
from tests.support.columns import make_job, schema_of


def column(array: pa.Array, spec: Any = None, **data: Any) -> Column:
    columns = {} if spec is None else {"x": spec}
    table = pa.table({"x": array, "other": pa.array([1.0] * len(array))})
    return schema_of(table, columns, **data).columns[0]


def refused(table: pa.Table, columns: dict[str, Any] | None = None, *, sampled: bool = True, **data: Any) -> list[str]:
    with pytest.raises(SchemaMismatch) as caught:
        infer(table.schema, make_job(columns, **data), table if sampled else None)
    assert str(caught.value) == "/jobs/rows " + "; ".join(caught.value.faults)
    return list(caught.value.faults)


def picture(channels: int, height: int, width: int, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((height, width, channels), np.uint8).squeeze()).save(out, format=form)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "expected", "why"),
    [
        (pa.int8(), "number", "int8"),
        (pa.uint64(), "number", "uint64"),
        (pa.float16(), "number", "halffloat"),
        (pa.float64(), "number", "double"),
        (pa.decimal128(9, 2), "number", "decimal128(9, 2)"),
        (pa.duration("ms"), "number", "duration[ms]"),
        (pa.bool_(), "boolean", "bool"),
        (pa.date32(), "datetime", "date32[day]"),
        (pa.timestamp("us", tz="UTC"), "datetime", "timestamp[us, tz=UTC]"),
        (pa.time64("ns"), "datetime", "time64[ns]"),
        (pa.string(), "category", "string with 0 distinct values in 3 sampled rows"),
        (pa.large_string(), "category", "large_string with 0 distinct values in 3 sampled rows"),
        (pa.string_view(), "category", "string_view with 0 distinct values in 3 sampled rows"),
        (pa.list_(pa.float32(), 4), "vector", "lists of 4 numbers"),
        (pa.null(), "ignore", "all values are null"),
    ],
    ids=str,
)
def test_the_type_tells_the_kind_and_the_schema_says_why(kind: pa.DataType, expected: str, why: str) -> None:
    found = column(pa.nulls(3, kind))

    assert (found.kind, found.why, found.type, found.nullable) == (expected, why, str(kind), True)


def test_text_is_a_category_unless_every_one_of_a_hundred_rows_has_its_own() -> None:
    few = [f"shop-{row % 12}" for row in range(1000)]
    unique = [f"row-{row}" for row in range(100)]

    assert column(pa.array(few)).why == "string with 12 distinct values in 1,000 sampled rows"
    assert column(pa.array(unique[:99])).kind == "category"
    assert column(pa.array(unique)) == Column(
        name="x",
        kind="ignore",
        type="string",
        why="all 100 sampled values differ, so it seems to identify rows;"
        ' name it "key" to pass it through, or "category"',
    )
    assert column(pa.array(unique), "category").kind == "category"
    assert column(pa.array(unique), keys=["x"]).kind == "key"


def test_text_that_repeats_once_names_no_row_and_nulls_do_not_count_as_values() -> None:
    assert column(pa.array([f"row-{row}" for row in range(200)] + ["row-0"])).kind == "category"
    assert column(pa.array([f"row-{row}" for row in range(200)] + [None] * 50)).kind == "ignore"


def test_a_dictionary_is_a_category_whatever_its_values_are() -> None:
    found = column(pa.array([7, 7, 8]).dictionary_encode())

    assert found.kind == "category"
    assert found.why.endswith("with 2 distinct values in 3 sampled rows")


def test_without_a_sample_text_is_a_category() -> None:
    schema = infer(pa.schema([("x", pa.string())]), make_job(), None)

    assert (schema.columns[0].kind, schema.columns[0].why) == ("category", "string")


def test_the_job_has_the_last_word() -> None:
    table = pa.table({"a": [1, 2], "b": [1.0, 2.0], "c": ["x", "y"], "d": [0, 1], "e": [5, 6], "f": [1.0, 2.0]})

    schema = schema_of(table, {"a": "category", "c": "label", "d": "key", "e": {"transform": "log"}, "f": "ignore"})

    assert [found.kind for found in schema.columns] == ["category", "number", "label", "key", "number", "ignore"]
    assert [found.why for found in schema.columns if found.name in "acdf"] == ["named in the job"] * 4
    assert schema.columns[4].transform == "log"
    assert [found.name for found in schema.modelled] == ["a", "b", "e"]


def test_keys_event_time_and_labels_are_carried_through_each_once() -> None:
    table = pa.table({"y": [1], "x": [1.0], "at": pa.array([1], pa.timestamp("s")), "id": [7]})

    schema = schema_of(table, keys=["id", "at"], labels=["y"], event_time="at")

    assert (schema.keys, schema.labels, schema.event_time) == (("at", "id"), ("y",), "at")
    assert schema.carried == ("at", "id", "y")
    assert schema.columns_read == ("x", "at", "id", "y")
    assert schema.without_keys().columns_read == ("x",)


def test_the_event_time_is_not_modelled_unless_the_job_says_so() -> None:
    times = pa.array([1, 2], pa.timestamp("s"))

    assert column(times, event_time="x").kind == "ignore"
    assert "orders the rows and is passed through" in column(times, event_time="x").why
    assert column(times, "datetime", event_time="x").kind == "datetime"


def test_the_partitions_own_column_and_the_index_that_pandas_wrote_are_ignored() -> None:
    table = pa.table({"dt": ["2026-01-01"], "x": [1.0], "__index_level_0__": [0]})

    schema = schema_of(table, partition="dt")

    assert [found.kind for found in schema.columns] == ["ignore", "number", "ignore"]


def test_the_exact_arrow_types_are_kept_and_metadata_dropped() -> None:
    fields = [
        pa.field("a", pa.timestamp("us", tz="Europe/Berlin"), nullable=False, metadata={"PARQUET:field_id": "1"}),
        pa.field("b", pa.dictionary(pa.int16(), pa.large_string(), ordered=True)),
        pa.field("c", pa.decimal256(60, 9)),
        pa.field("d", pa.list_(pa.field("item", pa.float32(), nullable=False), 4)),
    ]
    arrow = pa.schema(fields, metadata={"pandas": "{}"})

    schema = infer(arrow, make_job(), None)

    assert schema.arrow.equals(pa.schema([field.remove_metadata() for field in fields]), check_metadata=True)
    assert not schema.columns[0].nullable
    assert type(schema).model_validate_json(schema.model_dump_json()) == schema


@pytest.mark.parametrize(
    ("array", "spec", "shape", "why"),
    [
        (pa.array([bytes(6)], pa.binary(6)), {"shape": [1, 2, 3]}, (1, 2, 3), "the job gives its shape"),
        (pa.array([[0] * 6]), {"shape": [1, 2, 3]}, (1, 2, 3), "the job gives its shape"),
        (
            pa.array([picture(3, 4, 5), picture(3, 4, 5), picture(1, 9, 9)]),
            None,
            (3, 4, 5),
            "PNG bytes; most of the first images are 3x4x5 (channels x height x width)",
        ),
        (
            pa.array([picture(3, 4, 5, "JPEG"), picture(3, 4, 5), None], pa.large_binary()),
            None,
            (3, 4, 5),
            "JPEG and PNG bytes; most of the first images are 3x4x5 (channels x height x width)",
        ),
        (
            pa.array([picture(3, 4, 5)]),
            {"shape": [1, 8, 8], "resize": True},
            (1, 8, 8),
            "the job gives its shape; PNG bytes",
        ),
    ],
)
def test_an_image_has_the_shape_that_the_job_or_the_pictures_give(
    array: pa.Array, spec: Any, shape: tuple[int, ...], why: str
) -> None:
    found = schema_of(pa.table({"x": array}), {"x": spec} if spec else {}).columns[0]

    assert (found.kind, found.shape, found.why) == ("image", shape, why)
    assert found.packed == ("bytes" in why)


def test_raw_pixels_that_begin_as_a_jpeg_does_are_still_raw() -> None:
    rows = [b"\xff\xd8\xff" + bytes(9), bytes(12), bytes(12)]

    assert not schema_of(pa.table({"x": rows}), {"x": {"shape": [3, 2, 2]}}).columns[0].packed


def test_lists_of_one_length_are_a_vector() -> None:
    found = column(pa.array([[1.0, 2.0], [3.0, 4.0], None]))

    assert (found.kind, found.shape) == ("vector", (2,))
    assert found.why == "lists of 2 numbers in 3 sampled rows; an image needs its shape in the job"


def test_other_columns_of_a_table_with_an_image_are_ignored() -> None:
    table = pa.table({"pixels": pa.array([bytes(6)], pa.binary(6)), "weight": [1.0], "name": ["a"], "digit": [3]})

    schema = schema_of(table, {"pixels": {"shape": [1, 2, 3]}}, labels=["digit"])

    assert [found.kind for found in schema.columns] == ["image", "ignore", "ignore", "label"]
    assert schema.columns[1].why == "the image 'pixels' is modelled alone"


def test_every_fault_is_listed_at_once() -> None:
    table = pa.table({"amount": [1.0], "nested": [{"a": 1}], "blob": [b"raw"], "word": ["a"]})

    faults = refused(table, {"amuont": "number", "word": "number"}, keys=["id"], labels=["truth"], event_time="when")

    assert faults == [
        "has no column 'id', which data.keys names",
        "has no column 'truth', which data.labels names",
        "has no column 'amuont', which [columns] names; did you mean 'amount'?",
        "has no column 'when', which data.event_time names",
        "has column 'word' (string), which cannot be a number: 0% of the text is written as 1234.5. Expected half: "
        'name it "category", or correct it',
    ]


@pytest.mark.parametrize(
    ("array", "spec", "message"),
    [
        (pa.array([True]), "datetime", 'which cannot be a datetime: name it "boolean", "category" or "number"'),
        (pa.array([1]), "boolean", 'which cannot be a boolean: name it "number" or "category"'),
        (pa.array(["2026"]), "datetime", "which cannot be a datetime: 0% of the text is written as %Y-%m-%d"),
        (pa.array([1], pa.timestamp("s")), "category", 'which cannot be a category: name it "datetime"'),
        (pa.array([1], pa.date32()), "number", 'which cannot be a number: name it "datetime"'),
        (pa.array([[1]]), "condition", "which cannot be a condition: name it under [columns]"),
        (pa.array([1.0]), "image", "which cannot be an image: expected raw bytes, lists of integers, or PNG or JPEG"),
        (pa.array([[0.5]]), {"shape": [1, 1, 1]}, "which cannot be an image: expected raw bytes, lists of integers"),
        (pa.array([b"abc"]), {"shape": [3]}, "whose shape is invalid: expected [channels, height, width], got [3]"),
        (
            pa.array([b"abc"]),
            {"shape": [1, 0, 3]},
            "whose shape is invalid: expected [channels, height, width], got [1, 0, 3]",
        ),
        (pa.array([b"abc"], pa.binary(3)), {"shape": [1, 2, 2]}, "whose rows hold 3 pixels, but the job's shape [1, 2"),
        (pa.array([picture(1, 2, 2)]), {"shape": [7, 2, 2]}, "PNG bytes, which have 1, 2, 3 or 4 channels: the job's"),
        (pa.array([b"abc"]), "image", 'write x = {kind = "image", shape = [1, 28, 28]} under [columns]'),
        (pa.array([["a"]]), "vector", "which is not a vector of numbers: name it under [columns]"),
        (pa.array([[1.0], [1.0, 2.0]]), "vector", "lists of 1 to 2 numbers, which are not vectors: give all the same"),
        (pa.array([[[[1.0]]]]), "vector", "which is not a vector of numbers: name it under [columns]"),
        (pa.array([["a"]]), "series", "which is not a series of numbers: name it under [columns]"),
        (
            pa.array([[1.0]]),
            {"kind": "series", "shape": [3]},
            "whose shape is invalid: expected [steps, channels], got [3]",
        ),
        (pa.array([[1.0]]), {"kind": "series", "shape": [3, 2]}, "windows of 3 x 1, but the job's shape is [3, 2]"),
        (pa.array([[]], pa.list_(pa.int8())), "vector", "lists of 0 to 0 numbers, which are not vectors"),
        (pa.array([{"a": 1}]), "category", "which cannot be a category"),
        (pa.array([1.0]), {"resize": True}, "a number: shape, resize and top are options of an image"),
        (pa.array(["a"]), {"transform": "log"}, "a category: transform is an option of a number"),
    ],
)
def test_a_kind_that_a_type_cannot_be_is_refused_with_one_that_it_can(array: pa.Array, spec: Any, message: str) -> None:
    (fault,) = refused(pa.table({"x": array, "other": [1.0] * len(array)}), {"x": spec} if spec else {})

    assert fault.startswith(f"has column 'x' ({array.type}), ")
    assert message in fault


def test_two_images_and_an_image_with_a_number_are_refused() -> None:
    pixels = pa.array([bytes(6)], pa.binary(6))
    spec = {"shape": [1, 2, 3]}

    assert refused(pa.table({"a": pixels, "b": pixels}), {"a": spec, "b": spec}) == [
        'has image \'a\' and image \'b\', but a model takes one: name it under [columns] as "key", "label" or "ignore"'
        " all but one"
    ]
    assert refused(pa.table({"a": pixels, "n": [1.0]}), {"a": spec, "n": "number"}) == [
        'has column \'n\', but the image \'a\' is modelled alone: name it under [columns] as "key", "label" or "ignore"'
    ]


def test_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])

    assert refused(table, sampled=False) == [
        "has 2 columns 'x': rename all but one, or set it to \"ignore\" under [columns]"
    ]


def test_a_table_without_anything_to_model_is_refused() -> None:
    assert refused(pa.table({"id": [1], "empty": pa.nulls(1)}), keys=["id"]) == [
        "has no column to model: every column is a key, a label, a condition or ignored, such as 'empty' (all values "
        "are null). Set a column to number, category, datetime or text under [columns]"
    ]


@pytest.mark.parametrize("role", [{}, {"keys": ["at"]}, {"labels": ["at"]}])
@pytest.mark.parametrize(
    ("text", "notation", "kind"),
    [
        ("31.12.2025 10:00", "%d.%m.%Y", pa.timestamp("us")),
        ("2025-12-31T10:00Z", "%Y-%m-%d", pa.timestamp("us", "UTC")),
        ("1767225600", "1234.5", pa.float64()),
    ],
)
def test_text_of_the_event_time_is_parsed_by_its_format_whatever_its_role(
    text: str, notation: str, kind: pa.DataType, role: dict[str, list[str]]
) -> None:
    table = pa.table({"at": [text, None], "x": [1.0, 2.0]})

    schema = schema_of(table, {"at": {"format": notation}}, event_time="at", **role)

    assert schema.arrow.field("at").type == kind
    assert [column.name for column in schema.modelled] == ["x"]


def test_an_event_time_needs_an_order() -> None:
    (fault,) = refused(pa.table({"at": [[1]], "x": [1.0]}), event_time="at")

    assert fault == (
        "has column 'at' (list<item: int64>), which data.event_time names: expected a timestamp, a date or a number"
    )


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct([("a", pa.int8())]),
        pa.map_(pa.string(), pa.int8()),
        pa.month_day_nano_interval(),
        pa.list_view(pa.int8()),
    ],
    ids=str,
)
def test_a_type_that_cannot_be_modelled_may_still_be_carried_or_ignored(kind: pa.DataType) -> None:
    arrow = pa.schema([("odd", kind), ("x", pa.float64())])

    for role in ("key", "label", "ignore"):
        assert infer(arrow, make_job({"odd": role}), None).columns[0].kind == role
    found = infer(arrow, make_job(), None).columns[0]
    assert found.kind == "ignore"
    assert found.why


def test_columns_of_one_name_may_be_ignored() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["x", "x", "y"])

    schema = schema_of(table, {"x": "ignore"})

    assert [(column.name, column.kind) for column in schema.columns] == [("x", "ignore"), ("y", "number")]


def test_fields_of_a_struct_that_the_job_names_follow_it() -> None:
    arrow = with_struct_fields(pa.schema([("place", pa.struct([("city", pa.string())])), ("x", pa.float64())]))

    kinds = {
        role: [column.kind for column in infer(arrow, make_job({"place": role} if role else {}), None).columns]
        for role in ("", "key", "ignore")
    }
    named = infer(arrow, make_job({"place": "ignore", "place.city": "category"}), None)

    assert kinds[""] == ["ignore", "category", "number"]
    assert kinds["key"] == ["key", "ignore", "number"]
    assert kinds["ignore"] == ["ignore", "ignore", "number"]
    assert [column.kind for column in named.columns] == ["ignore", "category", "number"]


def test_only_a_table_to_train_on_needs_a_column_to_model() -> None:
    arrow = pa.schema([("id", pa.uuid())])

    assert infer(arrow, make_job(), None, to_train=False).columns[0].kind == "ignore"
    with pytest.raises(SchemaMismatch, match="no column to model"):
        infer(arrow, make_job(), None)


def test_uuids_of_small_files_are_not_a_category() -> None:
    generator = np.random.default_rng(0)
    uuids = [str(uuid.UUID(bytes=generator.bytes(16))) for _ in range(12)]

    assert column(pa.array(uuids)).kind == "ignore"
    assert column(pa.array(uuids[:6] * 2)).kind == "category"
    assert column(pa.array([f"{number:x}" for number in range(12)])).kind == "category"
