"""Data contracts: the file is valid and describes the outputs, and violations are found."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.config.job import read_job
from aepipe.errors import ArgumentInvalid, DataUnreadable
from aepipe.jobs.contract.check import contract_faults, read_contract
from aepipe.jobs.contract.odcs import Contract, logical_type
from aepipe.jobs.contract.write import contract, server_of
from aepipe.jobs.contract.yaml_text import to_yaml
from aepipe.jobs.inspect import inspect
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.stores.table_url import source_path
from aepipe.tables.parquet_reader import read_footer
from tests.support.two_models import DAYS, write_job

TEXTS = st.text(st.characters(blacklist_categories=["Cs"]))
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False, width=16) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, DOCUMENTS.filter(lambda each: not _nests_lists(each)), max_size=4))
def test_yaml_reads_back_as_the_document(document: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(document) or "{}") == document or document == {}


def _nests_lists(value: object, *, inside: bool = False) -> bool:
    """Return whether a list contains a list; valid contracts have none."""
    if isinstance(value, list):
        return inside or any(_nests_lists(each, inside=True) for each in value)
    return isinstance(value, dict) and any(_nests_lists(each) for each in value.values())


SCHEMA = json.loads((files("open_data_contract_standard") / "schema.json").read_text())


@pytest.mark.parametrize(
    ("place", "kind", "form"),
    [
        ("out", "local", "parquet"),
        ("s3://lake/out", "s3", "parquet"),
        ("abfs://lake@account.dfs.core.windows.net/out", "azure", "parquet"),
        ("gs://lake/out", "custom", "parquet"),
        ("delta:///data/rows", "local", "delta"),
        ("delta://s3://lake/rows", "s3", "delta"),
        ("iceberg://prod/fraud.rows", "custom", "iceberg"),
    ],
)
def test_a_server_has_the_type_of_its_store(place: str, kind: str, form: str) -> None:
    server = {"server": "files", **server_of(source_path(place))}
    validator = jsonschema.Draft201909Validator({"$defs": SCHEMA["$defs"], "$ref": "#/$defs/Server"})

    assert (server["type"], server["format"]) == (kind, form)
    assert [error.message for error in validator.iter_errors(server)] == []


def test_contracts_are_valid_by_the_schema_of_the_standard(tmp_path: Path) -> None:
    job = write_job(tmp_path, "[samples]\nquality = { check = false }\n")
    validator = jsonschema.Draft201909Validator(SCHEMA)

    document = yaml.safe_load(contract(job).text)

    assert [error.message for error in validator.iter_errors(document)] == []
    for fault in ({"apiVersion": "v9"}, {"kind": "Table"}, {"schema": [{"properties": [{"logicalType": "blob"}]}]}):
        assert list(validator.iter_errors(document | fault)), fault


def test_contract_of_the_outputs_names_the_columns_that_are_written(tmp_path: Path) -> None:
    job = write_job(tmp_path, "[samples]\nquality = { check = false }\n")
    night = score(job, partitions=DAYS[:1]).nights[0]
    drawn = sample(job, rows=20)

    document = yaml.safe_load(contract(job).text)

    assert (document["apiVersion"], document["kind"], document["status"]) == ("v3.0.1", "DataContract", "active")
    tables = {table["name"]: table for table in document["schema"]}
    for name, path in {"scores": night.scores, "features": night.features, "samples": drawn.path}.items():
        schema = pq.ParquetFile(path).schema_arrow
        columns = tables[name]["properties"]
        assert [column["name"] for column in columns] == schema.names, name
        for column in columns:
            assert column.get("logicalType") == logical_type(schema.field(column["name"]).type), column
        assert {"name", "logicalType", "physicalType", "properties"} <= tables[name].keys()
    p_value = next(column for column in tables["scores"]["properties"] if column["name"] == "p_value")
    assert p_value["logicalTypeOptions"] == {"minimum": 0.0, "maximum": 1.0}


def test_written_outputs_fulfil_the_contract_of_the_outputs(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    score(job)
    path = tmp_path / "out.odcs.yaml"
    contract(job, output=path)

    for table in ("scores", "features"):
        seen = inspect(read_job(job).out_path / table, contract=path)
        assert seen.contract_faults == ()


def test_source_fulfils_its_own_contract_and_each_break_is_named(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    path = tmp_path / "rows.odcs.yaml"
    contract(job, of_source=True, output=path)
    assert inspect(job, contract=path).contract_faults == ()

    source = tmp_path / "rows" / DAYS[2] / "part-0.parquet"
    table = pq.ParquetFile(source).read()
    ids = pa.array([None, 1, 1, *range(2, 199)], pa.int64())
    broken = table.set_column(0, "id", ids).drop_columns(["b"])
    pq.write_table(broken.set_column(1, "a", table["a"].cast(pa.string())), source)

    faults = inspect(job, contract=path).contract_faults

    assert faults is not None
    found = "\n".join(faults)
    assert "column 'b' is missing" in found
    assert f"column 'a' is string: expected the logical type number ({source})" in found
    assert "column 'id' has 1 missing values among 600 rows: expected none" in found
    assert "column 'id' has 1 repeated values: expected unique ones" in found


def _faults(tmp_path: Path, values: pa.Array, **column: object) -> tuple[str, ...]:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"c": values}), path)
    raw = {
        "apiVersion": "v3.0.1",
        "kind": "DataContract",
        "id": "1",
        "version": "1",
        "status": "active",
        "schema": [{"name": "t", "properties": [{"name": "c", **column}]}],
    }
    return contract_faults(Contract.model_validate(raw).tables[0], [read_footer(path)])


@pytest.mark.parametrize(
    ("values", "column", "fault"),
    [
        (pa.array([1, 2, 3]), {"logicalTypeOptions": {"minimum": 2, "maximum": 2}}, "has 2 values outside the limits"),
        (
            pa.array([1.0, 2.0]),
            {"logicalTypeOptions": {"minimum": 1, "exclusiveMinimum": True}},
            "has 1 values outside",
        ),
        (pa.array(["a", "bcd"]), {"logicalTypeOptions": {"maxLength": 2}}, "1 texts of another length"),
        (
            pa.array(["a", "b1"]),
            {"logicalTypeOptions": {"pattern": "^[a-z]$"}},
            "1 texts that do not match the pattern",
        ),
        (pa.array(["a", "a", None]).dictionary_encode(), {"unique": True}, "has 1 repeated values"),
        (pa.array(["a"]), {"logicalType": "integer"}, "is string: expected the logical type integer"),
        (pa.array([1, None]), {"required": True}, "has 1 missing values among 2 rows"),
        (pa.array([1, 2]), {"logicalType": "number", "unique": True, "required": True}, None),
        (pa.nulls(2), {"logicalType": "number"}, None),
        (pa.array(["a"]), {"logicalTypeOptions": {"minimum": "2026-01-01"}}, None),
    ],
)
def test_values_outside_the_contract_are_counted(
    tmp_path: Path, values: pa.Array, column: dict[str, object], fault: str | None
) -> None:
    found = _faults(tmp_path, values, **column)

    assert len(found) == (0 if fault is None else 1), found
    assert fault is None or fault in found[0]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("c.yaml", "kind: Other\n", "expected kind: DataContract"),
        ("c.yaml", "a: [1\n", "is not valid YAML"),
        ("c.json", "{", "is not valid JSON"),
        ("c.json", json.dumps({"kind": "DataContract"}), "Field required"),
        ("c.yaml", "[" * 5_000, "is not valid YAML"),
    ],
)
def test_wrong_contracts_are_refused(tmp_path: Path, name: str, text: str, fault: str) -> None:
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(ArgumentInvalid, match=fault):
        read_contract(path)


def test_an_absent_file_and_an_unknown_table_are_named(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    path = tmp_path / "out.odcs.yaml"
    contract(job, output=path)

    with pytest.raises(DataUnreadable, match=r"absent\.yaml cannot be read: No such file"):
        inspect(job, contract=tmp_path / "absent.yaml")
    with pytest.raises(ArgumentInvalid, match="has no table 'score'; did you mean 'scores'"):
        inspect(job, contract=path, table="score")
    with pytest.raises(ArgumentInvalid, match=r"the contract has 3 tables\. Name one of scores, features, samples"):
        inspect(job, contract=path)
    with pytest.raises(ArgumentInvalid, match="expected a contract that has the table, got none"):
        inspect(job, table="scores")


def test_the_command_prints_faults_and_exits_with_1(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    path = tmp_path / "rows.odcs.yaml"
    assert "contract in" in CliRunner().invoke(app, ["contract", str(job), "--source", "--output", str(path)]).output
    passed = CliRunner().invoke(app, ["inspect", str(job), "--contract", str(path)])
    assert (passed.exit_code, "the table fulfils" in passed.output) == (0, True)
    path.write_text(path.read_text().replace("name: a\n", "name: aa\n"))

    failed = CliRunner().invoke(app, ["inspect", str(job), "--contract", str(path)])

    assert failed.exit_code == 1
    assert "contract: column 'aa' is missing; did you mean 'a'?" in failed.output
