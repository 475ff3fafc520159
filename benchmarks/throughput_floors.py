"""Lower bounds of the cost of a night: only reading, only running the graph on rows in memory, only writing."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.bundles.bundle import Bundle
from aepipe.inference.batch_runner import BATCH_ROWS
from aepipe.inference.memory_budget import batch_rows
from aepipe.inference.session import Session
from benchmarks.throughput_tables import Night

BLOCK = 32_768
_RESIDENT = 32
"""Batches that the graph runs on in turn: enough to exceed the nearest caches, as rows from a file do."""

Work = Callable[[], Mapping[str, float] | None]


def read(night: Night, *, checked: bool = False) -> Work:
    """Return a function that reads Arrow batches of all files, by default without checksums."""
    columns = list(Bundle.open(night.bundle).encoding.columns_read)

    def work() -> None:
        for path in night.files:
            with pq.ParquetFile(
                path, pre_buffer=False, buffer_size=1 << 16, page_checksum_verification=checked
            ) as file:
                for _ in file.iter_batches(BLOCK, columns=columns, use_threads=False):
                    pass

    return work


def infer(night: Night) -> Work:
    """Return a function that runs the scorer on one thread for the rows of the night, encoded and in memory."""
    bundle = Bundle.open(night.bundle)
    return over_resident(night, bundle, bundle.part("scorer")[0])


def over_resident(night: Night, bundle: Bundle, onnx: bytes) -> Callable[[], None]:
    """Return a function that runs a graph on the first rows of the night as often as all rows would need."""
    size = batch_rows(bundle.encoding.layout, asked=BATCH_ROWS, device="cpu")
    session = Session(onnx, device="cpu")
    rows = next(pq.ParquetFile(night.files[0]).iter_batches(_RESIDENT * size))
    encoded = bundle.encoding.encode(rows).arrays
    slices = [
        {name: np.ascontiguousarray(values[at : at + size]) for name, values in encoded.items()}
        for at in range(0, max(1, rows.num_rows - size + 1), size)
    ]

    def work() -> None:
        for at in range(-(-night.rows // size)):
            session.run(slices[at % len(slices)])

    return work


def write(night: Night) -> Work:
    """Return a function that writes the outputs of the night from memory, without checksums, digests or fsync."""
    return writing(night, outputs(night))


def writing(night: Night, tables: Sequence[pa.Table], *, checked: bool = False) -> Callable[[], None]:
    """Return a function that writes these tables to files in the folder of the night, encoded as by aepipe."""

    def work() -> None:
        for at, table in enumerate(tables):
            texts = [f.name for f in table.schema if pa.types.is_dictionary(f.type) or pa.types.is_string(f.type)]
            path = night.folder / f"written-{at}.parquet"
            with pq.ParquetWriter(path, table.schema, use_dictionary=texts, write_page_checksum=checked) as writer:
                for begin in range(0, table.num_rows, BLOCK):
                    writer.write_table(table.slice(begin, BLOCK))

    return work


def outputs(night: Night) -> list[pa.Table]:
    """Score the night and return what aepipe wrote."""
    from aepipe.jobs.score import score

    score(night.job_path)
    return [pq.ParquetFile(path).read() for path in output_files(night)]


def output_files(night: Night) -> list[Path]:
    """Return the files that aepipe wrote for the night."""
    return [path for path in sorted(night.out.rglob("part-*.parquet")) if ".aepipe" not in path.parts]


FLOORS: Mapping[str, Callable[[Night], Work]] = {"read": read, "infer": infer, "write": write}
