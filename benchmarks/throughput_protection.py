"""Scoring with and without all that protects its inputs and outputs: checksums, digests, bounds, fsync."""

import functools
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq

from benchmarks.throughput_tables import Night

WITH, WITHOUT = "scoring with checks, wall_s", "scoring without checks, wall_s"
_ROUNDS = 5


class _NoHash:
    """Hasher that ignores its input."""

    def update(self, data: object) -> None:
        """Do nothing."""

    def hexdigest(self) -> str:
        return "0" * 32


@contextmanager
def unprotected() -> Iterator[None]:
    """Score without page checksums, digests of files, bounds of decoded sizes, golden rows and fsync."""

    def without(function: Any, **changes: object) -> Any:
        return functools.wraps(function)(lambda *args, **options: function(*args, **{**options, **changes}))

    with ExitStack() as patches:
        for target, value in (
            ("pyarrow.parquet.ParquetFile", without(pq.ParquetFile, page_checksum_verification=False)),
            ("pyarrow.parquet.ParquetWriter", without(pq.ParquetWriter, write_page_checksum=False)),
            ("aepipe.tables.decoded_sizes.DecodedSizes.rows_per_batch", lambda sizes, groups, rows: rows),
            ("aepipe.batch.input_files.source_digest", lambda path, check: f"xxh3:{path.name}"),
            ("aepipe.storage.parquet_writer.xxhash", SimpleNamespace(xxh3_128=_NoHash)),
            ("aepipe.engines.local.check_golden", lambda bundle, runner: None),
            ("os.fsync", lambda descriptor: None),
        ):
            patches.enter_context(patch(target, value))
        yield


def protection(night: Night) -> Mapping[str, float]:
    """Return wall seconds with and without checks, as medians of interleaved runs."""
    from aepipe.jobs.score import score

    taken: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    for _ in range(_ROUNDS):
        for name in taken:
            shutil.rmtree(night.out, ignore_errors=True)
            os.sync()
            with unprotected() if name == WITHOUT else ExitStack():
                began = time.perf_counter()
                if score(night.job_path).failed:
                    raise RuntimeError("a partition was not scored")
                taken[name].append(time.perf_counter() - began)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}
