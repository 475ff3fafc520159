"""Write the tables of each benchmark between its markers in a Markdown page."""

import datetime
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.store import Result

_PAGE = "# Benchmarks\n\n"


def put_into(page: Path, text: str, *, name: str) -> None:
    """Replace what stands between the markers of a benchmark; a page without them gets them at its end."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = page.read_text(encoding="utf-8") if page.exists() else _PAGE
    block = f"{begin}\n{text}{end}"
    if begin in old and end in old:
        before, _, rest = old.partition(begin)
        new = before + block + rest.partition(end)[2]
    else:
        new = f"{old.rstrip()}\n\n{block}\n"
    page.write_text(new, encoding="utf-8")


def origin(results: Sequence[Result]) -> str:
    """Return one or two sentences on when, on what machine and with which versions these were measured."""
    dates = sorted({result.date for result in results}) or ["never"]
    machines = sorted({result.machine for result in results})
    versions = sorted({f"{name} {number}" for result in results for name, number in result.versions.items()})
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"Measured {span} on {'; '.join(machines) or 'no machine'}, one thread a model. {', '.join(versions)}."


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def measured() -> str:
    """Return a sentence on when and on what machine this was measured."""
    return (
        f"Measured {datetime.date.today().isoformat()} on {os.cpu_count()} cores, Python {platform.python_version()}."
    )
