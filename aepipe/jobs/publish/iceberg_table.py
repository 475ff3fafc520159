"""An Iceberg table that holds the rows of one output, through the package `pyiceberg`.

A partition is replaced by a dynamic partition overwrite. The properties of the snapshot record the digest of what was
published, and are looked for before the next publication.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress

import pyarrow as pa
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform

from aepipe.errors import PublishFailed
from aepipe.jobs.publish.target import Publication, refusal
from aepipe.tables.formats.iceberg import open_catalog

log = logging.getLogger(__name__)

_TRIES = 8
_ID, _DIGEST = "aepipe.id", "aepipe.digest"


class IcebergTarget:
    """Iceberg table of a catalog; made by the first publication."""

    def __init__(self, catalog: str, table: str, properties: Mapping[str, str]) -> None:
        self.name = table
        try:
            self._catalog, _ = open_catalog(catalog, properties)
        except Exception as error:  # the drivers of catalogs raise errors of their own
            raise PublishFailed(f"Iceberg catalog '{catalog}' cannot be opened: {error}. Check [[publish]].") from error
        self._digests: dict[str, str] | None = None

    def digest(self, publication: Publication) -> str | None:
        """Return the digest in the newest snapshot of this output; see `Target`."""
        if self._digests is None:  # one load for all partitions: with nothing to do, this is all of a run
            try:
                table = self._open()
            except OSError as error:
                raise refusal(self.name, publication, error, "Check the catalog.") from error
            summaries = [] if table is None else [snapshot.summary for snapshot in table.metadata.snapshots]
            logged = [summary.additional_properties for summary in summaries if summary is not None]
            self._digests = {each[_ID]: each[_DIGEST] for each in logged if _ID in each}
        return self._digests.get(publication.id)

    def replace(self, publication: Publication, rows: pa.Table) -> None:
        """Replace the rows of a partition; see `Target`."""
        for attempt in range(_TRIES):
            try:
                self._write(publication, rows)
            except CommitFailedException as error:  # another writer committed first
                log.info("%s: attempt %d lost to another writer: %s", self.name, attempt + 1, error)
                if attempt == _TRIES - 1:
                    raise PublishFailed(f"{self.name} has too many writers: {error}. Run again.") from error
            except Exception as error:  # the drivers of catalogs raise errors of their own
                remedy = "Check the catalog, and that the table has the columns of this job."
                raise refusal(self.name, publication, error, remedy) from error
            else:
                if self._digests is not None:
                    self._digests[publication.id] = publication.digest
                return

    def _write(self, publication: Publication, rows: pa.Table) -> None:
        table = self._open() or self._create(publication, rows.schema)
        logged = {_ID: publication.id, _DIGEST: publication.digest}
        with table.transaction() as transaction:
            with transaction.update_schema() as update:
                update.union_by_name(rows.schema)
            if rows.num_rows:
                transaction.dynamic_partition_overwrite(rows, snapshot_properties=logged)
            else:
                quoted = {name: value.replace("'", "''") for name, value in publication.columns.items()}
                rows_of_partition = " and ".join(f"{name} == '{value}'" for name, value in quoted.items())
                transaction.delete(rows_of_partition, snapshot_properties=logged)

    def _create(self, publication: Publication, schema: pa.Schema) -> Table:
        namespace = self.name.rpartition(".")[0]
        with suppress(NamespaceAlreadyExistsError):
            self._catalog.create_namespace(namespace)
        with suppress(TableAlreadyExistsError):
            table = self._catalog.create_table(self.name, schema)
            with table.update_spec() as update:
                for name in publication.columns:
                    update.add_field(name, IdentityTransform(), name)
        return self._catalog.load_table(self.name)

    def _open(self) -> Table | None:
        try:
            return self._catalog.load_table(self.name)
        except NoSuchTableError:
            return None
