"""A job whose partitions are the cases of a test: one run scores them all."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.bundles.registry import Registry
from tests.support.linear_bundle import make_bundle

NAMES = ("north", "south", "west")
JOB = (
    'name = "linear"\n[data]\npath = "table"\npartition = "dt"\nkeys = ["id"]\n'
    '[output]\npath = "out"\n[run]\nworkers = 1\n'
)


def rows(count: int = 60, *, seed: int = 7) -> pa.Table:
    """Return rows of a key, two numbers and a category."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "id": [f"key {row}" for row in range(count)],
            "a": rng.standard_normal(count, dtype=np.float32),
            "b": rng.standard_normal(count),
            "kind": [NAMES[code] for code in rng.integers(0, len(NAMES), count)],
        }
    )


def make_job(root: Path, files: Mapping[str, bytes], *, options: str = "") -> Path:
    """Write a job with a champion and one partition per name, and return its path."""
    root.mkdir(exist_ok=True)
    bundle = make_bundle(root, rows(500), data={"keys": ["id"]})
    Registry(bundle.path.parent).set_alias("champion", bundle.path.name, who="me", why="trained")
    (root / "job.toml").write_text(JOB.replace("[output]", f"{options}[output]"))
    shutil.rmtree(root / "table", ignore_errors=True)
    for name, data in files.items():
        path = root / "table" / f"dt={name}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    return root / "job.toml"


def parquet(table: pa.Table, **options: object) -> bytes:
    """Return a table as the bytes of a Parquet file with page checksums."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True, **options)
    return sink.getvalue().to_pybytes()


def scored(root: Path, name: str) -> pa.Table | None:
    """Return the scores of a partition; None if there are none."""
    path = root / "out" / "scores" / f"dt={name}" / "part-0.parquet"
    return pq.ParquetFile(path).read() if path.exists() else None


def write_digests(root: Path, files: Mapping[str, bytes]) -> None:
    """Write the file that `sha256sum` would write for these contents."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  dt={name}/part-0.parquet\n" for name, data in files.items()]
    (root / "sums.txt").write_text("".join(lines))
