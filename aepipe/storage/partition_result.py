"""Result of scoring one partition, the one shape that jobs, flows, the command line and the report show."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import SkipValidation, model_serializer

from aepipe.frozen import FrozenModel
from aepipe.storage.manifest import Manifest
from aepipe.storage.run_details import ScoreDetails
from aepipe.tables.source_facts import Fields, SourceFacts

Status = Literal["written", "already done", "quarantined"]


@dataclass(frozen=True, slots=True)
class Written:
    """Facts about a partition from the run that has just written it, so that no file is read again to find out."""

    manifest: Manifest[ScoreDetails]
    source: SourceFacts | None
    """None: the source is large, or more than one file."""
    fields: Mapping[str, Fields]
    """Columns of each output."""
    lowest_p: float
    """Lower bound of the p-values of its alarms."""


class PartitionResult(FrozenModel):
    """Status of a partition with the details of the run that scored it.

    Paths are None and counts are 0 if the partition is quarantined; `reason` then says why.
    """

    partition: str
    status: Status
    details: ScoreDetails = ScoreDetails()
    scores: Path | None = None
    features: Path | None = None
    events: Path | None = None
    """Events of a series job."""
    reason: str = ""
    created_at: str = ""
    """Time of the commit, ISO 8601; empty if the partition is quarantined."""
    written: SkipValidation[Written | None] = None
    """None if this run did not write it, or does not know more than its files."""

    @classmethod
    def of_manifest(
        cls, manifest: Manifest[ScoreDetails], root: Path, status: Status, *, written: Written | None = None
    ) -> "PartitionResult":
        """Return the result of a committed partition; root: the folder of the outputs."""
        shown = ("scores", "features", "events")
        paths = {output: root / record.path for output, record in manifest.files.items() if output in shown}
        return cls(
            partition=manifest.partition,
            status=status,
            details=manifest.details,
            created_at=manifest.created_at,
            written=written,
            **paths,
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.details.rows

    @property
    def flagged(self) -> int:
        """Number of flagged rows."""
        return self.details.flagged

    @property
    def cell_flagged(self) -> int:
        """Number of flagged rows with a flagged cell."""
        return self.details.cell_flagged

    @property
    def invalid(self) -> int:
        """Number of rows without a score."""
        return sum(self.details.invalid.values())

    @property
    def scored(self) -> int:
        """Number of rows with a score.

        >>> details = ScoreDetails(rows=10, invalid={"amount is infinite": 2})
        >>> PartitionResult(partition="dt=2026-01-01", status="written", details=details).scored
        8
        """
        return self.rows - self.invalid

    @property
    def elapsed_s(self) -> float:
        """Wall time in seconds; the sum of the stages where it was not recorded."""
        return sum(self.seconds.values()) if self.details.wall_s is None else self.details.wall_s

    @property
    def rows_per_s(self) -> float:
        """Rows per second of wall time; 0 if nothing was scored."""
        return self.details.rows_per_s or 0.0

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by stage, summed over threads."""
        return self.details.seconds

    def row(self) -> tuple[object, ...]:
        """Return the cells of a table row: partition, status, rows, flagged, invalid, rows per second."""
        return self.partition, self.status, self.rows, self.flagged, self.invalid, self.rows_per_s

    @model_serializer
    def _to_json(self) -> dict[str, Any]:
        return {
            "partition": self.partition,
            "status": self.status,
            "rows": self.rows,
            "flagged": self.flagged,
            "cell_flagged": self.cell_flagged,
            "invalid": self.invalid,
            "rows_per_s": self.rows_per_s,
            "seconds": dict(self.seconds),
            "scores": self.scores,
            "features": self.features,
            **({} if self.events is None else {"events": self.events}),
            "reason": self.reason,
        }


def describe_cells(cell_flagged: int, flagged: int) -> str:
    """Say how many of the flagged rows have a flagged cell.

    >>> describe_cells(1, 12)
    '1 of 12 flagged rows has a cell that does not fit the others'
    """
    verb = "has" if cell_flagged == 1 else "have"
    return f"{cell_flagged:,} of {flagged:,} flagged rows {verb} a cell that does not fit the others"
