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
_NUMBERS = ("nights", "rows", "flagged", "failed")
_DROPPED = ("champion", "alarms", "nights", "rows", "failed")
"""Columns that a narrow terminal does without, in this order."""


def watch(places: Sequence[Path], *, every_s: float) -> None:
    """Renew the table until Ctrl-C."""
    from rich.live import Live

    with Live(screen=False, auto_refresh=False) as live:
        try:
            while True:
                live.update(table_of(overview(places), width=live.console.width), refresh=True)
                time.sleep(every_s)
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


def table_of(found: Overview, *, width: int | None = None) -> "Table":
    """Return the jobs as a table for a terminal.

    Args:
        found: the jobs.
        width: columns of the terminal; a narrow one gets fewer columns. None: all of them.
    """
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    columns = {
        "job": [state.name for state in found.jobs],
        "champion": ["" if state.fault else state.champion or "none" for state in found.jobs],
        "nights": [f"{state.nights:,}" for state in found.jobs],
        "last": [state.last or "" for state in found.jobs],
        "rows": [f"{state.rows:,}" for state in found.jobs],
        "flagged": [f"{state.flagged:,}" for state in found.jobs],
        "alarms": [sparkline(state.alarms) for state in found.jobs],
        "failed": [f"{state.quarantined:,}" for state in found.jobs],
        "running": [", ".join(state.running) for state in found.jobs],
    }
    for name in _DROPPED if any(columns["running"]) else ("running", *_DROPPED):
        taken = sum(3 + max(map(cell_len, (title, *cells))) for title, cells in columns.items())
        if width is None or taken < width:
            break
        del columns[name]
    at = "champion" if "champion" in columns else "last"
    columns[at] = [state.fault or cell for state, cell in zip(found.jobs, columns[at], strict=True)]
    table = Table(title=f"aepipe, {found.at}; Ctrl-C ends")
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in _NUMBERS else "left")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
