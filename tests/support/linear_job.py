"""Job of a bundle made by hand, whose nights a command scores in a moment."""

from pathlib import Path

import pyarrow.parquet as pq

from aepipe.bundles.registry import Registry
from tests.support.linear_bundle import make_bundle, numbers


def make_job(folder: Path, *, nights: int, rows: int = 50) -> Path:
    """Write the champion, nights from 2026-01-01 on, and a job; return its path. Its last section is [run]."""
    version = make_bundle(folder, numbers(500), data={"keys": ["id"]}).path
    Registry(version.parent).set_alias("champion", version.name, who="test", why="the first")
    for day in range(1, nights + 1):
        path = folder / "rows" / f"dt=2026-01-{day:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(numbers(rows, seed=day), path)
    job = folder / "job.toml"
    job.write_text('name = "linear"\n[data]\npath = "rows"\nkeys = ["id"]\n[run]\ndevice = "cpu"\n')
    return job
