"""Gather a long table, such as one row per purchase, into one row per user with lists, in bounded memory."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.errors import ArgumentInvalid, DataUnreadable, did_you_mean
from aepipe.jobs.convert import ConvertedColumn, ConvertResult, Sinks, new_folder, text_files
from aepipe.progress import Progress, no_progress
from aepipe.storage.atomic_folders import building_folder, remove_folder
from aepipe.stores.store_path import is_url
from aepipe.tables.arrow_arrays import array_of, values_of
from aepipe.tables.arrow_types import sort_of
from aepipe.tables.text_files.parquet_source import ParquetSource
from aepipe.tables.text_files.source import TextSource, open_source

BUCKETS = 32
"""Parts that rows are divided into by the hash of their user; one part at a time is in memory."""


def gather(
    files: Sequence[str | Path],
    *,
    out: str | Path,
    columns: Sequence[str],
    by: str,
    keep: Sequence[str] = (),
    encoding: str = "utf-8",
    progress: Progress | None = None,
) -> ConvertResult:
    """Write one row per value of `by`, with a list of the values of each of `columns` in the order of the rows.

    Args:
        files: CSV, JSON or Parquet files of one format, or folders of them; the files are read in this order.
        out: new or empty folder; it appears once its file is written.
        columns: columns that become lists.
        by: column whose values identify a row of the result, such as a user; rows without one are left out.
        keep: columns that keep the last value that is not null.
        encoding: encoding of CSV files.
        progress: callback for the share of the bytes that are read.

    Raises:
        ArgumentInvalid: an argument cannot be used.
        DataUnreadable: a file is missing, or is not a table.
    """
    out, progress = new_folder(out), progress or no_progress
    wanted = (by, *columns, *keep)
    if len(set(wanted)) < len(wanted):
        raise ArgumentInvalid("gather", [f"a column is named twice in {', '.join(wanted)}. Name each column once."])
    source = _opened(files, wanted, encoding)
    schema = _long_schema(source.schema(progress), by, columns, keep)
    lists = pa.schema(
        [pa.field(field.name, pa.list_(field.type) if field.name in columns else field.type) for field in schema]
    )
    left_out = 0
    with building_folder(out) as staging:
        with Sinks(staging / "buckets", schema) as buckets:
            for _, batch in source.batches(progress):
                rows = batch.select(schema.names)
                left_out += rows.column(by).null_count
                for bucket, part in _divided(rows.filter(rows.column(by).is_valid()), by):
                    buckets.write(f"{bucket}/rows", part)
            buckets.close()
        with Sinks(staging, lists) as sinks:
            for bucket in range(BUCKETS):
                progress("lists", bucket / BUCKETS)
                found = sorted((staging / "buckets" / str(bucket)).glob("*.parquet"))
                sinks.write("part", _gathered([pq.ParquetFile(path).read() for path in found], lists, by))
            sinks.close()
        remove_folder(staging / "buckets")
    made = tuple(ConvertedColumn(name=field.name, type=str(field.type)) for field in lists)
    return ConvertResult(path=out, columns=made, rows=sinks.rows, files=sinks.files, left_out=left_out, by=by)


def check_options(
    columns: Sequence[str] | None, *, by: str | None, keep: Sequence[str] | None, partition_by: str | None
) -> None:
    """Refuse options of a command that do not go together.

    Raises:
        ArgumentInvalid: one is missing, or has no effect.
    """
    if columns and by is None:
        raise ArgumentInvalid("gather", ["expected --by with it, got none. Name the column that has one row each."])
    if not columns and (by is not None or keep):
        raise ArgumentInvalid(
            "by" if by is not None else "keep", ["expected --gather with it, got none. Name a column for lists."]
        )
    if columns and partition_by is not None:
        raise ArgumentInvalid(
            "partition_by", ["cannot be combined with --gather. Gather the files of one day to --out NAME/dt=<date>."]
        )


def _opened(files: Sequence[str | Path], columns: Sequence[str], encoding: str) -> TextSource:
    """Return the source of CSV or JSON files, or of the Parquet files in the folders and those named."""
    found: list[Path] = []
    for path in [Path(name) for name in files if not is_url(name)]:
        inside = path.rglob("*.parquet") if path.is_dir() else [path] if path.suffix == ".parquet" else []
        found += sorted(file for file in inside if not file.name.startswith((".", "_")))
    others = [Path(name) for name in files if Path(name).suffix != ".parquet" and not Path(name).is_dir()]
    if found and others:
        raise DataUnreadable(f"{found[0]} and {others[0]} have two formats: expected one. Gather them apart.")
    if not found or any(map(is_url, files)):
        return open_source(text_files(files), encoding)
    missing = next((path for path in found if not path.exists()), None)
    if missing is not None:
        raise DataUnreadable(f"{missing} does not exist. Name a file or a folder of CSV, JSON or Parquet files.")
    return ParquetSource(found, columns)


def _long_schema(schema: pa.Schema, by: str, columns: Sequence[str], keep: Sequence[str]) -> pa.Schema:
    """Return the columns that are read, `by` first."""
    for argument, names in (("by", (by,)), ("gather", columns), ("keep", keep)):
        for name in names:
            if name not in schema.names:
                hint = did_you_mean(name, schema.names)
                raise ArgumentInvalid(argument, [f"the files have no column '{name}'{hint or '. Name one of theirs.'}"])
    kind = schema.field(by).type
    if sort_of(kind) not in ("text", "number", "time"):
        raise ArgumentInvalid("by", [f"column '{by}' is {kind}: expected text, numbers or dates. Name another one."])
    return pa.schema([schema.field(name) for name in (by, *columns, *keep)])


def _divided(rows: pa.RecordBatch, by: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of each bucket; all rows of one value of `by` are in one."""
    coded = rows.column(by).dictionary_encode()
    texts = coded.dictionary.cast(pa.string()).to_pylist()
    buckets = np.array([zlib.crc32(text.encode()) % BUCKETS for text in texts], np.int64)
    of_row = buckets[values_of(coded.indices)]
    for bucket in np.unique(of_row).tolist():
        yield bucket, rows.take(array_of(np.flatnonzero(of_row == bucket), pa.int64()))


def _gathered(parts: Sequence[pa.Table], lists: pa.Schema, by: str) -> pa.RecordBatch:
    """Return one row per value of `by`, in the order of first appearance."""
    if not parts:
        return pa.RecordBatch.from_pylist([], schema=lists)
    rows = pa.concat_tables(parts).combine_chunks()
    coded = _array(rows[by]).dictionary_encode()
    codes, count = values_of(coded.indices), len(coded.dictionary)
    order = array_of(np.argsort(codes, kind="stable"), pa.int64())
    offsets = array_of(
        np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=count))]).astype(np.int32), pa.int32()
    )
    made = []
    for field in lists:
        column = _array(rows[field.name])
        if field.name == by:
            made.append(coded.dictionary)
        elif field.type != column.type:
            made.append(pa.ListArray.from_arrays(offsets, column.take(order)))
        else:
            valid = np.flatnonzero(values_of(column.is_valid()))
            last = np.full(count, -1, np.int64)
            np.maximum.at(last, codes[valid], valid)
            made.append(column.take(pa.array(last, mask=last < 0)))
    return pa.RecordBatch.from_arrays(made, schema=lists)


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
