"""A Delta table that holds the rows of one output, through the package `deltalake`.

A partition is replaced by an overwrite with a predicate on its columns. The application transaction of the Delta log
(Delta protocol, "Transaction Identifiers") records the digest of what was published last, in the same commit.
"""

import logging
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from aepipe.errors import PublishFailed
from aepipe.jobs.publish.target import Publication, refusal
from aepipe.stores import StorePath, as_path
from aepipe.stores.store_path import is_url
from aepipe.tables.formats.delta import storage_options

log = logging.getLogger(__name__)

_TRIES = 8
_DIGITS = 15  # of a digest in hexadecimal: a transaction version is an int64


class DeltaTarget:
    """Delta table at a path or URL; made by the first publication."""

    def __init__(self, uri: str) -> None:
        place = as_path(uri) if is_url(uri) else None
        self.uri = uri.partition("?")[0]
        self._options = storage_options(place) if isinstance(place, StorePath) else {}
        self._table: DeltaTable | None = None

    def digest(self, publication: Publication) -> str | None:
        """Return the digest in the transaction of this output; see `Target`."""
        try:
            table = self._open()
        except (DeltaError, OSError) as error:
            raise refusal(self.uri, publication, error, "Check the path.") from error
        found = None if table is None else table.transaction_version(publication.id)
        if found is None:
            return None
        return publication.digest if found == _version(publication) else f"{found:0{_DIGITS}x}"

    def replace(self, publication: Publication, rows: pa.Table) -> None:
        """Replace the rows of a partition; see `Target`."""
        for attempt in range(_TRIES):
            try:
                self._write(publication, rows)
                self._check(publication)
            except CommitFailedError as error:  # another writer committed first
                log.info("%s: attempt %d lost to another writer: %s", self.uri, attempt + 1, error)
                self._table = None
                if attempt == _TRIES - 1:
                    raise PublishFailed(f"{self.uri} has too many writers: {error}. Run again.") from error
            except (DeltaError, OSError, pa.ArrowException, ValueError) as error:
                remedy = "Check the path, and that the table has the columns of this job."
                raise refusal(self.uri, publication, error, remedy) from error
            else:
                return

    def _check(self, publication: Publication) -> None:
        """Raise CommitFailedError if the log lacks the commit: a server that ignores conditions lets others replace it.

        The next publication uses the table that is opened here.
        """
        self._table = None
        if self.digest(publication) != publication.digest:
            raise CommitFailedError("another writer replaced the commit")

    def _write(self, publication: Publication, rows: pa.Table) -> None:
        properties = CommitProperties(
            custom_metadata={"aepipe": f"{publication.id} {publication.digest}"},
            app_transactions=[Transaction(publication.id, _version(publication))],
        )
        table = self._open()
        options: dict[str, Any] = {"partition_by": list(publication.columns), "commit_properties": properties}
        if table is None:
            write_deltalake(self.uri, rows, mode="error", storage_options=self._options, **options)
            return
        quoted = {name if name.isidentifier() else f"`{name}`": value for name, value in publication.columns.items()}
        predicate = " AND ".join(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in quoted.items())
        write_deltalake(table, rows, mode="overwrite", predicate=predicate, schema_mode="merge", **options)

    def _open(self) -> DeltaTable | None:
        if self._table is None and DeltaTable.is_deltatable(self.uri, storage_options=self._options):
            self._table = DeltaTable(self.uri, storage_options=self._options)
        return self._table


def _version(publication: Publication) -> int:
    return int(publication.digest.rpartition(":")[2][:_DIGITS], 16)
