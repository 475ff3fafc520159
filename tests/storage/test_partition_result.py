"""Result of a partition: its JSON, which the command line prints."""

from pathlib import Path

from aepipe.storage import PartitionResult, ScoreDetails


def test_json_of_a_scored_partition() -> None:
    details = ScoreDetails(
        rows=10, flagged=2, invalid={"infinite": 1, "missing": 2}, rows_per_s=5.0, seconds={"read": 1}
    )

    result = PartitionResult(
        partition="dt=1", status="written", details=details, scores=Path("out/scores/part-0.parquet")
    )

    assert result.model_dump(mode="json") == {
        "partition": "dt=1",
        "status": "written",
        "rows": 10,
        "flagged": 2,
        "cell_flagged": 0,
        "invalid": 3,
        "rows_per_s": 5.0,
        "seconds": {"read": 1.0},
        "scores": "out/scores/part-0.parquet",
        "features": None,
        "reason": "",
    }


def test_json_of_a_quarantined_partition() -> None:
    result = PartitionResult(partition="dt=1", status="quarantined", reason="truncated")

    assert result.model_dump(mode="json") == {
        "partition": "dt=1",
        "status": "quarantined",
        "rows": 0,
        "flagged": 0,
        "cell_flagged": 0,
        "invalid": 0,
        "rows_per_s": 0.0,
        "seconds": {},
        "scores": None,
        "features": None,
        "reason": "truncated",
    }
