"""Terminal output of `aepipe score` and of the end of `aepipe run`: partitions, rows without a score, top alarms."""

from collections.abc import Sequence
from pathlib import Path

from aepipe.cli.console import print_table, print_text
from aepipe.jobs.score import ScoreResult
from aepipe.jobs.top_alarms import ALARM_HEADER, Alarm
from aepipe.storage.partition_result import describe_cells
from aepipe.storage.run_details import counted_reasons


def show(result: ScoreResult, *, job: Path) -> None:
    """Print a line per partition, then why rows have no score, failures and the top alarms."""
    header = ("partition", "status", "rows", "flagged", "invalid", "rows/s")
    print_table("", header, [night.row() for night in result.nights])
    for night in result.nights:
        if night.reason:
            print_text(f"{night.partition}: {night.reason}", err=True)
    if result.failed:
        print_text(f"{result.sentence}: aepipe quarantine show {job}", err=True)
    if cell_flagged := sum(night.cell_flagged for night in result.nights):
        print_text(describe_cells(cell_flagged, sum(night.flagged for night in result.nights)))
    for note in result.notes:
        print_text(note)
    if result.invalid_reasons:
        rows = sum(result.invalid_reasons.values())
        print_text(f"{rows:,} rows have no score: {counted_reasons(result.invalid_reasons)}")
    events = [night for night in result.nights if night.events is not None]
    show_alarms(result.top_alarms, job=job)
    if events and (count := sum(night.details.events for night in events)):
        print_text(f"{count:,} event{'' if count == 1 else 's'}: {events[-1].events} and earlier partitions")


def show_alarms(alarms: Sequence[Alarm], *, job: Path) -> None:
    """Print the alarms with the lowest p-values, and the command that explains the first."""
    if not alarms:
        return
    print_table("top alarms", ALARM_HEADER, [alarm.cells() for alarm in alarms])
    print_text(f"explain one: aepipe explain {job} --row {alarms[0].partition}:{alarms[0].row}")
