"""Versions and files of a Delta table, by its log, through the package `deltalake`."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from aepipe.errors import DataUnreadable, first_line
from aepipe.stores import StorePath, as_path
from aepipe.stores.connection import is_from_store, s3_endpoint, unavailable
from aepipe.stores.table_url import DeltaPath
from aepipe.tables.formats.source_table import Version

_NULL = "__HIVE_DEFAULT_PARTITION__"
_SAFE = " :+,@"


def open_table(url: DeltaPath, catalog: Mapping[str, str]) -> "DeltaSource":
    """Open a table; see `source_table`."""
    return DeltaSource(url)


class DeltaSource:
    """Delta table that is read; see `SourceTable`."""

    def __init__(self, url: DeltaPath) -> None:
        self.url = url
        self._newest = self._open(None)

    def versions(self) -> tuple[Version, ...]:
        """Return the versions that are kept, oldest first."""
        commits = sorted((int(commit["version"]), int(commit["timestamp"])) for commit in self._newest.history())
        return tuple(Version(number, datetime.fromtimestamp(ms / 1000, UTC)) for number, ms in commits)

    def files(self, version: int | None) -> Mapping[str, tuple[Path, ...]]:
        """Return the files of each partition; see `SourceTable`."""
        table = self._newest if version is None else self._open(version)
        self._refuse_features(table)
        columns = table.metadata().partition_columns
        actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        found: dict[str, list[Path]] = defaultdict(list)
        for action in actions:
            values = ((column, action[f"partition.{column}"]) for column in columns)
            found["/".join(f"{column}={_text(value)}" for column, value in values)].append(self._path(action["path"]))
        return {name: tuple(paths) for name, paths in found.items()}

    def _path(self, path: str) -> Path:
        """Return the path of a data file: the log encodes it as a URL, and relative to the table if it lies in it."""
        plain = unquote(path)
        if "://" in plain:
            return as_path(plain) if not plain.startswith("file://") else Path(plain.removeprefix("file://"))
        return self.url.location / plain

    def _open(self, version: int | None) -> DeltaTable:
        location = self.url.location
        try:
            if isinstance(location, StorePath):
                return DeltaTable(
                    str(location).partition("?")[0], version=version, storage_options=storage_options(location)
                )
            return DeltaTable(str(location), version=version)
        except TableNotFoundError:
            raise DataUnreadable(f"{self.url} is not a Delta table. Check [data] path.") from None
        except (DeltaError, OSError) as error:
            if is_from_store(error):
                raise unavailable(str(self.url), error) from None
            if version is not None:
                kept = [version.number for version in DeltaSource(self.url).versions()]
                raise DataUnreadable(
                    f"{self.url} has no version {version}: expected {kept[0]} to {kept[-1]}. Change [data] version."
                ) from None
            raise DataUnreadable(f"{self.url} cannot be read: {first_line(error)}. Check the table.") from None

    def _refuse_features(self, table: DeltaTable) -> None:
        """Raise DataUnreadable if the Parquet files do not show the rows and columns of the table."""
        mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
        if mapping != "none":
            raise DataUnreadable(
                f"{self.url} maps column names to other names in its files, which is not supported. Write its rows to "
                "a table without column mapping."
            )
        if "deletionVectors" in (table.protocol().reader_features or ()) and _has_deletion_vectors(table):
            raise DataUnreadable(
                f"{self.url} has deletion vectors, which are not supported. Rewrite the files, such as by REORG TABLE "
                "with APPLY (PURGE)."
            )


def _has_deletion_vectors(table: DeltaTable) -> bool:
    try:
        return bool(pa.table(table.deletion_vectors()).num_rows)
    except DeltaError:  # one that cannot be parsed
        return True


def _text(value: object) -> str:
    if value is None:
        return _NULL
    return quote(str(value).lower() if isinstance(value, bool) else str(value), safe=_SAFE)


def storage_options(location: StorePath) -> dict[str, str]:
    """Return the options of deltalake for a folder on S3: server, region, and commits by conditional writes."""
    query = dict(parse_qsl(location.place.query))
    if location.place.scheme != "s3":
        return {}
    found = {"AWS_CONDITIONAL_PUT": "etag"}
    endpoint = s3_endpoint(query)
    if endpoint is not None:
        endpoint = endpoint if "://" in endpoint else f"{query.get('scheme', 'https')}://{endpoint}"
        found |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": str(endpoint.startswith("http:")).lower()}
    if "region" in query:
        found["AWS_REGION"] = query["region"]
    if query.get("anonymous") == "true":
        found["AWS_SKIP_SIGNATURE"] = "true"
    return found
