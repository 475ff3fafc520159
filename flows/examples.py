"""Tables of the examples: `python -m flows.examples cells` writes the nights of data/cells that are missing."""

import argparse
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from aepipe.errors import AepipeError
from aepipe.jobs.example_data import NIGHTS, write_cells, write_digits
from aepipe.jobs.example_flights import FIRST_DAY, write_flights

ROOT = Path(__file__).resolve().parent.parent
LAST_FLIGHTS = date(2013, 2, 28)


class Example(NamedTuple):
    """Writer of an example's nights, and the name of the night that it writes last."""

    write: Callable[[Path], object]
    last: str


def flights_until(last: date) -> Example:
    """Return the example of flights, up to a day of 2013."""
    return Example(lambda folder: write_flights(folder, _first_missing(folder, last), last), f"dt={last}")


EXAMPLES = {
    "flights": flights_until(LAST_FLIGHTS),
    "digits": Example(write_digits, NIGHTS[-1]),
    "cells": Example(write_cells, NIGHTS[-1]),
}


def write_missing(example: Example, folder: Path) -> bool:
    """Write the nights of an example unless they exist; return whether any were written."""
    if (folder / example.last / "part-0.parquet").is_file():
        return False
    example.write(folder)
    return True


def write_example(name: str) -> dict[str, str]:
    """Write the nights of an example that are missing: a step of `prefect deploy`, in the Python that runs it."""
    folder = ROOT / "data" / name
    write_missing(EXAMPLES[name], folder)
    return {"folder": str(folder)}


def _first_missing(folder: Path, last: date) -> date:
    """Return the first day without a file; `last` if there is none."""
    day = FIRST_DAY
    while day < last and (folder / f"dt={day}" / "part-0.parquet").is_file():
        day += timedelta(days=1)
    return day


def main() -> None:
    """Write one example; end with exit code 2 for an error that the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m flows.examples", description="Write the nights of an example.")
    parser.add_argument("name", choices=EXAMPLES)
    parser.add_argument("folder", type=Path, nargs="?", help="default: data/NAME in the repository")
    parser.add_argument("--last", type=date.fromisoformat, help="last day of the flights, such as 2013-01-14")
    asked = parser.parse_args()
    if asked.last and asked.name != "flights":
        parser.error("--last is for flights only")
    folder = asked.folder or ROOT / "data" / asked.name
    example = flights_until(asked.last) if asked.last else EXAMPLES[asked.name]
    try:
        written = write_missing(example, folder)
    except AepipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{'wrote' if written else 'nothing to write: found'} the nights of {folder} up to {example.last}")


if __name__ == "__main__":
    main()
