"""What a terminal shows: tables, a progress bar, or JSON for a script."""

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
    """A callback (what is done, share done from 0 to 1) that draws a bar on standard error; None where quiet."""
    if quiet or not sys.stderr.isatty():
        yield None if quiet else _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, object] = {}

        def show(what: str, share: float) -> None:
            task = tasks.setdefault(what, None) or bar.add_task(what, total=1.0)
            tasks[what] = task
            bar.update(task, completed=share)  # type: ignore[arg-type]

        yield show


def _lines() -> Progress:
    """Where no bar can be drawn: one line when a step begins."""
    seen: set[str] = set()

    def show(what: str, share: float) -> None:
        if what not in seen:
            seen.add(what)
            typer.echo(f"  {what} ...", err=True)

    return show


def print_json(value: "BaseModel | Sequence[BaseModel] | dict[str, object]") -> None:
    """One JSON document on standard output."""
    if isinstance(value, dict):
        typer.echo(json.dumps(value, indent=1, default=str))
    elif isinstance(value, Sequence):
        typer.echo(json.dumps([item.model_dump(mode="json") for item in value], indent=1))
    else:
        typer.echo(value.model_dump_json(indent=1))


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table; numbers stand on the right. Where the output is no terminal it is as wide as it needs to be."""
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
