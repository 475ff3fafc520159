"""CSV or JSON files as one table: its schema after a first reading, its rows by a second one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.types as pt

from aepipe.errors import DataUnreadable
from aepipe.progress import Progress
from aepipe.tables.text_files.column_types import ColumnType, typed
from aepipe.tables.text_files.csv_reader import CsvDialect, read_csv, read_dialect
from aepipe.tables.text_files.formats import FORMATS, format_of, remedy_for
from aepipe.tables.text_files.json_reader import is_for_text, read_block, read_objects
from aepipe.tables.unification import cast_batch, common_type


class TextSource(ABC):
    """Files of one format."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    @abstractmethod
    def schema(self, progress: Progress) -> pa.Schema:
        """Read all files for the columns and the types that all their values have."""

    @abstractmethod
    def batches(self, progress: Progress) -> Iterator[tuple[Path, pa.RecordBatch]]:
        """Yield the rows of each file in the types of `schema`, which must have been called."""

    @staticmethod
    def stem(path: Path) -> str:
        """Return the name of a file without its endings, such as .csv.gz."""
        return Path(path.name.removesuffix(".gz")).stem


def open_source(files: Sequence[Path], encoding: str) -> TextSource:
    """Return the files as one table.

    Raises:
        DataUnreadable: the format is unknown, or the formats differ.
    """
    for path in files:
        if format_of(path) is None:
            remedy = remedy_for(path) or f"Name files that end in {', '.join(FORMATS)}."
            raise DataUnreadable(f"{path} is neither CSV nor JSON. {remedy}")
    formats = {format_of(path) for path in files}
    if len(formats) > 1:
        raise DataUnreadable(f"{files[0]} and others have two formats: expected one. Convert CSV and JSON files apart.")
    if formats == {"json"}:
        return JsonSource(files)
    return CsvSource(files, [read_dialect(path, encoding) for path in files])


class CsvSource(TextSource):
    """CSV files; columns are found by name, and a column that a file lacks is null there."""

    def __init__(self, files: Sequence[Path], dialects: Sequence[CsvDialect]) -> None:
        super().__init__(files)
        self._dialects = dict(zip(files, dialects, strict=True))
        names = dict.fromkeys(name for dialect in dialects for name in dialect.names)
        self._types = {name: ColumnType() for name in names}
        self._schema = pa.schema([])

    def schema(self, progress: Progress) -> pa.Schema:
        for path, dialect in self._dialects.items():
            for batch in read_csv(path, dialect, stage=f"types of {path.name}", progress=progress):
                for name in batch.schema.names:
                    self._types[name].add(batch.column(name))
        self._schema = pa.schema([(name, column.type) for name, column in self._types.items()])
        return self._schema

    def batches(self, progress: Progress) -> Iterator[tuple[Path, pa.RecordBatch]]:
        for path, dialect in self._dialects.items():
            yield path, pa.RecordBatch.from_pylist([], schema=self._schema)  # of a file without rows, too
            for batch in read_csv(path, dialect, stage=path.name, progress=progress):
                columns = [
                    typed(batch.column(field.name), field.type)
                    if field.name in batch.schema.names
                    else pa.nulls(batch.num_rows, field.type)
                    for field in self._schema
                ]
                yield path, pa.RecordBatch.from_arrays(columns, schema=self._schema)


class JsonSource(TextSource):
    """JSON files; values of several types are text, and text that is a date or a timestamp everywhere becomes one."""

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__(files)
        self._read = pa.schema([])
        self._schema = pa.schema([])

    def schema(self, progress: Progress) -> pa.Schema:
        types: dict[str, pa.DataType] = {}
        times: dict[str, ColumnType] = {}
        mixed: set[str] = set()
        for path in self.files:
            for block in read_objects(path, stage=f"types of {path.name}", progress=progress):
                table = read_block(block)
                as_text = pa.schema([(field.name, _without_timestamps(field.type)) for field in table.schema])
                if as_text != table.schema:  # Arrow drops the zone of a timestamp
                    table = read_block(block, as_text)
                for field in table.schema:
                    kind = pa.string() if is_for_text(field.type) else field.type
                    known = types.get(field.name, kind)
                    types[field.name] = common_type(known, kind) or pa.string()
                    if pt.is_string(types[field.name]) and not {known, field.type} <= {pa.string(), pa.null()}:
                        mixed.add(field.name)
                    if pt.is_string(field.type):
                        column = times.setdefault(field.name, ColumnType())
                        for chunk in table.column(field.name).chunks:
                            column.add(chunk)
        if not types:
            raise DataUnreadable(f"{self.files[0]} has no objects: expected rows with columns. Write the file again.")
        self._read = pa.schema([(name, pa.string() if pt.is_null(kind) else kind) for name, kind in types.items()])
        found = {
            name: times[name].type
            for name, kind in types.items()
            if name in times
            and name not in mixed
            and (pt.is_date(times[name].type) or pt.is_timestamp(times[name].type))
        }
        self._schema = pa.schema([(field.name, found.get(field.name, field.type)) for field in self._read])
        return self._schema

    def batches(self, progress: Progress) -> Iterator[tuple[Path, pa.RecordBatch]]:
        for path in self.files:
            yield path, pa.RecordBatch.from_pylist([], schema=self._schema)
            for block in read_objects(path, stage=path.name, progress=progress):
                for batch in read_block(block, self._read).to_batches():
                    rows = cast_batch(batch, self._read)
                    columns = [
                        column if column.type == field.type else typed(column, field.type)
                        for column, field in zip(rows.columns, self._schema, strict=True)
                    ]
                    yield path, pa.RecordBatch.from_arrays(columns, schema=self._schema)


def _without_timestamps(kind: pa.DataType) -> pa.DataType:
    """Return the type with text for timestamps."""
    if pt.is_timestamp(kind):
        return pa.string()
    if pt.is_list(kind):
        return pa.list_(_without_timestamps(kind.value_type))
    if pt.is_struct(kind):
        return pa.struct([(field.name, _without_timestamps(field.type)) for field in kind])
    return kind
