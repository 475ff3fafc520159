"""Terminal output: tables, a progress bar, or JSON for scripts."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from aepipe.progress import Progress

if TYPE_CHECKING:  # help is shown without it
    from pydantic import BaseModel


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Progress | None]:
    """Yield a progress callback that draws a bar on standard error, or one line per stage; None if quiet."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _print_stages()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, object] = {}

        def show(stage: str, fraction: float) -> None:
            task = tasks.setdefault(stage, None) or bar.add_task(stage, total=1.0)
            tasks[stage] = task
            bar.update(task, completed=fraction)  # type: ignore[arg-type]

        yield show


def _print_stages() -> Progress:
    """Return a callback that prints one line when a stage begins."""
    seen: set[str] = set()

    def show(stage: str, fraction: float) -> None:
        if stage not in seen:
            seen.add(stage)
            typer.echo(f"  {stage} ...", err=True)

    return show


def print_json(value: "BaseModel | Sequence[BaseModel] | dict[str, object]") -> None:
    """Print one JSON document on standard output."""
    if isinstance(value, dict):
        typer.echo(json.dumps(value, indent=1, default=str))
    elif isinstance(value, Sequence):
        typer.echo(json.dumps([item.model_dump(mode="json") for item in value], indent=1))
    else:
        typer.echo(value.model_dump_json(indent=1))


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with right-aligned numbers; 200 columns wide if the output is not a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for index, name in enumerate(header):
        numeric = bool(rows) and all(isinstance(row[index], int | float) or row[index] == "" for row in rows)
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(_text(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    if title:
        console.print(Text(title, "bold"))
    console.print(table)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)
