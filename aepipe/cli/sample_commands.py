"""Commands that make rows: `aepipe sample`, `impute`, `recommend`, `traverse` and `augment`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from aepipe.cli import options
from aepipe.cli.console import progress_bar

if TYPE_CHECKING:  # help is shown without it
    from aepipe.cli.traverse_output import WalkRequest


def sample(
    job: options.JobPath = options.HERE,
    rows: options.Rows = None,
    seed: options.Seed = None,
    prior: options.Prior = None,
    where: options.Where = None,
    share: options.Shares = None,
    entity: options.Entity = None,
    start: options.Start = None,
    length: options.Length = None,
    windows: options.Windows = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    partition: options.Partition = None,
    name: options.SetName = None,
    model: options.ModelName = "champion",
    png: options.Png = None,
    json: options.Json = False,
    fill: options.OldFill = None,
    interpolate: options.OldInterpolate = None,
    shift: options.OldShift = None,
    traverse: options.OldTraverse = None,
    key: options.OldKeys = None,
    amount: options.OldAmount = None,
    dimensions: options.OldDimensions = None,
    steps: options.OldSteps = None,
    how: options.OldHow = None,
) -> None:
    """Write synthetic rows with the source's columns and types; of a series job, series of its entities.

    Rows that miss a quality threshold are quarantined (exit code 1).
    Example: [bold]aepipe sample data/digits/job.toml --rows 10000 --seed 7[/bold]
    Example: [bold]aepipe sample data/shoes/job.toml --where "kind = 'boot'"[/bold]
    Example: [bold]aepipe sample data/logs/job.toml --temperature 0.8 --top-p 0.95[/bold]
    Example: [bold]aepipe sample data/machines/job.toml --entity m1 --start 2026-02-01 --length 7d[/bold]
    """
    from aepipe.cli.sample_output import SeriesOptions, run_sample, run_series
    from aepipe.cli.traverse_output import WalkRequest

    request = WalkRequest(interpolate, shift, traverse, tuple(key or ()), amount, dimensions, steps, how)
    given: dict[str, object] = {"rows": rows, "seed": seed, "prior": prior, "where": where, "share": share}
    given |= {"partition": partition, "name": name, "png": None if png is None else str(png)}
    given |= {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    if _run_former_options(job, request, fill, given, model=model, json=json):
        return
    series = SeriesOptions(tuple(entity or ()), start, length, windows)
    if not run_series(job, series, given, model=model, json=json):
        run_sample(job, given, model=model, json=json)


def impute(
    job: options.JobArgument,
    partition: Annotated[str, typer.Argument(help="Partition of the source whose missing cells are filled.")],
    how: Annotated[str, typer.Option(help="draw: a plausible value; mean: the best estimate.")] = "draw",
    draws: Annotated[int | None, typer.Option(help="Draws per cell for --how mean; default: 10.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to fill, separated by commas; default: all.")] = None,
    where: Annotated[str | None, typer.Option(help="Condition on the rows to fill; default: all rows.")] = None,
    seed: options.Seed = None,
    model: options.ModelName = "champion",
    json: options.Json = False,
) -> None:
    """Write the rows of a partition with each missing cell drawn given the others.

    Example: [bold]aepipe impute data/shop/job.toml 2026-11-20[/bold]
    Example: [bold]aepipe impute data/shop/job.toml 2026-11-20 --how mean --columns amount,shop[/bold]
    """
    from aepipe.cli.sample_output import run_impute

    chosen = tuple(name.strip() for name in columns.split(",")) if columns else ()
    given = {"how": how, "draws": draws, "columns": chosen, "where": where}
    run_impute(job, partition, seed=seed, model=model, json=json, **given)


def recommend(
    job: options.JobArgument,
    partition: Annotated[str, typer.Argument(help="Partition of the source whose rows get items.")],
    items: Annotated[int, typer.Option(help="Maximum number of items of a row, at most 100.")] = 20,
    model: options.ModelName = "champion",
    json: options.Json = False,
) -> None:
    """Write the likeliest items that each row of a partition does not have; its model has a column of kind items.

    Example: [bold]aepipe recommend data/shop/job.toml 2026-11-20 --items 10[/bold]
    """
    from aepipe.cli.sample_output import run_recommend

    run_recommend(job, partition, items=items, model=model, json=json)


def traverse(
    job: options.JobPath = options.HERE,
    key: options.Keys = None,
    dimensions: options.Dimensions = None,
    interpolate: options.Interpolate = None,
    how: options.How = None,
    shift: options.Shift = None,
    amount: options.Amount = None,
    steps: options.Steps = None,
    partition: options.WalkPartition = None,
    model: options.ModelName = "champion",
    json: options.Json = False,
) -> None:
    """Write rows along a path through the latents: one latent at a time, between two rows, or along an attribute.

    Example: [bold]aepipe traverse data/digits/job.toml --key scan-0001 --dimensions z_000,z_003[/bold]
    Example: [bold]aepipe traverse data/digits/job.toml --interpolate scan-0001 scan-0002[/bold]
    Example: [bold]aepipe traverse data/cells/job.toml --shift "diagnosis = 'malignant'" --key case-000[/bold]
    """
    from aepipe.cli.traverse_output import WalkRequest, parse_walk, run_walk

    request = WalkRequest(interpolate, shift, None, tuple(key or ()), amount, dimensions, steps, how)
    run_walk(job, parse_walk(request), partition=partition, model=model, json=json)


def augment(
    job: options.JobPath = options.HERE,
    rare: Annotated[str, typer.Option(metavar="COLUMN=VALUE", help="Rare class, such as income=>50K.")] = "",
    rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Synthetic rows of the class; default: twice its training rows, up to the number of all other rows.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Random seed.")] = 0,
    model: options.ModelName = "champion",
    json: options.Json = False,
) -> None:
    """Compare synthetic rows of a rare class with class weights and copied rows as training data.

    Example: [bold]aepipe augment data/people/job.toml --rare "income=>50K"[/bold]
    """
    from aepipe.cli.sample_output import show_augmentation
    from aepipe.jobs.sample.augment import augment as compare

    with progress_bar(quiet=json) as progress:
        result = compare(job, rare, rows=rows, seed=seed, model=model, progress=progress)
    show_augmentation(result, json=json)


def _run_former_options(
    job: Path, request: "WalkRequest", fill: str | None, given: Mapping[str, object], *, model: str, json: bool
) -> bool:
    """Run `aepipe impute` or `aepipe traverse` if the former options of `aepipe sample` ask for it; tell if one ran."""
    from aepipe.cli.sample_output import run_impute
    from aepipe.cli.traverse_output import refuse_options, run_walk

    walk = request.walk()
    if walk is not None:
        refuse_options(walk, given, except_for=("partition",), why="draws nothing")
        run_walk(job, request, partition=cast("str | None", given["partition"]), model=model, json=json)
        return True
    if fill is not None:
        refuse_options("fill", given, except_for=("seed",), why="takes the rows as they are")
        run_impute(job, fill, seed=cast("int | None", given["seed"]), model=model, json=json)
        return True
    return False


COMMANDS = (sample, impute, recommend, traverse, augment)
