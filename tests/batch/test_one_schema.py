"""The outputs of a model are one data set, whatever the types of the source's keys and labels are."""

import importlib.util
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from aepipe.errors import SchemaMismatch
from aepipe.tables.partitions import Partition
from tests.support.linear_bundle import make_bundle, numbers
from tests.support.workspace import Workspace


def rows(ids: pa.Array, truth: pa.Array | None) -> pa.Table:
    table = numbers(len(ids)).set_column(0, "id", ids)
    return table if truth is None else table.append_column("truth", truth)


TABLES = {
    "dt=2026-01-01": rows(pa.array([1, 2], pa.int64()), pa.array(["a", "b"])),
    "dt=2026-01-02": rows(pa.array([3, 4], pa.int16()), None),
    "dt=2026-01-03": rows(pa.array(["5", "6"]), pa.array(["a", "b"]).dictionary_encode()),
    "dt=2026-01-04": rows(pa.array([7.0, None]), pa.array(["a", "b"], pa.large_string())),
    "dt=2026-01-05": rows(pa.nulls(2), pa.nulls(2)),
    "dt=2026-01-06": rows(pa.array([9, 10], pa.uint64()), pa.array([b"a", b"b"])),
}
IDS = [1, 2, 3, 4, 5, 6, 7, None, None, None, 9, 10]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    training = rows(pa.array(range(60), pa.int64()), pa.array(["a"] * 60))
    return Workspace(tmp_path, make_bundle(tmp_path, training, data={"keys": ["id"], "labels": ["truth"]}))


def score(workspace: Workspace, name: str, table: pa.Table) -> None:
    written = workspace.write(table)
    folder = (
        written.files[0].parent.rename(workspace.folder / name) if name != written.name else written.files[0].parent
    )
    workspace.score(Partition(name, tuple(folder.iterdir())))


@pytest.fixture
def scores(workspace: Workspace) -> Path:
    for name, table in reversed(TABLES.items()):
        score(workspace, name, table)
    return workspace.out / "scores"


def test_the_scores_read_as_one_dataset(scores: Path) -> None:
    fragments = [fragment.physical_schema for fragment in ds.dataset(scores, format="parquet").get_fragments()]

    arrow = ds.dataset(scores, format="parquet", partitioning="hive").to_table()
    pandas = pd.read_parquet(scores)

    assert all(schema.equals(fragments[0]) for schema in fragments)
    assert arrow["id"].to_pylist() == IDS
    assert arrow["truth"].to_pylist() == ["a", "b", None, None, "a", "b", "a", "b", None, None, "a", "b"]
    assert len(pandas) == len(IDS)


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
def test_other_engines_read_the_scores(scores: Path, engine: str) -> None:
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")
    pattern = str(scores / "*" / "*.parquet")
    if engine == "duckdb":
        import duckdb

        found = duckdb.sql(f"select id from '{pattern}' order by filename").fetchall()
        ids = [row[0] for row in found]
    else:
        import polars

        ids = polars.scan_parquet(pattern).collect()["id"].to_list()
    assert ids == IDS


def test_a_partition_whose_keys_would_change_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SchemaMismatch, match=r"column 'id' is string .+ but int64 in the outputs.+ Write it as int64"):
        score(workspace, "dt=2026-01-01", rows(pa.array(["007", "8"]), None))
