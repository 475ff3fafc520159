"""A folder in which partitions are scored with a bundle."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.batch.partition_scorer import PartitionScoring, UnlimitedSlot, score_partition
from aepipe.batch.score_settings import ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.inference.batch_runner import Runner
from aepipe.inference.session import Session
from aepipe.storage import PartitionResult
from aepipe.tables.partitions import Partition
from tests.support.linear_bundle import numbers

NAME = "dt=2026-01-01"


class CallbackSlot(UnlimitedSlot):
    """Slot that calls the given functions."""

    def __init__(
        self,
        *,
        open: Callable[[PartitionScoring], None] = lambda scoring: None,
        progress: Callable[[float], None] = lambda fraction: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.open, self.report_progress, self.check = open, progress, check  # type: ignore[method-assign]


class Workspace:
    """Folder with a bundle, and partitions to score with it."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.folder = folder
        self.bundle = bundle
        self.out = folder / "out"

    def write(self, *tables: pa.Table, group: int | None = None) -> Partition:
        files = []
        for index, table in enumerate(tables):
            files.append(self.folder / NAME / f"part-{index}.parquet")
            files[-1].parent.mkdir(exist_ok=True)
            pq.write_table(table, files[-1], row_group_size=group)
        return Partition(NAME, tuple(files))

    def score(self, partition: Partition, *, batch_rows: int = 2048, **options: object) -> PartitionResult:
        settings = ScoreSettings(self.out, **options)  # type: ignore[arg-type]
        runner = Runner(lambda: Session(self.bundle.part("scorer")[0], device="cpu"), batch_rows=batch_rows)
        return score_partition(self.bundle, partition, settings, runner)

    def read(self, output: str = "scores") -> pa.Table:
        return pq.ParquetFile(self.out / output / NAME / "part-0.parquet").read()

    def snapshot(self) -> dict[str, tuple[int, int, bytes]]:
        """Return every output file except locks, with its inode, time and bytes."""
        files = [path for path in self.out.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def matrix(table: pa.Table) -> np.ndarray:
    return np.stack([table[name].to_numpy() for name in "abc"], axis=1)


def rows_with(values: Mapping[int, float], *, rows: int = 100) -> pa.Table:
    """Generate rows whose `b` is replaced at these places."""
    table = numbers(rows, seed=3)
    b = table["b"].to_numpy().copy()
    b[list(values)] = list(values.values())
    return table.set_column(2, "b", pa.array(b))
