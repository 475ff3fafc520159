"""Partitions of a Delta or Iceberg table, in its newest version, in a given one, or as of a moment."""

import importlib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

from aepipe.errors import DataUnreadable
from aepipe.stores.table_url import DeltaPath, TableUrl
from aepipe.versions import named_extras


class Version(NamedTuple):
    """Committed version of a table."""

    number: int
    """Version of a Delta table, or snapshot of an Iceberg table."""
    when: datetime


class SourceTable(Protocol):
    """Table whose versions stay as they are."""

    def versions(self) -> tuple[Version, ...]:
        """Return the versions that are kept, oldest first."""

    def files(self, version: int | None) -> Mapping[str, tuple[Path, ...]]:
        """Return the Parquet files of each partition, by its name; None: in the newest version.

        Names are `key=value` for each partition column, with `/` between columns and reserved characters as %XX; empty
        for a table without partition columns.

        Raises:
            DataUnreadable: the table has no such version, or uses a feature that its Parquet files do not show.
        """


def open_table(url: TableUrl, catalog: Mapping[str, str]) -> SourceTable:
    """Open a table.

    Args:
        url: address of the table.
        catalog: properties of the catalog of an Iceberg table.

    Raises:
        DataUnreadable: there is no such table.
        ExtraMissing: the package of the format is not installed.
    """
    name = "delta" if isinstance(url, DeltaPath) else "iceberg"
    with named_extras(str(url)):
        module = importlib.import_module(f"aepipe.tables.formats.{name}")
    table: SourceTable = module.open_table(url, catalog)
    return table


def files_of_table(
    url: TableUrl, catalog: Mapping[str, str], *, version: int | None, key: str | None
) -> dict[str, tuple[Path, ...]]:
    """Return the files of each partition, by its name; that of the table if it has no partition columns.

    Args:
        url: address of the table.
        catalog: properties of the catalog of an Iceberg table.
        version: version or snapshot; None: the newest.
        key: column that the table must be partitioned by; None: any.

    Raises:
        DataUnreadable: the table cannot be read, is empty, or is not partitioned by the column.
    """
    found = _named(url, open_table(url, catalog).files(version))
    if not found:
        raise DataUnreadable(f"{url} holds no rows. Write some, or name another version.")
    keys = [part.partition("=")[0] for part in next(iter(found)).split("/") if "=" in part]
    if key is not None and key not in keys:
        has = f"its partition columns are {', '.join(keys)}" if keys else "it has no partition columns"
        raise DataUnreadable(f"{url} is not partitioned by '{key}': {has}. Change data.partition.")
    return found


def files_as_of(
    url: TableUrl, catalog: Mapping[str, str], *, moments: Callable[[str], datetime | None]
) -> dict[str, tuple[Path, ...]]:
    """Return the files of each partition in the version that was the newest at a moment of its own.

    A partition that was written after its moment has the files of the first version that holds it.

    Args:
        url: address of the table.
        catalog: properties of the catalog of an Iceberg table.
        moments: returns the moment of a partition; None: now.

    Raises:
        DataUnreadable: the table cannot be read.
    """
    table = open_table(url, catalog)
    versions = table.versions()
    times = [version.when for version in versions]
    files_in = lru_cache(maxsize=None)(lambda number: _named(url, table.files(number)))
    found = _named(url, table.files(None))
    for name, newest in found.items():
        moment = moments(name)
        if moment is not None:
            first = max(0, bisect_right(times, moment) - 1)
            held = (files_in(version.number).get(name) for version in versions[first:])
            found[name] = next((files for files in held if files is not None), newest)
    return found


def _named(url: TableUrl, files: Mapping[str, tuple[Path, ...]]) -> dict[str, tuple[Path, ...]]:
    return {name or url.name.rpartition(".")[2]: tuple(sorted(paths)) for name, paths in files.items()}
