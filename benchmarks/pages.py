"""Tables of figures, and their place between the markers of a page."""

import datetime
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def put_between(page: Path, marker: str, text: str) -> None:
    """Replace what stands between `<!-- marker:begin -->` and its end; a page without them gets them at its end."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    old = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    block = f"{begin}\n{text}{end}"
    if begin in old and end in old:
        before, _, rest = old.partition(begin)
        new = before + block + rest.partition(end)[2]
    else:
        new = f"{old.rstrip()}\n\n{block}\n"
    page.write_text(new, encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def measured() -> str:
    """When and on what, as a sentence."""
    return (
        f"Measured {datetime.date.today().isoformat()} on {os.cpu_count()} cores, Python {platform.python_version()}."
    )
