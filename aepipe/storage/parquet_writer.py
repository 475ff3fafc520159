"""Parquet files with page checksums, hashed while they are written."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from aepipe.errors import DataUnreadable
from aepipe.storage.atomic_files import make_folder, naming, replacing
from aepipe.storage.digests import named
from aepipe.stores import StorePath
from aepipe.stores.connection import is_from_store, retried, unavailable
from aepipe.tables.source_files import describe_read_error

_BUFFER = 256 << 10  # stays in the second-level cache: 1 MiB cost a fifth more CPU at 64 float columns
_SMALL_ROWS = 16_384
_GROUP_ROWS = 65_536
_GROUP_BYTES = 32 << 20
_LARGE_ROW = 16 << 10
_PAGE_BYTES = 1 << 20


class StagedFile(NamedTuple):
    """A complete Parquet file."""

    path: Path
    rows: int
    bytes: int
    digest: str


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file that may be replaced meanwhile: either the old or the new one.

    Raises:
        DataUnreadable: the file is damaged.
        FileNotFoundError: there is no such file.
    """
    # opened once; `pyarrow.parquet.read_table(path)` opens it twice
    try:
        return retried(lambda: _read(path, columns))
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        if is_from_store(error):
            raise unavailable(str(path), error) from None
        said = describe_read_error(error, remedy="Run aepipe verify.")
        raise DataUnreadable(f"{path} cannot be read: {said}") from None


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table:
    source = path.open_arrow() if isinstance(path, StorePath) else path
    with pq.ParquetFile(source, pre_buffer=isinstance(path, StorePath), page_checksum_verification=True) as file:
        return file.read(None if columns is None else list(columns))


def put_parquet(path: Path, table: pa.Table | pa.RecordBatch, *, compression: str = "snappy") -> StagedFile:
    """Write a table to `path`: readers see the old file or the new one, and the new one survives a power cut."""
    with replacing(path) as temp:
        sink = ParquetSink(temp, table.schema, compression=compression, is_synced=False)
        try:
            sink.write(table)
            staged = sink.close()
        except BaseException:
            sink.abort()
            raise
    return staged._replace(path=path)


class ParquetSink:
    """Writer of one Parquet file: `write` rows, then `close` or `abort`.

    Batches of fewer than 16,384 rows are copied and collected into larger row groups. The caller may overwrite the
    memory of a batch once `write` returns.

    Args:
        path: the file.
        schema: its columns.
        compression: codec of the pages.
        is_synced: flush the file to disk when it is closed; False: the caller does, together with other files.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, compression: str = "snappy", is_synced: bool = True) -> None:
        make_folder(path.parent)
        self._is_synced = is_synced
        self.path = path
        self.schema = schema
        self._rows = 0
        self._collected: list[pa.RecordBatch] = []
        self._collected_rows = 0
        self._collected_bytes = 0
        self._staged: StagedFile | None = None
        self._file = _HashingFile(path)
        try:
            self._stream = pa.BufferedOutputStream(pa.PythonFile(self._file, mode="w"), _BUFFER)
            self._writer = pq.ParquetWriter(
                self._stream,
                schema,
                compression=compression,
                # on floats a dictionary costs 11 times the CPU and 1.5 times the bytes
                use_dictionary=[field.name for field in schema if _is_text(field.type)],
                write_page_checksum=True,
            )
        except BaseException:
            self._file.close()
            path.unlink()
            raise

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Write rows; raise ValueError if their schema differs from the file's."""
        if self._file.closed:
            raise ValueError(f"{self.path} is closed: no rows can be added")
        if not rows.schema.equals(self.schema):
            raise ValueError(
                f"{self.path} has another schema: expected {_brief(self.schema)}, got {_brief(rows.schema)}"
            )
        if rows.num_rows == 0:
            return
        self._rows += rows.num_rows
        if rows.num_rows >= _SMALL_ROWS:
            self._write_collected()
            self._writer.write(rows)
            return
        copy = pa.concat_batches(rows.to_batches() if isinstance(rows, pa.Table) else [rows])
        self._collected.append(copy)
        self._collected_rows += copy.num_rows
        self._collected_bytes += copy.get_total_buffer_size()
        if self._collected_rows >= _GROUP_ROWS or self._collected_bytes >= _GROUP_BYTES:
            self._write_collected()

    def close(self) -> StagedFile:
        """Complete the file; return the same value when called again."""
        if self._staged is None:
            self._staged = self._finish()
        return self._staged

    def abort(self) -> None:
        """Delete the file."""
        self._file.discard = True
        with suppress(Exception):  # a full disk, say, has broken the writer already
            self._writer.close()
        with suppress(Exception):
            self._stream.close()
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write_collected(self) -> None:
        if not self._collected:
            return
        rows = self._collected_rows
        if self._collected_bytes > _LARGE_ROW * rows:
            # Arrow ends a page after 1,024 rows or a chunk, and holds a row group of `write_batch` until it is complete
            step = max(1, _PAGE_BYTES * rows // self._collected_bytes)
            chunks = [batch.slice(at, step) for batch in self._collected for at in range(0, len(batch), step)]
            self._writer.write_table(pa.Table.from_batches(chunks))
        else:
            # one batch: pages of 2,048 rows would cost 1.6 times the CPU
            self._writer.write_batch(pa.concat_batches(self._collected))
        self._collected, self._collected_rows, self._collected_bytes = [], 0, 0

    def _finish(self) -> StagedFile:
        if self._file.closed:
            raise ValueError(f"{self.path} was aborted")
        self._write_collected()
        self._writer.close()
        self._stream.flush()
        if self._is_synced:
            self._file.sync()
        self._stream.close()
        with naming(self.path):
            found = pq.read_metadata(self.path).num_rows
        if found != self._rows:
            raise OSError(
                f"{self.path} has the wrong number of rows: expected {self._rows:,}, got {found:,}. Check the disk."
            )
        return StagedFile(self.path, self._rows, self._file.bytes, named(self._file.hasher))


class _HashingFile:
    """File that hashes the bytes Arrow writes to it."""

    def __init__(self, path: Path) -> None:
        self.hasher = xxhash.xxh3_128()
        self.bytes = 0
        self.discard = False
        self._file = path.open("wb", buffering=0)

    def write(self, data: bytes | pa.Buffer) -> int:
        view = memoryview(data)
        if self.discard:
            return len(view)
        self.hasher.update(view)
        self.bytes += len(view)
        rest = view
        with naming(Path(self._file.name)):
            while rest:
                rest = rest[self._file.write(rest) :]
        return len(view)

    def tell(self) -> int:
        return self.bytes

    def sync(self) -> None:
        with naming(Path(self._file.name)):
            os.fsync(self._file.fileno())

    def flush(self) -> None:
        """Do nothing: writes are not buffered."""

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return self._file.closed


def _is_text(kind: pa.DataType) -> bool:
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(text or pa.types.is_dictionary(kind))


def _brief(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
