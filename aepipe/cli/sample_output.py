"""Parse the shares of `aepipe sample`; print results of `aepipe sample`, `impute`, `recommend` and `augment`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aepipe.cli.console import print_json, print_table, print_text, progress_bar
from aepipe.config.sample_requirements import parse_share
from aepipe.errors import ArgumentInvalid
from aepipe.jobs.sample.sample import SampleResult

if TYPE_CHECKING:  # its page needs jinja2
    from aepipe.jobs.sample.augment import AugmentResult


def parse_shares(typed: Sequence[str] | None) -> dict[str, dict[str, float]] | None:
    """Parse the values of `--share`, by column and value; None if there are none.

    Raises:
        ArgumentInvalid: A value is not COLUMN=VALUE:SHARE.
    """
    found: dict[str, dict[str, float]] = {}
    for text in typed or ():
        try:
            column, value, share = parse_share(text)
        except ValueError as error:
            raise ArgumentInvalid("share", [str(error)]) from None
        found.setdefault(column, {})[value] = share
    return found or None


def run_impute(job: Path, partition: str, *, seed: int | None, model: str, json: bool, **options: Any) -> None:
    """Impute the missing cells of a partition and print where the rows are."""
    from aepipe.jobs.sample.impute import impute

    with progress_bar(quiet=json) as progress:
        result = impute(job, partition, seed=seed, model=model, progress=progress, **options)
    if json:
        print_json(result)
        return
    print_text(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")
    lines = [(name, count, result.left.get(name, 0)) for name, count in result.filled.items()]
    if lines:
        print_table("missing cells", ("column", "filled", "left"), lines)


def run_recommend(job: Path, partition: str, *, items: int, model: str, json: bool) -> None:
    """Rank items for the rows of a partition and print where they are."""
    from aepipe.jobs.sample.recommend import recommend

    with progress_bar(quiet=json) as progress:
        result = recommend(job, partition, items=items, model=model, progress=progress)
    if json:
        print_json(result)
        return
    print_text(f"{'wrote' if result.created else 'already there:'} items for {result.rows:,} rows in {result.path}")


def show_augmentation(result: "AugmentResult", *, json: bool) -> None:
    """Print the training sets and what each of them achieves."""
    if json:
        print_json(result)
        return
    header = ("training set", "rows", "of the class", "average precision", "AUROC", "recall at class size")
    lines = []
    for arm in result.arms:
        measures = (arm.average_precision, arm.auroc, arm.recall_of_as_many)
        cells = (f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in measures)
        lines.append((arm.name, arm.rows, arm.rare, *cells))
    print_table(f"{result.rare}, {result.held_out:,} held-out rows", header, lines)
    print_text(result.sentence)
    print_text(f"wrote {result.path}")


def show_sample_set(result: SampleResult, *, json: bool) -> None:
    """Print where the rows are; exit with code 1 if they are quarantined."""
    if json:
        print_json(result)
    elif result.missed:
        print_text(f"{result.fault}; see {result.report}", err=True)
    else:
        print_text(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")
        if result.png is not None:
            print_text(f"images: {result.png}")
        if result.report is not None:
            print_text(f"quality report: {result.report}")
    if result.missed:
        raise typer.Exit(1)
