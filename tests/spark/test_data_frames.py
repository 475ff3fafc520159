"""Spark data frames, scored by real PySpark on this machine."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aepipe
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.errors import BundleNotFound, SchemaMismatch, TableInvalid
from tests.support.linear_bundle import make_bundle, numbers

pytest.importorskip("pyspark", reason="PySpark is not installed")
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("Java is not installed", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "200")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    table = numbers(500).append_column("wrong", pa.array([False] * 500))
    return make_bundle(tmp_path_factory.mktemp("linear"), table, data={"keys": ["id"], "labels": ["wrong"]})


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    table = numbers(1_000, seed=3)
    values = table["a"].to_pylist()
    values[7], values[11] = float("inf"), None
    table = table.set_column(table.schema.get_field_index("a"), "a", pa.array(values, table["a"].type))
    return table.append_column("wrong", pa.array(np.arange(1_000) % 50 == 0)).append_column(
        "note", pa.array([f"note {row}" for row in range(1_000)])
    )


@pytest.fixture
def frame(spark: Any, rows: pa.Table, tmp_path: Path) -> Any:
    pq.write_table(rows, tmp_path / "rows.parquet")
    return spark.read.parquet(str(tmp_path / "rows.parquet")).repartition(4)


def by_id(found: Any) -> pa.Table:
    if hasattr(found, "toArrow"):  # from PySpark 4 on
        return found.toArrow().sort_by("id")
    return pa.Table.from_pandas(found.toPandas(), preserve_index=False).sort_by("id")


def test_scores_are_those_of_the_model_and_keep_its_keys(frame: Any, rows: pa.Table, bundle: Bundle) -> None:
    found = aepipe.spark.score(frame, bundle.path)

    expected = aepipe.load(bundle.path).score(rows)
    names = ["id", "wrong", *expected.column_names, "model_version"]
    assert found.columns == names
    answered = by_id(found)
    assert answered["id"].to_pylist() == rows["id"].to_pylist()
    for name in expected.column_names:
        values = expected[name].to_pylist()
        if name == "is_anomaly":  # as in the files of `scores`
            values = [bool(value) for value in values]
        assert answered[name].to_pylist() == values, name
    assert set(answered["model_version"].to_pylist()) == {bundle.version}
    assert answered["invalid_reason"][7].as_py() is not None


def test_the_schema_is_declared_before_a_row_is_read(frame: Any, bundle: Bundle) -> None:
    found = aepipe.spark.score(frame, bundle.path)

    types = {field.name: field.dataType.simpleString() for field in found.schema.fields}
    assert types | {"id": "bigint"} == types
    expected = {"score": "float", "p_value": "double", "is_anomaly": "boolean", "reason_1": "string"}
    assert types | expected == types


def test_latents_are_those_of_the_model_without_labels(frame: Any, rows: pa.Table, bundle: Bundle) -> None:
    answered = by_id(aepipe.spark.encode(frame, bundle.path))

    expected = aepipe.load(bundle.path).encode(rows)
    assert answered.column_names == ["id", *expected.column_names, "model_version"]
    for name in expected.column_names:
        assert answered[name].to_pylist() == expected[name].to_pylist()


def test_other_columns_are_kept_on_request(frame: Any, bundle: Bundle) -> None:
    found = aepipe.spark.score(frame, bundle.path, keep=["note", "id"])

    assert found.columns[:3] == ["note", "id", "score"]
    assert by_id(found)["note"].to_pylist() == [f"note {row}" for row in range(1_000)]


def test_aliases_are_resolved(frame: Any, bundle: Bundle) -> None:
    folder = bundle.path.parent
    Registry(folder).set_alias("champion", bundle.path.name, who="me", why="first")

    assert aepipe.spark.score(frame, f"{folder}@champion").count() == 1_000
    with pytest.raises(BundleNotFound, match="has no 'champoin'; did you mean 'champion'"):
        aepipe.spark.score(frame, f"{folder}@champoin")


def test_a_python_worker_opens_the_model_once(frame: Any, bundle: Bundle, spark: Any) -> None:
    for _ in range(2):
        aepipe.spark.score(frame, bundle.path).collect()

    def opened(_: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from aepipe.spark.data_frames import _models

        yield pa.RecordBatch.from_pydict({"models": pa.array([len(_models)], pa.int64())})

    counts = [row.models for row in spark.range(8, numPartitions=8).mapInArrow(opened, "models long").collect()]
    assert max(counts) == 1


def test_faults_of_the_columns_are_one_sentence_before_a_task(frame: Any, bundle: Bundle) -> None:
    with pytest.raises(SchemaMismatch, match="has no column 'b'"):
        aepipe.spark.score(frame.drop("b"), bundle.path)
    with pytest.raises(SchemaMismatch, match="column 'b'"):
        aepipe.spark.score(frame.withColumn("b", frame["note"]), bundle.path)
    with pytest.raises(SchemaMismatch, match="has no column 'nil', which keep names"):
        aepipe.spark.score(frame, bundle.path, keep=["nil"])
    with pytest.raises(SchemaMismatch, match="has column 'score', a name of the result"):
        aepipe.spark.score(frame.withColumnRenamed("note", "score"), bundle.path, keep=["score"])
    with pytest.raises(TableInvalid, match=r"expected pyspark\.sql\.DataFrame, got Table"):
        aepipe.spark.score(numbers(3), bundle.path)


def test_no_rows_give_no_rows(frame: Any, bundle: Bundle) -> None:
    assert aepipe.spark.score(frame.limit(0), bundle.path).count() == 0
