"""A month of flights through the real flows, with incidents: every flight has one score, and the storms stand out."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from aepipe.errors import ArgumentInvalid
from flows import year

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.server
def test_month_with_incidents_ends_with_one_score_per_flight(tmp_path: Path) -> None:
    replay = subprocess.run(
        [sys.executable, "-m", "flows.year", "--month", "--folder", str(tmp_path / "month")],
        cwd=ROOT,
        env=os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
    )

    assert replay.returncode == 0, replay.stdout + replay.stderr
    report = (tmp_path / "month" / "report.txt").read_text()
    events, nights = report.split("\n\n")
    for event in ("is quarantined", "was refused by the gate", "was killed while it scored", "rollback", "promotion"):
        assert event in events
    (blizzard,) = [line for line in events.splitlines() if line.startswith("2013-02-08  drift of ")]
    assert blizzard.endswith(": not lasting, nothing is trained")
    assert "0 trainings because of lasting drift: none" in nights
    assert "each has one score, by the champion of its night" in nights
    assert "among them 2 of the 2 days of storms" in nights
    assert "is not far above alpha" not in nights
    assert "dt=2013-02-08" in nights
    assert "dt=2013-02-09" in nights


def test_incidents_lie_in_their_replays() -> None:
    for scale, incidents in ((year.YEAR, year.year_incidents()), (year.MONTH, year.month_incidents())):
        assert all(scale.first < day <= scale.last for day in incidents)
    assert (year.MONTH.last - year.MONTH.first).days == 29
    assert date(2013, 2, 8) not in year.month_incidents()


def test_a_day_of_storm_that_is_not_far_above_alpha_is_named() -> None:
    replay = year.Replay.__new__(year.Replay)
    night = year.Scored("v1", rows=900, share=0.34, reason="departure_delay_min", is_far_above=True)
    replay.drifted = [date(2013, 2, 8)]
    replay.scored = {"dt=2013-02-08": night, "dt=2013-02-09": night._replace(share=0.1, is_far_above=False)}

    lines = year.describe(replay)

    assert "1 nights far above alpha, among them 1 of the 2 days of storms:" in lines
    assert "  dt=2013-02-09  is not far above alpha" in lines
    assert "1 trainings because of lasting drift: 2013-02-08" in lines
    assert lines[-1].startswith("  dt=2013-02-08  34% of 900 flights flagged")


def test_only_a_replay_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")

    with pytest.raises(ArgumentInvalid, match="is not a replay"):
        year.clear(tmp_path)

    (tmp_path / "job.toml").write_text(year.MARK)
    year.clear(tmp_path)
    assert not tmp_path.exists()
