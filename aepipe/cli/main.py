"""The command line: a thin shell over aepipe.jobs. A user's mistake is one sentence and exit code 2."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from aepipe import __version__
from aepipe.cli import sample_options as options
from aepipe.cli.console import print_json, print_table, progress_bar
from aepipe.config.device import Device
from aepipe.errors import AepipeError, JobInvalid, SchemaMismatch

app = typer.Typer(
    name="aepipe",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help="Features, anomaly scores and synthetic rows for Parquet tables that grow every night.",
)

JobPath = Annotated[Path, typer.Argument(help="The job file, or the folder that holds job.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
DeviceOption = Annotated[Device | None, typer.Option(help="In place of the job's.")]
ModelName = Annotated[str, typer.Option("--model", help="An alias or a version of the job's model.")]
HERE = Path("job.toml")


def main() -> None:
    """Run the command line and end the process: 0 done, 1 a partition or check failed, 2 a mistake to mend.

    It ends without the interpreter's farewell: threads that Arrow is just starting abort a process that says it.
    """
    code = _run()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except AepipeError as error:
        _complain(error)
        return 2
    except OSError as error:
        typer.echo(f"error: {error}", err=True)
        return 2
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        return 130
    return 0


def _complain(error: AepipeError) -> None:
    if isinstance(error, JobInvalid | SchemaMismatch) and len(error.faults) > 1:
        typer.echo(f"error: {error.source}: {len(error.faults)} faults", err=True)
        for fault in error.faults:
            typer.echo(f"  - {fault}", err=True)
    else:
        typer.echo(f"error: {error}", err=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aepipe {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(message)s")


@app.command()
def init(
    data: Annotated[Path, typer.Argument(help="A folder of Parquet files, or one file.")],
    name: Annotated[str | None, typer.Option(help="Name of the pipeline; by default the folder's.")] = None,
    job: Annotated[Path, typer.Option(help="Where to write the job file.")] = HERE,
    force: Annotated[bool, typer.Option(help="Replace a job file that is there.")] = False,
) -> None:
    """Write a job file for a table, its columns inferred and listed in it.

    Example: [bold]aepipe init warehouse/transactions --name fraud[/bold]
    """
    from aepipe.jobs.init import init as write

    written = write(data, name=name, job_path=job, force=force)
    typer.echo(f"wrote {written}; look at it, then: aepipe train {written}")


@app.command()
def inspect(path: Annotated[Path, typer.Argument(help="A job file, or Parquet.")] = HERE, json: Json = False) -> None:
    """Print the partitions of a table and what each column is taken for, and why.

    Example: [bold]aepipe inspect warehouse/transactions[/bold]
    """
    from aepipe.jobs.inspect import inspect as look

    seen = look(path)
    if json:
        print_json(seen)
        return
    rows = [(column.name, column.type, column.kind, column.why) for column in seen.columns]
    print_table(f"{len(seen.columns)} columns", ("column", "type", "kind", "why"), rows)
    parts = [(part.partition, part.files, part.rows, part.bytes) for part in seen.partitions]
    print_table(f"{len(parts)} partitions", ("partition", "files", "rows", "bytes"), parts)
    for line in seen.notes:
        typer.echo(line)


@app.command()
def train(
    job: JobPath = HERE,
    device: DeviceOption = None,
    force: Annotated[bool, typer.Option(help="Train although this job and these data have a bundle.")] = False,
    json: Json = False,
) -> None:
    """Train, export to ONNX and calibrate: a new bundle, unless job and data already have one.

    A run that was interrupted goes on from its last checkpoint.
    Example: [bold]aepipe train data/cells/job.toml[/bold]
    """
    from aepipe.jobs.train.train import train as learn

    with progress_bar(quiet=json) as progress:
        result = learn(job, device=device, force=force, progress=progress)
    if json:
        print_json(result)
    elif result.created:
        typer.echo(f"new bundle {result.bundle} ({result.summary}); it is now {result.alias}")
    else:
        typer.echo(f"nothing to do: {result.bundle} was trained with this job on these data")


@app.command()
def calibrate(
    job: JobPath = HERE,
    partition: Annotated[
        list[str] | None,
        typer.Option(help="Calibrate on this one's rows; may be repeated. By default on the bundle's."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column with the truth, for the costs; by default \\[evaluate] anomaly.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Its value of an anomaly; by default 1, or the rarer one.")
    ] = None,
    model: ModelName = "champion",
    device: DeviceOption = None,
    json: Json = False,
) -> None:
    """Derive calibration and threshold anew, from the job's alpha or costs; the bundle stays as it is.

    Nights that were scored under another calibration are scored again by the next run.
    Example: [bold]aepipe calibrate data/cells/job.toml --partition dt=2026-01-05[/bold]
    """
    from aepipe.jobs.calibrate import calibrate as derive

    with progress_bar(quiet=json) as progress:
        result = derive(
            job,
            partitions=partition,
            label=label,
            positive=positive,
            model=model,
            device=device,
            progress=progress,
        )
    if json:
        print_json(result)
        return
    if result.sentence:
        typer.echo(result.sentence)
    if result.created:
        typer.echo(
            f"{result.model_version}: alpha {result.alpha_before:.4g} -> {result.alpha:.4g}, threshold "
            f"{result.threshold_before:.6g} -> {result.threshold:.6g}, {result.rows:,} rows; next: aepipe score {job}"
        )
    else:
        typer.echo(f"nothing to do: {result.model_version} is calibrated so already")


@app.command()
def score(
    job: JobPath = HERE,
    partition: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    model: ModelName = "champion",
    device: DeviceOption = None,
    json: Json = False,
) -> None:
    """Write scores and features of each partition that does not have them yet.

    Exit code 1 where a partition could not be scored; the others are.
    Example: [bold]aepipe score data/cells/job.toml --partition dt=2026-01-07[/bold]
    """
    from aepipe.jobs.score import score as run_scoring

    with progress_bar(quiet=json) as progress:
        result = run_scoring(job, partitions=partition, model=model, device=device, progress=progress)
    if json:
        print_json(result)
    else:
        header = ("partition", "status", "rows", "flagged", "invalid", "rows/s")
        print_table("", header, [night.row() for night in result.nights])
        for night in result.nights:
            if night.reason:
                typer.echo(f"{night.partition}: {night.reason}", err=True)
    if result.failed:
        raise typer.Exit(1)


@app.command()
def sample(
    job: JobPath = HERE,
    rows: options.Rows = None,
    seed: options.Seed = None,
    prior: options.Prior = None,
    where: options.Where = None,
    share: options.Shares = None,
    partition: options.Partition = None,
    fill: options.Fill = None,
    interpolate: options.Interpolate = None,
    shift: options.Shift = None,
    traverse: options.Traverse = None,
    key: options.Keys = None,
    amount: options.Amount = None,
    dimensions: options.Dimensions = None,
    steps: options.Steps = None,
    how: options.How = None,
    model: ModelName = "champion",
    json: Json = False,
) -> None:
    """Write synthetic rows, with the source's own columns and types; those that miss a bar are quarantined (exit 1).

    Or a walk through the latents of given rows; a key of several columns is written a,b. Or rows of a partition, their
    missing cells filled given the others.
    Example: [bold]aepipe sample data/digits/job.toml --rows 10000 --seed 7[/bold]
    Example: [bold]aepipe sample data/shoes/job.toml --where "kind = 'boot'"[/bold]
    Example: [bold]aepipe sample data/digits/job.toml --interpolate scan-0001 scan-0002[/bold]
    """
    from aepipe.cli.sample_output import run_fill, shares_of, show_set
    from aepipe.cli.traverse_output import Asked, refuse_draws, run_walk
    from aepipe.jobs.sample.sample import sample as draw

    asked = Asked(interpolate, shift, traverse, tuple(key or ()), amount, dimensions, steps, how)
    if asked.walk is not None:
        refuse_draws(asked.walk, {"rows": rows, "seed": seed, "prior": prior, "where": where, "share": share})
        run_walk(job, asked, partition=partition, model=model, json=json)
        return
    if fill is not None:
        stray = {"rows": rows, "prior": prior, "where": where, "share": share, "partition": partition}
        run_fill(job, fill, stray, seed=seed, model=model, json=json)
        return

    with progress_bar(quiet=json) as progress:
        result = draw(
            job,
            rows=rows,
            seed=seed,
            prior=prior,
            where=where,
            shares=shares_of(share),
            partition=partition,
            model=model,
            progress=progress,
        )
    show_set(result, json=json)


@app.command()
def augment(
    job: JobPath = HERE,
    rare: Annotated[str, typer.Option(metavar="COLUMN=VALUE", help="The class, such as income=>50K.")] = "",
    rows: Annotated[
        int | None, typer.Option(min=1, help="Synthetic rows of it; by default as many as make it half of all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed, the same rows.")] = 0,
    model: ModelName = "champion",
    json: Json = False,
) -> None:
    """Find out whether synthetic rows of a rare class help to learn it, beside class weights and copies of its rows.

    Example: [bold]aepipe augment data/people/job.toml --rare "income=>50K"[/bold]
    """
    from aepipe.cli.sample_output import show_augmentation
    from aepipe.jobs.sample.augment import augment as compare

    with progress_bar(quiet=json) as progress:
        result = compare(job, rare, rows=rows, seed=seed, model=model, progress=progress)
    show_augmentation(result, json=json)


@app.command()
def report(job: JobPath = HERE, model: ModelName = "champion", json: Json = False) -> None:
    """Write one HTML page about the model and the nights scored with it.

    Example: [bold]aepipe report data/cells/job.toml[/bold]
    """
    from aepipe.jobs.report.report import report as write

    with progress_bar(quiet=json) as progress:
        result = write(job, model=model, progress=progress)
    if json:
        print_json(result)
    else:
        typer.echo(f"wrote {result.path}")


@app.command()
def evaluate(
    job: JobPath = HERE,
    label: Annotated[
        str | None, typer.Option(help="Column with the truth; by default what \\[evaluate] or \\[data] labels say.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Its value of an anomaly; by default 1, or the rarer one.")
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First partition; by default all that are scored.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last partition, inclusive.")] = None,
    cost_false_alarm: Annotated[
        float | None, typer.Option(help="Of looking at a normal row; by default the job's.")
    ] = None,
    cost_miss: Annotated[
        float | None, typer.Option(help="Of an anomaly without an alarm; by default the job's.")
    ] = None,
    false_alarms: Annotated[float, typer.Option(help="A night, at which events are found.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the intervals.")] = 0,
    json: Json = False,
) -> None:
    """Hold the scores that were written against labels, beside random, PCA and the greatest z of a raw column.

    Example: [bold]aepipe evaluate data/cells/job.toml --cost-false-alarm 1 --cost-miss 20[/bold]
    """
    from aepipe.cli.evaluate_output import show
    from aepipe.jobs.evaluate.evaluate import evaluate as hold_against

    with progress_bar(quiet=json) as progress:
        result = hold_against(
            job,
            label=label,
            positive=positive,
            first=first,
            last=last,
            cost_false_alarm=cost_false_alarm,
            cost_miss=cost_miss,
            false_alarms=false_alarms,
            seed=seed,
            progress=progress,
        )
    if json:
        print_json(result)
    else:
        show(result)


@app.command()
def explain(
    job: Annotated[Path, typer.Argument(help="The job file, or the folder that holds job.toml.")],
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY...", help="Of a row; of several columns a,b.")
    ] = None,
    row: Annotated[
        str | None, typer.Option(metavar="PARTITION:INDEX", help="Instead of a key; 0 is the first.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Of an image: write row, expectation and reasons as PNG.")
    ] = None,
    model: ModelName = "champion",
    json: Json = False,
) -> None:
    """Print a row beside what the model expected of it, the reasons of its score first.

    Example: [bold]aepipe explain data/cells/job.toml case-017[/bold]
    """
    from aepipe.cli.explain_output import show
    from aepipe.jobs.explain import explain as find_reasons

    found = find_reasons(job, keys or (), row=row, picture=picture, model=model)
    if json:
        print_json(found)
        return
    for each in found:
        show(each)


@app.command()
def run(job: JobPath = HERE, device: DeviceOption = None, json: Json = False) -> None:
    """The night without a scheduler: train if there is no model yet, score what is new, sample, report.

    Example: [bold]aepipe run data/cells/job.toml[/bold]
    """
    from aepipe.jobs.nightly import night

    with progress_bar(quiet=json) as progress:
        result = night(job, device=device, progress=progress)
    if json:
        print_json(result)
    else:
        for line in result.lines():
            typer.echo(line)
    if result.failed:
        raise typer.Exit(1)


@app.command()
def models(
    job: JobPath = HERE,
    promote: Annotated[str | None, typer.Option(help="Give this version the name in --alias.")] = None,
    alias: Annotated[str, typer.Option(help="The name to give.")] = "champion",
    why: Annotated[str, typer.Option(help="The reason, kept in the log.")] = "",
    json: Json = False,
) -> None:
    """List the versions of a job's model, or give one of them a name.

    Example: [bold]aepipe models data/cells/job.toml --promote 20260101T020000Z-1a2b3c4d --why "fewer alarms"[/bold]
    """
    from aepipe.jobs.models import list_models, promote_model

    if promote is not None:
        typer.echo(promote_model(job, promote, alias=alias, why=why))
        return
    listed = list_models(job)
    if json:
        print_json(listed)
        return
    header = ("version", "names", "family", "trained on", "rows", "created")
    print_table("", header, [model.row() for model in listed.versions])


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A job file, or a bundle's folder.")] = HERE, json: Json = False
) -> None:
    """Read every file of a bundle and of a job's outputs again, and compare with what was recorded.

    Example: [bold]aepipe verify exported/cells[/bold]
    """
    from aepipe.jobs.verify import verify as check

    result = check(path)
    if json:
        print_json(result)
    else:
        for line in result.checked:
            typer.echo(f"ok    {line}")
        for fault in result.faults:
            typer.echo(f"FAULT {fault}", err=True)
    if result.faults:
        raise typer.Exit(1)


@app.command()
def doctor(
    job: Annotated[Path | None, typer.Argument(help="A job file to look at too.")] = None, json: Json = False
) -> None:
    """Look at this machine, its libraries and devices and, where given, at a job: what would stop it tonight?

    Example: [bold]aepipe doctor data/cells/job.toml[/bold]
    """
    from aepipe.jobs.doctor import doctor as look

    result = look(job)
    if json:
        print_json(result)
    else:
        for check in result.checks:
            typer.echo(f"{'ok  ' if check.ok else 'BAD '} {check.what}: {check.found}")
    if not result.ok:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
