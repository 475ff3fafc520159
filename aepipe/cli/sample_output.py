"""Parse the shares of `aepipe sample`; print results of `aepipe sample`, `impute`, `recommend` and `augment`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from aepipe.cli.console import print_json, print_table, print_text, progress_bar
from aepipe.config.sample_requirements import parse_share
from aepipe.errors import ArgumentInvalid
from aepipe.jobs.sample.nightly_set import SampleResult

if TYPE_CHECKING:  # its page needs jinja2
    from aepipe.jobs.sample.augment import AugmentResult


_OF_SERIES = ("rows", "seed", "partition", "name")
_MOST_NAMES = 20


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


class SeriesOptions(NamedTuple):
    """Options of `aepipe sample` that only a series job has."""

    entities: tuple[str, ...] = ()
    start: str | None = None
    length: str | None = None
    windows: int | None = None

    @property
    def named(self) -> list[str]:
        """Names of the options that are given."""
        values = {"entity": self.entities or None, **dict(zip(self._fields[1:], self[1:], strict=True))}
        return [name for name, value in values.items() if value is not None]


def run_series(job: Path, options: SeriesOptions, given: Mapping[str, object], *, model: str, json: bool) -> bool:
    """Draw the series of a series job and print where they are; return False for a job of rows.

    Raises:
        ArgumentInvalid: An option does not fit the job.
    """
    from aepipe.config.job import read_job

    if read_job(job).series is None:
        if options.named:
            raise ArgumentInvalid(options.named[0], ["is an option of series jobs: leave it out, or use where"])
        return False
    unfit = [name for name, value in given.items() if value is not None and name not in _OF_SERIES]
    if unfit:
        names = "entity, start, length, windows, rows and seed"
        raise ArgumentInvalid(unfit[0], [f"does not fit the series of a series job: expected {names}. Leave it out"])
    from aepipe.jobs.sample.series_set import sample_series

    chosen: dict[str, Any] = options._asdict() | {name: given[name] for name in _OF_SERIES}
    with progress_bar(quiet=json) as progress:
        result = sample_series(job, **chosen, model=model, progress=progress)
    if json:
        print_json(result)
        return True
    print_text(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")
    print_text(f"entities: {len(result.entities):,}; calendar: {result.calendar}")
    if result.left_out:
        print_text(f"too short to be drawn: {', '.join(result.left_out[:_MOST_NAMES])}")
    if result.report is not None:
        print_text(f"stylised facts: {result.report}")
    return True


def run_sample(job: Path, given: Mapping[str, Any], *, model: str, json: bool) -> None:
    """Draw the rows of a job of rows with the options given by name, and print where they are."""
    from aepipe.config.text import TokenChoice
    from aepipe.jobs.sample.sample import sample

    names = ("rows", "seed", "prior", "where", "partition", "name")
    tokens = TokenChoice(given["temperature"], given["top_k"], given["top_p"])
    with progress_bar(quiet=json) as progress:
        result = sample(
            job,
            **{name: given[name] for name in names},
            shares=parse_shares(given["share"]),
            model=model,
            tokens=tokens,
            png=None if given["png"] is None else Path(given["png"]),
            progress=progress,
        )
    show_sample_set(result, json=json)


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
