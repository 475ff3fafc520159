"""Terminal output: tables, a progress bar, or JSON for scripts."""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import typer

from aepipe.progress import Progress

if TYPE_CHECKING:  # help is shown without it
    from pydantic import BaseModel


_UNLIMITED = 100_000


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Progress | None]:
    """Yield a progress callback that draws a bar on standard error, or one line per stage; None if quiet."""
    if quiet:
        yield None
        return
    from aepipe.cli.stage_progress import stage_bars, stage_lines

    with stage_bars() if sys.stderr.isatty() else stage_lines() as progress:
        yield progress


def printable(text: str) -> str:
    r"""Return text with names from files as a terminal may show it: control characters, except newlines, as escapes.

    >>> printable("column 'a\x1b[31m' is\nmissing")
    "column 'a\\x1b[31m' is\nmissing"
    """
    shown = (letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
    return "".join(shown)


def print_text(text: str, *, err: bool = False) -> None:
    """Print text that may hold names and values from files, on standard output or standard error."""
    typer.echo(printable(text), err=err)


class PrintableFormatter(logging.Formatter):
    """Formatter of log messages, which may hold names and values from files."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message as a terminal may show it."""
        return printable(super().format(record))


def say(text: str) -> None:
    """Print a line to standard error; do nothing if its reader has gone."""
    with suppress(OSError, ValueError):
        typer.echo(text, err=True)


def print_json(value: "BaseModel | Sequence[BaseModel] | dict[str, object]") -> None:
    """Print one JSON document on standard output."""
    if isinstance(value, dict):
        typer.echo(json.dumps(value, indent=1, default=str))
    elif isinstance(value, Sequence):
        typer.echo(json.dumps([item.model_dump(mode="json") for item in value], indent=1))
    else:
        typer.echo(value.model_dump_json(indent=1))


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with right-aligned numbers; 200 columns wide if the output is not a terminal.

    On a terminal that is narrower than the table, print each row as lines of a name and a value.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for index, name in enumerate(header):
        numeric = bool(rows) and all(isinstance(row[index], int | float) or row[index] == "" for row in rows)
        table.add_column(Text(printable(name)), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(_text(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    if title:
        console.print(Text(printable(title), "bold"))
    unlimited = console.options.update(width=_UNLIMITED)
    if console.is_terminal and rows and Measurement.get(console, unlimited, table).minimum > console.width:
        for row in rows:
            for name, value in zip(header, row, strict=True):
                console.print(Text(f"{printable(name)}: {_text(value)}"))
            console.print()
        return
    console.print(table)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else printable(str(value))


def print_warnings(warnings: Sequence[str]) -> None:
    """Print one line per warning to stderr, where it does not disturb JSON or a table."""
    for warning in warnings:
        say(f"warning: {printable(warning)}")
