"""Convert CSV and JSON files to Parquet, in bounded memory."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc

from aepipe.errors import ArgumentInvalid, DataUnreadable, LocalPathNeeded, did_you_mean
from aepipe.jobs.results import Result
from aepipe.progress import Progress, no_progress
from aepipe.storage import ParquetSink
from aepipe.storage.atomic_folders import building_folder
from aepipe.stores.store_path import is_url
from aepipe.tables.text_files.formats import FORMATS, format_of
from aepipe.tables.text_files.source import TextSource, open_source

MOST_OPEN = 32
"""Maximum number of Parquet files that are written at the same time."""


class ConvertedColumn(Result):
    """Column of the Parquet files."""

    name: str
    type: str


class ConvertResult(Result):
    """Folder of Parquet files, with their columns, rows and number of files."""

    path: Path
    columns: tuple[ConvertedColumn, ...]
    rows: int
    files: int
    undated: int = 0
    left_out: int = 0
    """rows without a value of the column `by`, which were not gathered"""
    by: str | None = None

    @property
    def sentence(self) -> str:
        """Summary for a terminal."""
        undated = f"; {self.undated:,} rows without a date are in dt=unknown" if self.undated else ""
        left_out = f"; {self.left_out:,} rows without '{self.by}' are left out" if self.left_out else ""
        return f"wrote {self.rows:,} rows in {self.files:,} files to {self.path}{undated}{left_out}"


def convert(
    files: Sequence[str | Path],
    *,
    out: str | Path,
    partition_by: str | None = None,
    encoding: str = "utf-8",
    progress: Progress | None = None,
) -> ConvertResult:
    """Write one Parquet file per CSV or JSON file, or one folder per day.

    The files are read twice: first for the types that all values of a column have, then for the rows.

    Args:
        files: files of one format; a folder stands for its files. Names that end in .gz are decompressed.
        out: new or empty folder; it appears once all files are written.
        partition_by: column of dates; rows are written to `dt=<date>` folders, timestamps by their date in UTC.
        encoding: encoding of CSV files.
        progress: callback for the share of the bytes that are read.

    Raises:
        ArgumentInvalid: an argument cannot be used.
        DataUnreadable: a file is missing, or is not a table.
    """
    out, progress = new_folder(out), progress or no_progress
    source = open_source(text_files(files), encoding)
    schema = source.schema(progress)
    if partition_by is not None:
        _check_date(schema, partition_by)
    with building_folder(out) as staging, Sinks(staging, schema) as sinks:
        undated = 0
        for path, batch in source.batches(progress):
            for name, rows in _divided(path, batch, partition_by):
                sinks.write(name, rows)
                undated += rows.num_rows if name.startswith("dt=unknown") else 0
        sinks.close()
    columns = tuple(ConvertedColumn(name=field.name, type=str(field.type)) for field in schema)
    return ConvertResult(path=out, columns=columns, rows=sinks.rows, files=sinks.files, undated=undated)


def new_folder(out: str | Path) -> Path:
    """Return the path of a folder to write.

    Raises:
        ArgumentInvalid: it exists and is not empty.
        LocalPathNeeded: it is a URL.
    """
    if is_url(out):
        raise LocalPathNeeded(f"{out} is a URL: expected a local folder. Convert to a local folder, and copy it.")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArgumentInvalid("out", [f"{out} exists already: expected a new or empty folder. Name another one."])
    return out


def text_files(files: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return CSV or JSON files, sorted within each folder.

    Raises:
        ArgumentInvalid: two files would become one.
        DataUnreadable: a file or folder is missing, is a URL, or holds no such file.
    """
    found: list[Path] = []
    for name in files:
        if is_url(name):
            raise DataUnreadable(
                f"{name} is a URL: expected a local file. Copy it to this machine, or mount the store."
            )
        path = Path(name)
        if not path.exists():
            raise DataUnreadable(f"{path} does not exist. Name a file or a folder of CSV or JSON files.")
        inside = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
        if path.is_dir():
            inside = [entry for entry in inside if format_of(entry) is not None and not entry.name.startswith(".")]
            if not inside:
                raise DataUnreadable(f"{path} holds no file whose name ends in {', '.join(FORMATS)}. Name one.")
        found += inside
    stems = [TextSource.stem(path) for path in found]
    double = next((path for path in found if stems.count(TextSource.stem(path)) > 1), None)
    if double is not None:
        raise ArgumentInvalid(
            "files", [f"two files are named {TextSource.stem(double)}. Rename one, or convert apart."]
        )
    return tuple(found)


def _check_date(schema: pa.Schema, column: str) -> None:
    if column not in schema.names:
        hint = did_you_mean(column, schema.names)
        raise ArgumentInvalid("partition_by", [f"the files have no column '{column}'{hint}"])
    kind = schema.field(column).type
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        raise ArgumentInvalid(
            "partition_by", [f"column '{column}' is {kind}: expected dates or timestamps, as 2026-01-31. Name another."]
        )


def _divided(path: Path, rows: pa.RecordBatch, column: str | None) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield the rows of each Parquet file, by its name without number."""
    if column is None:
        yield TextSource.stem(path), rows
        return
    days = rows.column(column)
    if pa.types.is_timestamp(days.type):
        days = days.cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
    names = pc.fill_null(days.cast(pa.string()), "unknown")
    for name in pc.unique(names).to_pylist():
        yield f"dt={name}/part", rows.filter(pc.equal(names, name))


class Sinks:
    """Parquet files by name; beyond `MOST_OPEN` files, the one written least recently is closed."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        self._open: OrderedDict[str, ParquetSink] = OrderedDict()
        self._parts: dict[str, int] = {}
        self.rows = 0

    @property
    def files(self) -> int:
        """Number of files."""
        return sum(self._parts.values())

    def __enter__(self) -> "Sinks":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for sink in self._open.values():
            sink.abort()

    def write(self, name: str, rows: pa.RecordBatch) -> None:
        """Write rows to the file of this name."""
        if name not in self._open:
            if len(self._open) >= MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            part = self._parts[name] = self._parts.get(name, 0) + 1
            number = f"-{part - 1}" if "/" in name or part > 1 else ""
            self._open[name] = ParquetSink(self._folder / f"{name}{number}.parquet", self._schema)
        self._open.move_to_end(name)
        self._open[name].write(rows)
        self.rows += rows.num_rows

    def close(self) -> None:
        """Complete all files."""
        while self._open:
            self._open.popitem()[1].close()
