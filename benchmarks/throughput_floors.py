"""What a night costs at least: reading its columns alone, running the graph alone on resident rows, writing alone."""

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
"""Batches that the graph runs over again and again; they stay out of the nearest caches, as rows that were read do."""

Work = Callable[[], Mapping[str, float] | None]


def read(night: Night, *, checked: bool = False) -> Work:
    """Arrow's batches of every file, without checksums unless they are asked for."""
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
    """The scorer graph on one thread, as many rows as the night has, encoded and in memory."""
    bundle = Bundle.open(night.bundle)
    return over_resident(night, bundle, bundle.part("scorer")[0])


def over_resident(night: Night, bundle: Bundle, onnx: bytes) -> Callable[[], None]:
    """A graph over and over the night's first rows, as many rows as the night has."""
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
    """The night's own outputs from memory into files, without checksums, digests or waiting for the disk."""
    return writing(night, outputs(night))


def writing(night: Night, tables: Sequence[pa.Table], *, checked: bool = False) -> Callable[[], None]:
    """These tables into files of the night's folder, as aepipe encodes them."""

    def work() -> None:
        for at, table in enumerate(tables):
            texts = [f.name for f in table.schema if pa.types.is_dictionary(f.type) or pa.types.is_string(f.type)]
            path = night.folder / f"written-{at}.parquet"
            with pq.ParquetWriter(path, table.schema, use_dictionary=texts, write_page_checksum=checked) as writer:
                for begin in range(0, table.num_rows, BLOCK):
                    writer.write_table(table.slice(begin, BLOCK))

    return work


def outputs(night: Night) -> list[pa.Table]:
    """What aepipe writes of the night, which it has scored when this returns."""
    from aepipe.jobs.score import score

    score(night.job_path)
    return [pq.ParquetFile(path).read() for path in output_files(night)]


def output_files(night: Night) -> list[Path]:
    """What aepipe has written of the night."""
    return [path for path in sorted(night.out.rglob("part-*.parquet")) if ".aepipe" not in path.parts]


FLOORS: Mapping[str, Callable[[Night], Work]] = {"read": read, "infer": infer, "write": write}
