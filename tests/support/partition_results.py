"""Results of partitions from a few numbers."""

from collections.abc import Mapping

from aepipe.storage import PartitionResult, ScoreDetails, Status


def partition_result(
    partition: str,
    status: Status = "written",
    rows: int = 0,
    flagged: int = 0,
    invalid: Mapping[str, int] | None = None,
    unseen: Mapping[str, int] | None = None,
    seconds: Mapping[str, float] | None = None,
    wall_s: float | None = None,
    reason: str = "",
    cut: Mapping[str, int] | None = None,
) -> PartitionResult:
    details = ScoreDetails(
        rows=rows,
        flagged=flagged,
        invalid=invalid or {},
        unseen=unseen or {},
        cut=cut or {},
        seconds=seconds or {},
        wall_s=wall_s,
    )
    return PartitionResult(partition=partition, status=status, details=details, reason=reason)
