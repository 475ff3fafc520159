"""Processes that read the outputs of a folder again and again, with the readers that people use.

Run as a script with a reader's name, the folder of the scores, a file that ends the reading, and a JSON file with the
known contents: for each path, the numbers of rows and sums of scores that may be seen.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

COLUMN = "score"


def _pyarrow(path: Path) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read()[COLUMN].to_numpy()


def _pandas(path: Path) -> Any:
    import pandas as pd

    with path.open("rb") as file:
        return pd.read_parquet(file)[COLUMN].to_numpy()


def _polars(path: Path) -> Any:
    import polars as pl

    with path.open("rb") as file:
        return pl.read_parquet(file)[COLUMN].to_numpy()


def _duckdb(path: Path) -> Any:
    import duckdb
    import pyarrow.parquet as pq

    return duckdb.from_arrow(pq.ParquetFile(path).read()).project(COLUMN).fetchnumpy()[COLUMN]


def _pyarrow_path(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, partitioning=None)[COLUMN].to_numpy()


def _pandas_path(path: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(path, partitioning=None)[COLUMN].to_numpy()


def _polars_path(path: Path) -> Any:
    import polars as pl

    return pl.read_parquet(path, hive_partitioning=False)[COLUMN].to_numpy()


def _duckdb_path(path: Path) -> Any:
    import duckdb

    query = f"select {COLUMN} from read_parquet('{path}', hive_partitioning = false)"
    return duckdb.sql(query).fetchnumpy()[COLUMN]


CLEAN: dict[str, Callable[[Path], Any]] = {
    "pyarrow": _pyarrow,
    "pandas": _pandas,
    "polars": _polars,
    "duckdb": _duckdb,
}
"""Readers that open a file once."""
BY_PATH: dict[str, Callable[[Path], Any]] = {
    "pyarrow by path": _pyarrow_path,
    "pandas by path": _pandas_path,
    "polars by path": _polars_path,
    "duckdb by path": _duckdb_path,
}
"""Readers that open a path twice: for the footer and for the pages."""


def content_of(values: Any) -> list[float]:
    """Return the number of rows and the sum of scores."""
    numbers = np.ma.filled(np.ma.masked_invalid(np.asarray(values, np.float64)), 0.0)
    return [len(numbers), round(float(numbers.sum()), 3)]


def contents(folder: Path) -> dict[str, list[list[float]]]:
    """Return the content of each file of an output, by path below its folder."""
    paths = sorted(folder.rglob("*.parquet"))
    return {path.relative_to(folder).as_posix(): [content_of(_pyarrow(path))] for path in paths}


def joined(*all_contents: dict[str, list[list[float]]]) -> dict[str, list[list[float]]]:
    """Return the contents that each file has in any of these states."""
    return {path: [content for each in all_contents for content in each[path]] for path in all_contents[0]}


class Reading:
    """Results of the readers: reads by reader, and one sentence per fault."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self.reads: dict[str, int] = {}
        self.silent: dict[str, int] = {}
        self.loud: dict[str, int] = {}
        self.faults: list[str] = []

    @property
    def is_running(self) -> bool:
        """Return whether any reader still reads."""
        return any(process.poll() is None for process in self._processes)


@contextmanager
def reading(
    folder: Path, known: Mapping[str, Sequence[Sequence[float]]], names: Sequence[str] = tuple(CLEAN), *, reads: int = 0
) -> Iterator[Reading]:
    """Read all files of a folder in one process per reader until the block ends.

    Args:
        folder: the folder of an output.
        known: contents that each file may have, by path below the folder.
        names: the readers.
        reads: reads after which a reader ends by itself; 0: none.
    """
    seen = Reading()
    stop, begin, expected = (folder.parent.with_name(name) for name in ("stop", "begin", "known.json"))
    expected.write_text(json.dumps(known))
    for path in (stop, begin):
        path.unlink(missing_ok=True)
    root = Path(__file__).parents[2]
    started = {
        name: subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, name, str(folder), str(stop), str(expected), str(reads)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root), "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        for name in names
    }
    seen._processes.extend(started.values())
    try:
        for process in started.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "reading\n"
        begin.touch()  # none reads before the first commit, or ends before the last reader is ready
        yield seen
    finally:
        stop.touch()
        answers = {name: json.loads(process.communicate(timeout=60)[0]) for name, process in started.items()}
        for name, found in answers.items():
            seen.reads[name], seen.silent[name] = found["reads"], found["wrong"]
            seen.loud[name] = found["loud"]
            seen.faults += [f"{name}: {fault}" for fault in (*found["silent"], *found["errors"])]


def main(name: str, folder: Path, stop: Path, expected: Path, most: int) -> None:
    """Read in turn all files until `stop` exists or after `most` reads; print the numbers of reads and faults."""
    read = (CLEAN | BY_PATH)[name]
    known = json.loads(expected.read_text())
    reads, loud, wrong, silent, errors = 0, 0, 0, [], set()
    read(folder / next(iter(known)))
    print("reading", flush=True)
    while not (stop.exists() or stop.with_name("begin").exists()):
        time.sleep(0.01)
    while not stop.exists() and not 0 < most <= reads:
        for path, contents in known.items():
            reads += 1
            try:
                found = content_of(read(folder / path))
            except Exception as error:  # readers raise any exception
                loud += 1
                errors.add(f"{path}: {type(error).__name__} {str(error)[:80]}")
                continue
            if found not in contents:
                wrong += 1
                if len(silent) < 5:  # the pipe is not read before this process ends
                    silent.append(f"{path}: read {found}, expected one of {contents}")
    print(json.dumps({"reads": reads, "loud": loud, "wrong": wrong, "silent": silent, "errors": sorted(errors)[:5]}))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]), most=int(sys.argv[5]))
