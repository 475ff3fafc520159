"""Commits of one partition with two outputs, for tests of stores."""

from typing import Any

import pyarrow as pa

from aepipe.storage import HIDDEN, SCORE, Outputs, ScoreDetails
from aepipe.storage.commit import Commit

ROWS = pa.table({"id": [1, 2, 3], "score": [0.5, 1.5, 2.5]})
OTHER = pa.table({"id": [4, 5, 6], "score": [9.0, 8.0, 7.0]})
WRITTEN = ("features", "scores")
FILES = [f"{output}/dt=1/part-0.parquet" for output in WRITTEN]
MANIFEST = f"{HIDDEN}/manifests/score/dt=1.json"


def put(outputs: Outputs, key: str = "key", rows: pa.Table = ROWS) -> None:
    """Commit the partition unless it has this key."""
    with outputs.commit(SCORE, "dt=1", key) as commit:
        if commit.done is None:
            write(commit, rows)
            commit.publish(model_version="m/1", details=ScoreDetails())


def write(commit: Commit[Any], rows: pa.Table = ROWS) -> None:
    """Write both outputs."""
    for output in WRITTEN:
        commit.open(output, rows.schema).write(rows)


def keys(outputs: Outputs) -> list[str]:
    """List the files of the outputs."""
    return [path.relative_to(outputs.root).as_posix() for path in outputs.root.rglob("*")]
