"""What `aepipe sample` is asked of a set of rows, and what it prints of one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from aepipe.cli.console import print_json, print_table, progress_bar
from aepipe.config.sample_requirements import parse_share
from aepipe.errors import JobInvalid
from aepipe.jobs.sample.augment import AugmentResult
from aepipe.jobs.sample.sample import SampleResult


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


def run_fill(
    job: Path, partition: str, stray: Mapping[str, object], *, seed: int | None, model: str, json: bool
) -> None:
    """Fill a partition and print where it is. Raises JobInvalid for options that do not go with it."""
    from aepipe.jobs.sample.impute import fill

    given = [name for name, value in stray.items() if value is not None]
    if given:
        raise JobInvalid("aepipe sample", [f"--{given[0]} does not go with --fill, which takes the rows as they are"])
    with progress_bar(quiet=json) as progress:
        result = fill(job, partition, seed=seed, model=model, progress=progress)
    if json:
        print_json(result)
        return
    typer.echo(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")
    lines = [(name, count, result.left.get(name, 0)) for name, count in result.filled.items()]
    if lines:
        print_table("missing cells", ("column", "filled", "left"), lines)


def show_augmentation(result: AugmentResult, *, json: bool) -> None:
    """The ways to learn a class side by side."""
    if json:
        print_json(result)
        return
    header = ("learned from", "rows", "of the class", "average precision", "AUROC", "recall of as many")
    measures = ("average_precision", "auroc", "recall_of_as_many")
    lines = [(arm.name, arm.rows, arm.rare, *(_cell(getattr(arm, name)) for name in measures)) for arm in result.arms]
    print_table(f"{result.rare}, {result.held_out:,} held-out rows", header, lines)
    typer.echo(result.sentence)
    typer.echo(f"wrote {result.path}")


def _cell(interval: tuple[float, float, float]) -> str:
    value, low, high = interval
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


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
