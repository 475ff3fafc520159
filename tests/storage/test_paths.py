"""Names of partitions, and the paths of their files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.errors import PartitionInvalid
from aepipe.storage import SAMPLE, SCORE, Outputs, ScoreDetails, check_partition
from aepipe.storage.paths import PartitionPaths

GOOD = ["dt=2026-01-01", "dt=1/hour=07", "cells", "a b", "nuit=été", "x%2Fy", "part-0", "50%", "a.b", "x" * 200]
NAMES = st.text(st.sampled_from("ab%2F/=."), min_size=1, max_size=6)


@pytest.mark.parametrize("name", GOOD)
def test_valid_name_is_returned(name: str) -> None:
    assert check_partition(name) == name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "relative path"),
        ("/etc", "relative path"),
        ("a//b", "relative path"),
        ("a/", "relative path"),
        ("..", "'..'"),
        ("../other", "'..'"),
        ("a/../../b", "'..'"),
        ("./a", "'.'"),
        (".aepipe", "skip as hidden"),
        ("dt=1/_tmp", "skip as hidden"),
        ("a\x00b", "unprintable"),
        ("a\nb", "unprintable"),
        ("a\\b", "backslash"),
        ("x.parquet", "ends in .parquet"),
        ("dt=1/part-0.parquet", "ends in .parquet"),
        ("x" * 201, "201 bytes"),
        ("é" * 101, "202 bytes"),
        ("\udcff", "unprintable"),
    ],
)
def test_invalid_name_is_refused_with_its_fault(tmp_path: Path, name: str, fault: str) -> None:
    with pytest.raises(PartitionInvalid) as error:
        check_partition(name)
    with pytest.raises(PartitionInvalid), Outputs(tmp_path).commit(SCORE, name, "key"):
        raise AssertionError("a bad name was accepted")

    assert fault in str(error.value)
    assert str(error.value).endswith("Rename its folder or file.")
    assert list(tmp_path.iterdir()) == []


@given(NAMES, NAMES)
def test_two_partitions_share_no_file(left: str, right: str) -> None:
    one, two = PartitionPaths(Path("out"), left, SCORE), PartitionPaths(Path("out"), right, SCORE)

    assert (one.lock == two.lock) == (left == right)
    assert (one.staging == two.staging) == (left == right)


def test_runs_of_one_partition_share_no_file() -> None:
    score, sample = PartitionPaths(Path("out"), "dt=1", SCORE), PartitionPaths(Path("out"), "dt=1", SAMPLE)

    assert score.lock != sample.lock
    assert score.staging != sample.staging
    assert score.manifest != sample.manifest


def test_path_of_an_output_follows_the_partition(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)

    assert outputs.path("scores", "dt=1/hour=2") == tmp_path / "scores" / "dt=1" / "hour=2" / "part-0.parquet"
    assert outputs.path("samples", "x") == tmp_path / "samples" / "x" / "part-0.parquet"


def test_readers_find_partition_columns_in_the_folders(tmp_path: Path) -> None:
    rows = pa.table({"score": [1.0, 2.0]})
    for partition in ("dt=a/hour=1", "dt=b/hour=2"):
        with Outputs(tmp_path).commit(SCORE, partition, "key") as commit:
            commit.open("scores", rows.schema).write(rows)
            commit.publish(model_version="m/1", details=ScoreDetails())

    table = ds.dataset(tmp_path / "scores", partitioning="hive").to_table()

    assert sorted(zip(*table.to_pydict().values(), strict=True)) == [
        (1.0, "a", 1),
        (1.0, "b", 2),
        (2.0, "a", 1),
        (2.0, "b", 2),
    ]
