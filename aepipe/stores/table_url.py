"""Addresses of tables whose log says which Parquet files belong to them: Delta and Iceberg."""

import re
from pathlib import Path, PosixPath
from typing import Any

from aepipe.errors import UrlInvalid
from aepipe.stores.store_path import StorePath, as_path, is_url

_DELTA = re.compile(r"delta://(?=.)")
_ICEBERG = re.compile(r"iceberg://([^/]+)/([^/.]+(?:\.[^/.]+)+)/?")
_ANY = re.compile(r"(delta|iceberg):/", re.IGNORECASE)


class TableUrl(PosixPath):
    """Address of a Delta or Iceberg table."""


class DeltaPath(TableUrl):
    """Folder of a Delta table, on this machine or in an object store; relative to the job file.

    >>> path = DeltaPath("tables", "rows")
    >>> str(path), str(path.location), str(DeltaPath("/data/rows"))
    ('delta://tables/rows', 'tables/rows', 'delta:///data/rows')
    """

    @property
    def location(self) -> Path:
        """Folder of the table."""
        return StorePath(*self.parts[1:]) if self._is_in_store else Path(*self.parts)

    @property
    def _is_in_store(self) -> bool:
        return self.parts[:1] == ("delta:",)

    def __str__(self) -> str:
        return f"delta://{self.location}"

    def __fspath__(self) -> str:
        return self.location.__fspath__()

    def is_absolute(self) -> bool:
        """Return True for an object store and for an absolute path."""
        return self._is_in_store or super().is_absolute()

    def resolve(self, strict: bool = False) -> "DeltaPath":
        """Return the path with its links followed; one in an object store stays as it is."""
        return self if self._is_in_store else DeltaPath(self.location.resolve(strict))

    def below(self, folder: Path) -> "DeltaPath":
        """Return the absolute path of a relative one."""
        return self if self.is_absolute() else DeltaPath((folder / self.location).resolve())


class IcebergName(TableUrl):
    """Table of an Iceberg catalog.

    >>> IcebergName("iceberg:", "prod", "fraud.rows").table
    'fraud.rows'
    """

    @property
    def catalog(self) -> str:
        """Name of the catalog, as in the configuration of pyiceberg."""
        return self.parts[1]

    @property
    def table(self) -> str:
        """Namespace and name."""
        return self.parts[2]

    def __str__(self) -> str:
        return f"iceberg://{self.catalog}/{self.table}"

    def is_absolute(self) -> bool:
        """Return True."""
        return True

    def resolve(self, strict: bool = False) -> "IcebergName":
        """Return the name itself."""
        return self


def is_table(path: object) -> bool:
    """Return True for the address of a table, also where a path has joined its slashes.

    >>> is_table("delta://rows"), is_table(Path("iceberg://prod/fraud.rows")), is_table("s3://bucket/rows")
    (True, True, False)
    """
    return _ANY.match(str(path)) is not None


def source_path(path: str | Path) -> Path:
    """Return a path on this machine, a `StorePath` for a URL of a store, or a `TableUrl` for one of a table.

    Raises:
        UrlInvalid: the URL does not name a table, or a place in a known object store.
    """
    text = str(path)
    if isinstance(path, StorePath | TableUrl) or not is_table(path):
        return as_path(path)
    if found := _DELTA.match(text):
        return _delta(text[found.end() :])
    if found := _ICEBERG.fullmatch(text):
        return IcebergName("iceberg:", *found.groups())
    raise UrlInvalid(
        f"{text!r} does not name a table: expected delta://FOLDER or iceberg://CATALOG/NAMESPACE.TABLE. Correct it."
    )


def _delta(location: str) -> DeltaPath:
    inner: Any = as_path(location)
    return DeltaPath("delta:", *inner.parts) if is_url(location) else DeltaPath(inner)
