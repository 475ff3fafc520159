"""Passthrough columns, for all kinds of files in a partition."""

import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.batch.scan_plan import plan_scan
from aepipe.config.job import parse_job
from aepipe.encoding import fit
from aepipe.errors import SchemaMismatch
from aepipe.tables.parquet_reader import slices
from aepipe.tables.schema_check import infer
from tests.support.linear_bundle import make_bundle, numbers
from tests.support.workspace import Workspace

CARRIED = pa.table(
    {
        "key": pa.array([2**62 + row for row in range(60)], pa.int64()),
        "text": pa.array([f"é\x00{row}" for row in range(60)]),
        "blob": pa.array([bytes([row, 0, 255]) for row in range(60)], pa.binary()),
        "price": pa.array([Decimal(row) / 100 for row in range(60)], pa.decimal128(12, 2)),
        "pet": pa.array(["cat", None, "dog"] * 20).dictionary_encode(),
        "when": pa.array([datetime.datetime(2026, 1, 1, 0, 0, row) for row in range(60)], pa.timestamp("ns", "UTC")),
        "truth": pa.array([True, False, None] * 20),
    }
)


def carrying(folder: Path) -> tuple[Workspace, pa.Table]:
    table = numbers(60)
    for name in CARRIED.column_names:
        table = table.append_column(name, CARRIED[name])
    roles = {"keys": ["id", "key", "text", "blob", "price", "pet"], "labels": ["truth"], "event_time": "when"}
    return Workspace(folder, make_bundle(folder, table, data=roles)), table


def test_keys_event_time_and_labels_pass_through_unchanged(tmp_path: Path) -> None:
    workspace, table = carrying(tmp_path)

    workspace.score(workspace.write(table, group=7))

    scores, features = workspace.read(), workspace.read("features")
    assert scores.schema.names[:8] == ["id", "key", "text", "blob", "price", "pet", "when", "truth"]
    assert features.schema.names == [
        "id",
        "key",
        "text",
        "blob",
        "price",
        "pet",
        "when",
        "z_000",
        "z_001",
        "model_version",
    ]
    for name in CARRIED.column_names:
        assert scores[name].to_pylist() == table[name].to_pylist()
        assert scores.schema.field(name).type == table.schema.field(name).type


def test_labels_may_be_absent_from_some_files_or_all(tmp_path: Path) -> None:
    workspace, table = carrying(tmp_path)
    unlabelled = table.drop_columns("truth")

    workspace.score(workspace.write(unlabelled.slice(0, 30), table.slice(30)))
    some = workspace.read()
    workspace.score(workspace.write(unlabelled, unlabelled))

    assert some["truth"].to_pylist() == [None] * 30 + table["truth"].to_pylist()[30:]
    assert workspace.read()["truth"].null_count == workspace.read().num_rows
    assert workspace.read().schema.equals(some.schema)


def test_keys_of_several_types_are_unified(workspace: Workspace) -> None:
    wide = numbers(10, first_id=2**40)
    narrow = numbers(10).set_column(0, "id", pa.array(range(10), pa.int16()))

    workspace.score(workspace.write(narrow, wide))

    assert workspace.read()["id"].to_pylist() == [*range(10), *range(2**40, 2**40 + 10)]


@pytest.mark.parametrize(
    ("trained", "first", "second", "expected"),
    [
        (pa.large_string(), pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.large_string()),
        (pa.timestamp("us"), pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us")),
        (pa.int64(), pa.int16(), pa.null(), pa.int64()),
        (pa.null(), pa.date32(), pa.timestamp("ms"), pa.timestamp("ms")),
        (pa.null(), pa.large_string(), pa.null(), pa.large_string()),
    ],
    ids=str,
)
def test_passthrough_columns_have_the_type_of_training_or_without_one_the_common_type_of_the_files(
    tmp_path: Path, trained: pa.DataType, first: pa.DataType, second: pa.DataType, expected: pa.DataType
) -> None:
    table = numbers(60)
    bundle = make_bundle(tmp_path, table.append_column("note", pa.nulls(60, trained)), data={"labels": ["note"]})
    workspace = Workspace(tmp_path, bundle)
    partition = workspace.write(*(table.append_column("note", pa.nulls(60, kind)) for kind in (first, second)))

    (field,) = (
        each for each in plan_scan(partition.files, workspace.bundle.encoding).passthrough if each.name == "note"
    )

    assert field.type == expected


def test_keys_without_a_common_type_are_refused(workspace: Workspace) -> None:
    named = numbers(10).set_column(0, "id", pa.array([f"row {row}" for row in range(10)]))

    with pytest.raises(SchemaMismatch, match=r"column 'id' is string .+ but int64 in the outputs.+ Write it as int64"):
        workspace.score(workspace.write(numbers(10), named))


def test_key_named_like_an_output_column_is_refused(tmp_path: Path) -> None:
    table = numbers(60).rename_columns(["score", "a", "b", "c"])
    workspace = Workspace(tmp_path, make_bundle(tmp_path, table, data={"keys": ["score"]}))

    with pytest.raises(SchemaMismatch, match=r"column 'score' has the name of an output column of scores\. Rename it"):
        workspace.score(workspace.write(table))


def test_label_named_like_a_reason_is_refused(tmp_path: Path) -> None:
    """Only names of `SCORE_NAMES` are left out: training warns about these, and reports know that there is no copy."""
    table = numbers(60).append_column("reason_1", pa.array(np.arange(60) % 2 == 0))
    data = {"keys": ["id"], "labels": ["reason_1"]}
    workspace = Workspace(tmp_path, make_bundle(tmp_path, table, data=data))

    with pytest.raises(SchemaMismatch, match=r"column 'reason_1' has the name of an output column of scores\. Rename"):
        workspace.score(workspace.write(table))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_text_of_every_type_is_read_as_codes_of_a_dictionary(tmp_path: Path, kind: pa.DataType) -> None:
    colours = pa.array(["red", "blue", None, "red"] * 20)
    table = pa.table({"colour": colours, "size": pa.array(range(80), pa.float32())})
    job = parse_job({"name": "text", "data": {"path": "."}}, source=tmp_path / "job.toml")
    encoding = fit(infer(table.schema, job, table), table.to_batches())
    path = tmp_path / "rows.parquet"
    pq.write_table(table.set_column(0, "colour", colours.cast(kind)), path)

    (reading,) = plan_scan([path], encoding).files
    (read,) = slices([reading.path], reading.columns, rows=80, as_codes=reading.as_codes)

    assert pa.types.is_dictionary(read.schema.field("colour").type)
    for one, other in zip(encoding.encode(read), encoding.encode(table.to_batches()[0]), strict=True):
        np.testing.assert_equal(one, other)
