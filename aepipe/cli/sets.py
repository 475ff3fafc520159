"""What `aepipe sample` is asked of a set of rows, and what it prints of one."""

from collections.abc import Sequence

import typer

from aepipe.cli.console import print_json
from aepipe.demands import parse_share
from aepipe.errors import JobInvalid
from aepipe.jobs.sample import SampleResult


def shares_of(typed: Sequence[str] | None) -> dict[str, dict[str, float]] | None:
    """The shares of `--share`, none where there is none. Raises JobInvalid."""
    found: dict[str, dict[str, float]] = {}
    for text in typed or ():
        try:
            column, value, share = parse_share(text)
        except ValueError as error:
            raise JobInvalid("--share", [str(error)]) from None
        found.setdefault(column, {})[value] = share
    return found or None


def show_set(result: SampleResult, *, json: bool) -> None:
    """Where the rows are; exit code 1 where they are quarantined."""
    if json:
        print_json(result)
    elif result.missed:
        typer.echo(f"{result.fault}; see {result.report}", err=True)
    else:
        typer.echo(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")
        if result.report is not None:
            typer.echo(f"judged: {result.report}")
    if result.missed:
        raise typer.Exit(1)
