"""Snapshots and files of an Iceberg table, by its metadata, through the package `pyiceberg`."""

import os
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from pyarrow.fs import FileSystem
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.io import PY_IO_IMPL, S3_ENDPOINT, S3_REGION
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import FileScanTask, Table

from aepipe.errors import DataUnreadable, first_line
from aepipe.stores import as_path
from aepipe.stores.connection import is_from_store, plain_uploads, s3_endpoint, unavailable
from aepipe.stores.table_url import IcebergName
from aepipe.tables.formats.source_table import Version

_SAFE = " :+,@"
_IO = f"{__name__}.StoreIO"


def open_table(url: IcebergName, catalog: Mapping[str, str]) -> "IcebergSource":
    """Open a table; see `source_table`."""
    try:
        opened, own = open_catalog(url.catalog, catalog)
        return IcebergSource(url, opened.load_table(url.table), own)
    except (NoSuchTableError, NoSuchNamespaceError):
        raise DataUnreadable(
            f"{url} does not exist: catalog '{url.catalog}' has no table {url.table}. Check [data] path."
        ) from None
    except Exception as error:  # the drivers of catalogs raise errors of their own
        if is_from_store(error):
            raise unavailable(str(url), error) from None
        raise DataUnreadable(
            f"catalog '{url.catalog}' of {url} cannot be opened: {first_line(error)}. Check [data] catalog, or the "
            "configuration of pyiceberg."
        ) from error


def open_catalog(name: str, properties: Mapping[str, str]) -> tuple[Catalog, dict[str, str]]:
    """Open a catalog whose tables on S3 have the server and region of other objects, and return its own properties.

    Properties that the catalog has, from the job or from the configuration of pyiceberg, stay as they are.
    """
    catalog = load_catalog(name, **properties)
    own = dict(catalog.properties)
    endpoint = s3_endpoint({})
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if endpoint else None)
    server = _IO if endpoint or S3_ENDPOINT in own else None
    for key, value in ((S3_ENDPOINT, endpoint), (S3_REGION, region), (PY_IO_IMPL, server)):
        if value is not None:
            catalog.properties.setdefault(key, value)
    return catalog, own


class StoreIO(PyArrowFileIO):
    """Files of a table, written as other objects are."""

    def _initialize_fs(self, scheme: str, netloc: str | None = None) -> FileSystem:
        with plain_uploads(self.properties.get(S3_ENDPOINT)):
            return super()._initialize_fs(scheme, netloc)


class IcebergSource:
    """Iceberg table that is read; see `SourceTable`."""

    def __init__(self, url: IcebergName, table: Table, properties: Mapping[str, str]) -> None:
        self.url = url
        self._table = table
        self._properties = properties

    def versions(self) -> tuple[Version, ...]:
        """Return the snapshots of the main branch that are kept, oldest first."""
        kept = {snapshot.snapshot_id for snapshot in self._table.metadata.snapshots}
        log = sorted((entry.timestamp_ms, entry.snapshot_id) for entry in self._table.history())
        return tuple(Version(number, datetime.fromtimestamp(ms / 1000, UTC)) for ms, number in log if number in kept)

    def files(self, version: int | None) -> Mapping[str, tuple[Path, ...]]:
        """Return the files of each partition; see `SourceTable`."""
        if version is not None and self._table.snapshot_by_id(version) is None:
            kept = ", ".join(str(each.number) for each in self.versions()[-3:]) or "none"
            raise DataUnreadable(
                f"{self.url} has no snapshot {version}: expected one such as {kept}. Change [data] version."
            )
        self._refuse_renamed_columns()
        found: dict[str, list[Path]] = defaultdict(list)
        specs, schema = self._table.specs(), self._table.schema()
        keys = set()
        for task in self._planned(version):
            if task.delete_files:
                raise DataUnreadable(
                    f"{self.url} has delete files, which are not supported. Rewrite its data files, such as by the "
                    "procedure rewrite_data_files."
                )
            spec = specs[task.file.spec_id]
            names = [field.name for field in spec.fields]
            path = spec.partition_to_path(task.file.partition, schema) if names else ""
            keys.add(tuple(names))
            found[path.replace("+", " ")].append(self._path(task.file.file_path))
        if len(keys) > 1:
            several = " and ".join(sorted(f"({', '.join(each)})" for each in keys))
            raise DataUnreadable(
                f"{self.url} has files of several partition specs, {several}. Rewrite the older files with the newest."
            )
        return {_readable(name): tuple(paths) for name, paths in found.items()}

    def _planned(self, version: int | None) -> list[FileScanTask]:
        """Return the data files that the manifests of a snapshot name."""
        try:
            return list(self._table.scan(snapshot_id=version).plan_files())
        except OSError as error:
            if is_from_store(error):
                raise unavailable(str(self.url), error) from None
            raise DataUnreadable(
                f"{self.url} cannot be read: {first_line(error)}. Check that its metadata is complete."
            ) from None

    def _path(self, location: str) -> Path:
        """Return the path of a data file: it is not encoded as a URL."""
        if location.startswith("file:"):
            return Path("/" + location.removeprefix("file:").lstrip("/"))
        if location.startswith(("s3a://", "s3n://")):
            location = f"s3://{location.partition('://')[2]}"
        if location.startswith("s3://"):
            location += self._query()
        return as_path(location)

    def _query(self) -> str:
        """Return the region and the endpoint of the catalog as the query of a URL."""
        endpoint = self._properties.get(S3_ENDPOINT, "")
        scheme, _, host = endpoint.rpartition("://")
        known = {"region": self._properties.get(S3_REGION), "endpoint_override": host, "scheme": scheme}
        query = {name: value for name, value in known.items() if value}
        return f"?{urlencode(query)}" if query else ""

    def _refuse_renamed_columns(self) -> None:
        """Raise DataUnreadable if older files have a column under another name: fields are found by their ids."""
        names: dict[int, set[str]] = defaultdict(set)
        for schema in self._table.schemas().values():
            for field in schema.fields:
                names[field.field_id].add(field.name)
        renamed = [sorted(each) for each in names.values() if len(each) > 1]
        if renamed:
            raise DataUnreadable(
                f"{self.url} has a renamed column, {' or '.join(renamed[0])}, which is not supported. Rewrite its rows "
                "to a new table."
            )


def _readable(path: str) -> str:
    """Encode only what a name of a folder cannot hold, as for other tables.

    >>> _readable("dt=2026-01-01/site=a%2Fb c%3A1")
    'dt=2026-01-01/site=a%2Fb c:1'
    """
    for letter in _SAFE:
        path = path.replace(quote(letter, safe=""), letter)
    return path
