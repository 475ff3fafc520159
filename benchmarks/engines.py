"""The same nights through every engine: overhead per run and per partition, and wall time relative to `local`.

python -m benchmarks.engines; `ray` is left out where it is not installed.
"""

import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.engines.engine import find_engine
from aepipe.jobs.train.train import train
from aepipe.tables.partitions import Partition

MANY, ROWS_OF_MANY = 200, 100
FEW, ROWS_OF_FEW = 8, 250_000
COLUMNS = 16


def main() -> None:
    """Print the table of docs/scaling.md."""
    names = ["local", "processes", *(["ray"] if importlib.util.find_spec("ray") else [])]
    print(f"Machine: {os.cpu_count()} cores, {platform.machine()}; {date.today():%Y-%m-%d}.\n")
    print("| engine | start, s | per partition of 100 rows, ms | 8 x 250,000 rows, s | times local |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        few = _write(folder / "few", FEW, ROWS_OF_FEW)
        many = _write(folder / "many", MANY, ROWS_OF_MANY)
        bundle = _bundle(folder, few)
        base = 0.0
        for name in names:
            start = _seconds(name, bundle, many[:1], folder / name / "start")
            overhead = (_seconds(name, bundle, many, folder / name / "many") - start) / (MANY - 1)
            night = _seconds(name, bundle, few, folder / name / "few") - (start if name != "local" else 0.0)
            base = base or night
            print(f"| {name} | {start:.2f} | {1000 * overhead:.1f} | {night:.2f} | {night / base:.2f} |")


def _write(folder: Path, count: int, rows: int) -> list[Partition]:
    generator = np.random.default_rng(0)
    found = []
    for index in range(count):
        path = folder / f"part={index:04d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({f"x{c}": generator.normal(size=rows) for c in range(COLUMNS)}), path)
        found.append(Partition(path.parent.name, (path,)))
    return found


def _bundle(folder: Path, partitions: Sequence[Partition]) -> Bundle:
    job = folder / "job.toml"
    job.write_text(
        f'name = "engines"\n[data]\npath = "few"\n[model]\nfamily = "ae"\n[train]\nto = "{partitions[0].name}"\n'
        "epochs = 1\nmax_rows = 20000\n"
    )
    return Bundle.open(train(job).bundle)


def _seconds(engine: str, bundle: Bundle, partitions: Sequence[Partition], out: Path) -> float:
    began = time.perf_counter()
    results = find_engine(engine)(bundle, partitions, ScoreSettings(out), MachineSettings(device="cpu"))
    assert all(result.status == "written" for result in results)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
