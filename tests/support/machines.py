"""A series job of machines with two channels; one machine has a fault on one day."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STEPS, FAULT = 96, slice(40, 60)
"""Rows per machine and day, and the steps of the fault within its day."""

JOB = """
name = "machines"
[data]
path = "{root}rows"
event_time = "at"
labels = ["fault"]
[series]
entity = ["machine"]
window = 24
[model]
family = "pca"
[train]
to = "{last}"
[score]
head = "reconstruction"
[evaluate]
anomaly = "fault"
"""


def day_of(day: int, *, machines: int, faulty: str | None = None) -> pa.Table:
    """Generate a day in any order: a row per machine every 15 minutes, with a period of six hours."""
    rng, step = np.random.default_rng(day), day * STEPS + np.arange(STEPS)
    at = np.datetime64("2026-01-01", "us") + step * np.timedelta64(900_000_000, "us")
    tables = []
    for number in range(machines):
        load = np.sin(2 * np.pi * step / 24) + rng.normal(0, 0.1, STEPS)
        heat = 20 + 5 * number + 3 * np.cos(2 * np.pi * step / 24) + rng.normal(0, 0.3, STEPS)
        fault = np.zeros(STEPS, np.bool_)
        if f"m{number}" == faulty:
            fault[FAULT] = True
            load[FAULT] += 2
        rows = {"machine": [f"m{number}"] * STEPS, "at": at, "heat": heat, "load": load, "fault": fault}
        tables.append(pa.table(rows))
    table = pa.concat_tables(tables)
    return table.take(rng.permutation(table.num_rows))


def night(day: int) -> str:
    """Return the name of the partition of a day."""
    return f"dt={np.datetime64('2026-01-01') + day}"


def write_machines(folder: Path, *, days: int, machines: int = 3, fault_on: int, learned: int) -> Path:
    """Write the days and the job, which learns from the first `learned` days; machine m1 has a fault on one day."""
    for day in range(days):
        path = folder / "rows" / night(day) / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(day_of(day, machines=machines, faulty="m1" if day == fault_on else None), path)
    job = folder / "job.toml"
    job.write_text(JOB.format(root="", last=night(learned - 1)))
    return job
