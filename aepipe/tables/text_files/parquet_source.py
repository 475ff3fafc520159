"""Parquet files as one table of a common schema, with the same interface as CSV and JSON files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.errors import DataUnreadable, SchemaMismatch
from aepipe.progress import Progress
from aepipe.tables.arrow_types import plain
from aepipe.tables.source_files import describe_read_error, refuse_irregular
from aepipe.tables.text_files.source import TextSource
from aepipe.tables.unification import cast_batch, unify_with_faults

_ROWS = 65_536

T = TypeVar("T")


class ParquetSource(TextSource):
    """Parquet files; columns are found by name, and a column that a file lacks is null there."""

    def __init__(self, files: Sequence[Path], columns: Sequence[str]) -> None:
        """Take the files; of their columns only `columns` are read."""
        super().__init__(files)
        self._columns = tuple(columns)
        self._schema = pa.schema([])

    def schema(self, progress: Progress) -> pa.Schema:
        schemas = [(str(path), _read(path, lambda file: file.schema_arrow)) for path in self.files]
        unified, faults = unify_with_faults(schemas)
        if found := [fault for column, fault in faults.items() if column in self._columns]:
            raise SchemaMismatch("the files", found)
        self._schema = pa.schema([(field.name, plain(field.type)) for field in unified])
        return self._schema

    def batches(self, progress: Progress) -> Iterator[tuple[Path, pa.RecordBatch]]:
        schema = pa.schema([field for field in self._schema if field.name in self._columns])
        for at, path in enumerate(self.files):
            progress(path.name, at / len(self.files))
            yield from ((path, cast_batch(rows, schema)) for rows in self._rows(path))

    def _rows(self, path: Path) -> Iterator[pa.RecordBatch]:
        with _read(path, lambda file: file) as file:
            inside = [name for name in self._columns if name in file.schema_arrow.names]
            batches = file.iter_batches(_ROWS, columns=inside)
            while (rows := _attempt(path, lambda: next(batches, None))) is not None:
                yield rows


def _read(path: Path, take: Callable[[pq.ParquetFile], T]) -> T:
    def opened() -> T:
        refuse_irregular(path)
        return take(pq.ParquetFile(path, page_checksum_verification=True))

    return _attempt(path, opened)


def _attempt(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (OSError, pa.ArrowException) as error:
        raise DataUnreadable(f"{path} cannot be read: {describe_read_error(error)}") from None
