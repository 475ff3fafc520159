"""Terminal output of `aepipe top`: a table that renews itself, or one line per job."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aepipe.cli.console import print_text, printable
from aepipe.jobs.top import JobState, Overview, overview

if TYPE_CHECKING:
    from rich.table import Table

_BARS = " ▁▂▃▄▅▆▇█"
HEADER = ("job", "champion", "nights", "last", "rows", "flagged", "alarms", "failed", "running")


def watch(places: Sequence[Path], *, every_s: float) -> None:
    """Renew the table until Ctrl-C."""
    from rich.live import Live

    with Live(table_of(overview(places)), screen=False, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every_s)
                live.update(table_of(overview(places)), refresh=True)
        except KeyboardInterrupt:
            return


def print_lines(found: Overview) -> None:
    """Print one line per job."""
    for state in found.jobs:
        print_text(line_of(state))


def line_of(state: JobState) -> str:
    """Describe a job in one line."""
    if state.fault:
        return f"{state.name}: {state.fault}"
    parts = [f"champion {state.champion or 'none'}", f"{state.nights:,} nights"]
    if state.last is not None:
        parts.append(f"last {state.last}: {state.rows:,} rows, {state.flagged:,} flagged")
    if state.quarantined:
        parts.append(f"{state.quarantined:,} failed")
    parts.append(f"running {', '.join(state.running)}" if state.running else "idle")
    return f"{state.name}: " + "; ".join(parts)


def sparkline(values: Sequence[int]) -> str:
    """Draw counts as bars, one character each.

    >>> sparkline([0, 1, 4, 8])
    ' ▁▄█'
    """
    most = max(values, default=0)
    return "".join(_BARS[0 if not value else max(1, round(value / most * (len(_BARS) - 1)))] for value in values)


def table_of(found: Overview) -> "Table":
    """Return the jobs as a table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"aepipe, {found.at}; Ctrl-C ends")
    for name in HEADER:
        table.add_column(name, overflow="fold")
    for state in found.jobs:
        cells = (
            state.name,
            state.fault or state.champion or "none",
            f"{state.nights:,}",
            state.last or "",
            f"{state.rows:,}",
            f"{state.flagged:,}",
            sparkline(state.alarms),
            f"{state.quarantined:,}",
            ", ".join(state.running),
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
