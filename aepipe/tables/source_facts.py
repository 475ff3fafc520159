"""Columns, sizes and missing values of the files of a partition, by their footers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from aepipe.tables.column_statistics import null_counts
from aepipe.tables.parquet_reader import Footer

Fields = tuple[tuple[str, str], ...]
"""Name and type of each column, as text."""

_MOST_CHUNKS = 1_000


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Files of a partition, as they were read."""

    fields: Fields
    rows: int
    bytes: int
    files: int
    nulls: Mapping[str, int]
    """Missing values by column; columns whose number is not known are left out."""


def source_facts(footers: Sequence[Footer], sizes: Sequence[int]) -> SourceFacts:
    """Return the facts of at least one file.

    Args:
        footers: footers of the files.
        sizes: bytes of each file.
    """
    return SourceFacts(
        fields=fields_of(footers[-1].schema),
        rows=sum(footer.rows for footer in footers),
        bytes=sum(sizes),
        files=len(footers),
        nulls=null_counts(footers),
    )


def small_facts(footer: Footer) -> SourceFacts | None:
    """Return the facts of a partition of one local file with few column chunks; None for a larger one."""
    if footer.bytes is None or sum(len(group.chunks) for group in footer.all_groups) > _MOST_CHUNKS:
        return None
    return source_facts([footer], [footer.bytes])


def fields_of(schema: pa.Schema) -> Fields:
    """Return name and type of each column.

    >>> fields_of(pa.schema([("a", pa.int8())]))
    (('a', 'int8'),)
    """
    return tuple((field.name, str(field.type)) for field in schema)
