"""Published tables: what a table format does for one output of a job, and the rows in types that all formats have."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.types as pt

from aepipe.errors import PublishFailed, first_line
from aepipe.storage import read_parquet
from aepipe.stores.connection import is_from_store, unavailable


@dataclass(frozen=True, slots=True)
class Publication:
    """One committed output of a partition, to be published."""

    job: str
    output: str
    partition: str
    path: Path
    digest: str

    @property
    def id(self) -> str:
        """Identity in the log of the table: the same for every version of this output."""
        return f"aepipe/{self.job}/{self.output}/{self.partition}"

    @property
    def columns(self) -> dict[str, str]:
        """Columns that select the rows of this partition in the table: the keys of its folders, or `partition`.

        >>> Publication("fraud", "scores", "dt=2026-01-01/hour=07", Path("x"), "").columns
        {'dt': '2026-01-01', 'hour': '07'}
        >>> Publication("fraud", "scores", "2026-01-01", Path("x"), "").columns
        {'partition': '2026-01-01'}
        """
        parts = [part.partition("=") for part in self.partition.split("/")]
        if all(equals for _, equals, _ in parts):
            return {key: value for key, _, value in parts}
        return {"partition": self.partition}

    def rows(self) -> pa.Table:
        """Read the rows, with the columns that select them, in types that Delta and Iceberg have.

        Raises:
            DataUnreadable: the file is damaged.
            PublishFailed: a column has the name of a selecting column and other values.
        """
        table = portable(read_parquet(self.path))
        for name, value in self.columns.items():
            if name in table.column_names:
                if table[name].cast(pa.string()).unique().to_pylist() not in ([value], []):
                    raise PublishFailed(
                        f"{self.path} has a column '{name}' with other values than its folder, {value}: the table "
                        "needs that name to replace the partition. Rename the column."
                    )
                table = table.drop_columns([name])
            table = table.append_column(pa.field(name, pa.string()), pa.repeat(value, table.num_rows))
        return table


class Target(Protocol):
    """A table of another format that holds the rows of one output."""

    def digest(self, publication: Publication) -> str | None:
        """Return the digest that the log of the table has for this output of the partition; None: not published."""

    def replace(self, publication: Publication, rows: pa.Table) -> None:
        """Replace exactly the rows of the partition and log the digest, in one transaction.

        Raises:
            PublishFailed: the table cannot be written.
        """


def refusal(table: str, publication: Publication, error: Exception, remedy: str) -> PublishFailed:
    """Return the error for a table that cannot be written."""
    if is_from_store(error):
        return PublishFailed(str(unavailable(table, error)))
    return PublishFailed(
        f"{table} cannot take {publication.output} of {publication.partition}: {first_line(error)}. {remedy}"
    )


_PLAIN: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pt.is_uint64, pa.decimal128(20, 0)),
    (pt.is_uint32, pa.int64()),
    (lambda kind: pt.is_integer(kind) and kind.bit_width < 32, pa.int32()),
    (pt.is_float16, pa.float32()),
    (pt.is_large_string, pa.string()),
    (pt.is_large_binary, pa.binary()),
    (pt.is_fixed_size_binary, pa.binary()),
    (pt.is_date64, pa.date32()),
)
_KEPT = (
    pt.is_boolean,
    pt.is_int32,
    pt.is_int64,
    pt.is_float32,
    pt.is_float64,
    pt.is_string,
    pt.is_binary,
    pt.is_date32,
    pt.is_decimal128,
)


def portable(table: pa.Table) -> pa.Table:
    """Cast columns to types that Delta and Iceberg have; other types become text.

    Unsigned integers become int64, uint64 decimal128(20, 0), half floats float32, and timestamps microseconds.
    """
    columns = {field.name: _portable_column(table[field.name]) for field in table.schema}
    return pa.table(columns)


def _portable_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pt.is_dictionary(kind):
        return _portable_column(column.cast(kind.value_type))
    if pt.is_timestamp(kind):
        return column.cast(pa.timestamp("us", "UTC" if kind.tz else None), safe=False)
    for test, plain in _PLAIN:
        if test(kind):
            return column.cast(plain)
    if any(test(kind) for test in _KEPT) or pt.is_nested(kind):
        return column
    return column.cast(pa.string())
