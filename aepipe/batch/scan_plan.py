"""Scan plan of a partition: what to read of each file, decided from the footers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from aepipe.encoding import Encoding
from aepipe.errors import SchemaMismatch
from aepipe.tables.last_schema import OfLastSchema, Same
from aepipe.tables.open_files import ParsedFooter
from aepipe.tables.parquet_reader import READ_ROWS, Footer, read_footer, slices
from aepipe.tables.schema import Schema
from aepipe.tables.schema_check import extra_columns, faults
from aepipe.tables.source_facts import SourceFacts, small_facts
from aepipe.tables.struct_fields import struct_of_field
from aepipe.tables.unification import cast_exactly, unify_with_faults

_TEXT = (pa.string(), pa.large_string(), pa.string_view())  # pandas writes large ones


class FileScan(NamedTuple):
    """Columns to read of one file."""

    path: Path
    columns: tuple[str, ...]
    """Labels may be absent."""
    as_codes: tuple[str, ...]
    """Text columns modelled as categories: as dictionary codes, 2.3 times faster to read and twice to encode."""
    parsed: ParsedFooter | None
    """Footer of the only file of a partition, for its reader; the footers of many files would take too much memory."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows. Raises DataUnreadable."""
        return slices([self.path], self.columns, rows=READ_ROWS, parsed=self.parsed)


class ScanPlan(NamedTuple):
    """Files of one partition, which fit the encoding."""

    files: tuple[FileScan, ...]
    rows: int
    row_bytes: int
    open_bytes: int
    passthrough: tuple[pa.Field, ...]
    """Keys, event time and labels, with the types of the training rows."""
    extra_columns: tuple[str, ...]
    has_checksums: bool
    """Pages of every file have checksums."""
    facts: SourceFacts | None
    """What the footer says about the rows, if the partition is one small file."""


def plan_scan(paths: Sequence[Path], encoding: Encoding) -> ScanPlan:
    """Read the footers and plan the scan.

    Raises:
        DataUnreadable: a file is not a Parquet file.
        SchemaMismatch: files do not fit the encoding; names every fault of every file.
    """
    footers = [read_footer(path, encoding.columns_read, keep=len(paths) == 1) for path in paths]
    columns = [_columns_of(footer.schema, Same(encoding)) for footer in footers]
    found = [(footer.path, fault) for footer, each in zip(footers, columns, strict=True) for fault in each.faults]
    fields = [_passthrough_field(name, encoding.schema, footers) for name in encoding.schema.carried]
    found += [(footers[0].path, fault) for fault in fields if isinstance(fault, str)]
    if found:
        # the error itself names the first file
        first = found[0][0]
        raise SchemaMismatch(str(first), [fault if path == first else f"{path} {fault}" for path, fault in found])
    return ScanPlan(
        files=tuple(
            FileScan(footer.path, each.read, each.as_codes, footer.parsed)
            for footer, each in zip(footers, columns, strict=True)
        ),
        rows=sum(footer.rows for footer in footers),
        row_bytes=max(footer.row_bytes for footer in footers),
        open_bytes=max(footer.open_bytes for footer in footers),
        passthrough=tuple(field for field in fields if isinstance(field, pa.Field)),
        extra_columns=tuple(sorted({name for each in columns for name in each.extra})),
        has_checksums=all(footer.has_checksums for footer in footers),
        facts=small_facts(footers[0]) if len(footers) == 1 else None,
    )


class _Columns(NamedTuple):
    """Columns of a file, as far as its schema tells."""

    read: tuple[str, ...]
    as_codes: tuple[str, ...]
    extra: tuple[str, ...]
    faults: tuple[str, ...]


def _find_columns(schema: pa.Schema, same: Same[Encoding]) -> _Columns:
    encoding, names = same.value, set(schema.names)
    if found := faults(encoding.schema, schema):
        return _Columns((), (), (), tuple(found))
    categories = {category.name for category in encoding.layout.categories}
    fields = struct_of_field(schema)  # Arrow reads dictionaries at the top level only
    read = tuple(name for name in encoding.columns_read if name in names)
    return _Columns(
        read=read,
        as_codes=tuple(
            name for name in read if name in categories and name not in fields and schema.field(name).type in _TEXT
        ),
        extra=tuple(extra_columns(encoding.schema, schema)),
        faults=(),
    )


_columns_of = OfLastSchema(_find_columns)


def passthrough_columns(batch: pa.RecordBatch, fields: Sequence[pa.Field]) -> dict[str, pa.Array]:
    """Return the passthrough columns in the types of `fields`; null if the file has no such label.

    Raises:
        SchemaMismatch: a value would change in the type of its field.
    """
    return {field.name: cast_exactly(batch, field) for field in fields}


def _passthrough_field(column: str, schema: Schema, footers: Sequence[Footer]) -> pa.Field | str | None:
    """Return the field of a passthrough column: one type in the outputs of all partitions.

    Without a type in training, where all values were null, it is the common type of the files; None if no file has the
    column, a fault if their types have no common one.
    """
    field = schema.arrow.field(column)
    if not pa.types.is_null(field.type):
        return pa.field(column, field.type, metadata=field.metadata)
    found = [
        (str(footer.path), pa.schema([footer.schema.field(column)]))
        for footer in footers
        if column in footer.schema.names
    ]
    if not found:
        return None
    unified, faults = unify_with_faults(found)
    return faults.get(column, unified.field(column))
