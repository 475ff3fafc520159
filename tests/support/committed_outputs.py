"""Small outputs of a job, written by the commit protocol."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from aepipe.storage import SCORE, Commit, Manifest, Outputs, ScoreDetails

ROWS = pa.table({"id": [1, 2, 3], "score": [0.5, 1.5, 2.5]})
OTHER = pa.table({"id": [4, 5, 6], "score": [9.0, 8.0, 7.0]})


def write(commit: Commit[Any], *outputs: str, rows: pa.Table = ROWS) -> None:
    for output in outputs:
        commit.open(output, rows.schema).write(rows)


def put(outputs: Outputs, partition: str = "dt=1", key: str = "key", rows: pa.Table = ROWS) -> Manifest[ScoreDetails]:
    with outputs.commit(SCORE, partition, key) as commit:
        write(commit, "features", "scores", rows=rows)
        return commit.publish(model_version="m/1", details=ScoreDetails())


def snapshot(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return the content of every file except the locks."""
    stats = {path: path.stat() for path in root.rglob("*") if path.is_file() and "locks" not in path.parts}
    return {str(path): (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for path, stat in stats.items()}


def manifests_without_times(root: Path) -> list[dict[str, Any]]:
    """Return the manifests of scored partitions without what differs between two runs."""
    times = {"seconds", "over_io", "wall_s", "rows_per_s"}
    found = Outputs(root).manifests(SCORE)
    return [manifest.model_dump(exclude={"created_at": True, "digest": True, "details": times}) for manifest in found]
