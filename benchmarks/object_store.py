"""CPU time of scoring from and to an object store, relative to local files: moto's server on loopback.

python -m benchmarks.object_store; the server runs in a process of its own, so that its time does not count.
"""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import S3FileSystem

from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.engines import local
from aepipe.jobs.train.train import train
from aepipe.stores import StorePath, as_path
from aepipe.tables.partitions import Partition

NIGHTS, ROWS, COLUMNS, RUNS = 4, 100_000, 16, 3
_BUCKET = "bench"


def main() -> None:
    """Print the table of docs/scaling.md."""
    print(f"Machine: {os.cpu_count()} cores, {platform.machine()}; {date.today():%Y-%m-%d}.\n")
    print("| data and outputs | CPU, s | times local | wall, s |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary, _server() as url:
        folder = Path(temporary)
        files = _write(folder)
        bundle = _bundle(folder)
        objects = _upload(files, url)
        here = median_of([_cost(bundle, files, folder / f"out{run}") for run in range(RUNS)])
        there = median_of([_cost(bundle, objects, as_path(f"s3://{_BUCKET}/out{run}")) for run in range(RUNS)])
        for name, (cpu, wall) in {"local files": here, "s3://, moto on loopback": there}.items():
            print(f"| {name} | {cpu:.2f} | {cpu / here[0]:.2f} | {wall:.2f} |")


def median_of(costs: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the medians of the first and of the second numbers.

    >>> median_of([(1.0, 5.0), (3.0, 4.0), (2.0, 9.0)])
    (2.0, 5.0)
    """
    first, second = zip(*costs, strict=True)
    return median(first), median(second)


def _write(folder: Path) -> list[Partition]:
    generator = np.random.default_rng(0)
    found = []
    for index in range(NIGHTS):
        path = folder / "rows" / f"night={index}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({f"x{c}": generator.normal(size=ROWS) for c in range(COLUMNS)}), path)
        found.append(Partition(path.parent.name, (path,)))
    return found


def _bundle(folder: Path) -> Bundle:
    job = folder / "job.toml"
    job.write_text(
        'name = "store"\n[data]\npath = "rows"\n[model]\nfamily = "ae"\n[train]\nto = "night=0"\n'
        "epochs = 1\nmax_rows = 20000\n"
    )
    return Bundle.open(train(job).bundle)


def _upload(partitions: list[Partition], url: str) -> list[Partition]:
    S3FileSystem(endpoint_override=url, region="us-east-1", allow_bucket_creation=True).create_dir(_BUCKET)
    found = []
    for partition in partitions:
        target = StorePath.of(f"s3://{_BUCKET}/{partition.name}/part-0.parquet")
        with target.file_system.open_output_stream(target.in_store) as stream:
            stream.write(partition.files[0].read_bytes())
        found.append(Partition(partition.name, (target,)))
    return found


def _cost(bundle: Bundle, partitions: list[Partition], out: Path) -> tuple[float, float]:
    """Return seconds of CPU and of wall time of a run on two threads."""
    cpu, wall = time.process_time(), time.perf_counter()
    results = local.run(bundle, partitions, ScoreSettings(out), MachineSettings(device="cpu", workers=2))
    cost = time.process_time() - cpu, time.perf_counter() - wall
    assert all(result.status == "written" for result in results)
    if not isinstance(out, StorePath):
        shutil.rmtree(out)
    return cost


@contextmanager
def _server() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    os.environ.update(
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_EC2_METADATA_DISABLED="true", AWS_ENDPOINT_URL=url
    )
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
