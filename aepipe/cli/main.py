"""Command line, a thin shell over aepipe.jobs: a user's mistake is one sentence and exit code 2."""

import io
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from aepipe import __version__
from aepipe.cli import (
    model_commands,
    operation_commands,
    partition_commands,
    publish_commands,
    report_commands,
    sample_commands,
    source_commands,
)
from aepipe.cli.console import (
    PrintableFormatter,
    print_json,
    print_text,
    print_warnings,
    printable,
    progress_bar,
    say,
)
from aepipe.cli.groups import examples, group_commands
from aepipe.cli.interrupts import Interrupted, describe_os_error, raise_on_signals
from aepipe.cli.options import HERE, DeviceOption, JobArgument, JobPath, Json, ModelName
from aepipe.cli.quick_imports import quick_imports
from aepipe.errors import AepipeError, ArgumentInvalid, JobInvalid, SchemaMismatch
from aepipe.versions import named_extras

app = typer.Typer(
    name="aepipe",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=examples(),
    help="Features, anomaly scores and synthetic rows for Parquet tables that grow every night.",
)


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 all is done, 1 some partitions or checks failed, 2 the user's mistake or a full disk, 130 Ctrl-C,
    143 SIGTERM.
    """
    sys.stderr = sys.stderr or io.StringIO()  # it was closed: scoring goes on
    raise_on_signals()
    code = _run()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader has gone
            stream.flush()
    os._exit(code)  # interpreter shutdown can abort while Arrow threads start


def _run() -> int:
    try:
        with named_extras():
            app()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except AepipeError as error:
        if isinstance(error, ArgumentInvalid):
            error = ArgumentInvalid(f"--{error.source.replace('_', '-')}", error.faults)
        if isinstance(error, JobInvalid | SchemaMismatch) and len(error.faults) > 1:
            say(f"error: {error.source}: {len(error.faults)} faults")
            for fault in error.faults:
                say(f"  - {printable(fault)}")
        else:
            say(f"error: {printable(str(error))}")
        return 2
    except OSError as error:
        say(f"error: {printable(describe_os_error(error))}")
        return 2
    except Interrupted as error:
        say(" ".join(["stopped:", *getattr(error, "__notes__", ["complete outputs are kept."])]))
        return 128 + error.number
    return 0


def _version(wanted: bool) -> None:
    if wanted:
        print_text(f"aepipe {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log progress.")] = False,
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


@app.command()
def train(
    job: JobPath = HERE,
    device: DeviceOption = None,
    force: Annotated[bool, typer.Option(help="Train even if this job and these data already have a bundle.")] = False,
    json: Json = False,
) -> None:
    """Train a model, export it to ONNX and calibrate it: a new bundle, unless job and data already have one.

    The first bundle becomes champion; a later one becomes challenger, until `aepipe promote`.
    An interrupted run resumes from its last checkpoint.
    Example: [bold]aepipe train data/cells/job.toml[/bold]
    """
    from aepipe.jobs.train.train import train as learn

    with progress_bar(quiet=json) as progress:
        result = learn(job, device=device, force=force, progress=progress)
    if json:
        print_json(result)
    else:
        print_text(result.sentence)
        if result.created and result.alias == "challenger":
            print_text(f"the champion is unchanged; compare them with: aepipe promote {job} --dry-run")


@app.command()
def calibrate(
    job: JobPath = HERE,
    partition: Annotated[
        list[str] | None,
        typer.Option(help="Partition to calibrate on; repeatable; default: the bundle's calibration rows."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="Column with the labels, for the costs and to leave anomalies out; default: \\[evaluate] anomaly and "
            "the feedback."
        ),
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Label value of an anomaly; default: 1, or the rarer value.")
    ] = None,
    model: ModelName = "champion",
    device: DeviceOption = None,
    json: Json = False,
) -> None:
    """Recalibrate without retraining: derive the threshold from the job's alpha or costs; the bundle is unchanged.

    Partitions that were scored under another calibration are scored again by the next run.
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
        print_text(result.sentence)
    if result.left_out:
        print_text(f"rows left out because their labels mark anomalies: {result.left_out:,}")
    if result.created:
        print_text(
            f"{result.model_version}: alpha {result.alpha_before:.4g} -> {result.alpha:.4g}, threshold "
            f"{result.threshold_before:.6g} -> {result.threshold:.6g}, {result.rows:,} rows; next: aepipe score {job}"
        )
    else:
        print_text(f"nothing to do: {result.model_version} already has this calibration")


@app.command()
def score(
    job: JobPath = HERE,
    partition: Annotated[list[str] | None, typer.Option(help="Partition to score; repeatable; default: all.")] = None,
    model: ModelName = "champion",
    device: DeviceOption = None,
    force: Annotated[bool, typer.Option(help="Write partitions again although they are done.")] = False,
    json: Json = False,
) -> None:
    """Write scores and features of each partition that does not have them yet.

    Exit with code 1 if a partition could not be scored; the others are scored.
    Example: [bold]aepipe score data/cells/job.toml --partition dt=2026-01-07[/bold]
    """
    with quick_imports():
        from aepipe.cli.score_output import show
        from aepipe.jobs.score import score as run_scoring
        from aepipe.progress import of_stage

    with progress_bar(quiet=json) as progress:
        result = run_scoring(
            job, partitions=partition, model=model, device=device, force=force, progress=of_stage(progress, "score")
        )
    print_warnings(result.warnings)
    if json:
        print_json(result)
    else:
        show(result, job=job)
    if result.failed:
        raise typer.Exit(1)


for command in (
    *sample_commands.COMMANDS,
    *model_commands.COMMANDS,
    *operation_commands.COMMANDS,
    *source_commands.COMMANDS,
    *partition_commands.COMMANDS,
    *publish_commands.COMMANDS,
    *report_commands.COMMANDS,
):
    app.command()(command)


@app.command()
def evaluate(
    job: JobPath = HERE,
    label: Annotated[
        str | None, typer.Option(help="Column with the labels; default: \\[evaluate] anomaly, or \\[data] labels.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Label value of an anomaly; default: 1, or the rarer value.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First partition; default: the first scored one.")] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Last partition, inclusive; default: the last scored one.")
    ] = None,
    cost_false_alarm: Annotated[
        float | None, typer.Option(help="Cost of inspecting a normal row; default: the job's.")
    ] = None,
    cost_miss: Annotated[
        float | None, typer.Option(help="Cost of an anomaly without an alarm; default: the job's.")
    ] = None,
    false_alarms: Annotated[float, typer.Option(help="False alarms per night that event recall allows.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the intervals.")] = 0,
    json: Json = False,
) -> None:
    """Evaluate written scores against labels, with four baselines: random, largest |z|, PCA, isolation forest.

    Example: [bold]aepipe evaluate data/cells/job.toml --cost-false-alarm 1 --cost-miss 20[/bold]
    """
    from aepipe.cli.evaluate_output import show
    from aepipe.jobs.evaluate.evaluate import evaluate as run_evaluation

    with progress_bar(quiet=json) as progress:
        result = run_evaluation(
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
    job: JobArgument,
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY...", help="Key of a row, a,b for several key columns.")
    ] = None,
    row: Annotated[
        str | None, typer.Option(metavar="PARTITION:INDEX", help="Row by position instead of key; the first is 0.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="PNG file to write the image, its reconstruction and its attributions to.")
    ] = None,
    model: ModelName = "champion",
    json: Json = False,
) -> None:
    """Print a row with its reconstruction and the columns that contribute most to its score.

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
def run(
    job: JobPath = HERE,
    device: DeviceOption = None,
    force: Annotated[bool, typer.Option(help="Score partitions again although they are done.")] = False,
    json: Json = False,
) -> None:
    """Run the nightly job without a scheduler: train if there is no model yet, score new partitions, sample, report.

    Example: [bold]aepipe run data/cells/job.toml[/bold]
    """
    with quick_imports():
        from aepipe.cli.score_output import show_alarms
        from aepipe.jobs.nightly import night

    with progress_bar(quiet=json) as progress:
        result = night(job, device=device, force=force, progress=progress)
    print_warnings(result.score.warnings)
    if json:
        print_json(result)
    else:
        for line in result.lines():
            print_text(line)
        show_alarms(result.score.top_alarms, job=job)
    if result.failed:
        raise typer.Exit(1)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="Job file, or folder of a bundle.")] = HERE,
    untrusted: Annotated[
        bool,
        typer.Option("--untrusted", help="Open each bundle in a child process with limits on memory and time."),
    ] = False,
    key: Annotated[
        Path | None, typer.Option(help="PEM file of the ed25519 public key that must have signed each bundle.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every file of a bundle and of a job's outputs against its recorded digest.

    Example: [bold]aepipe verify exported/cells[/bold]
    """
    from aepipe.jobs.verify import verify as check

    result = check(path, untrusted=untrusted, key=key)
    if json:
        print_json(result)
    else:
        for line in result.checked:
            print_text(f"ok    {line}")
        for fault in result.faults:
            print_text(f"FAULT {fault}", err=True)
    if result.faults:
        raise typer.Exit(1)


@app.command()
def sign(
    key: Annotated[Path, typer.Option(help="PEM file of an ed25519 private key.")],
    path: Annotated[Path, typer.Argument(help="Folder of a bundle, or job file, for its champion.")] = HERE,
    json: Json = False,
) -> None:
    """Sign a bundle, so that a job with a public key and `aepipe verify --key` accept it.

    Example: [bold]aepipe sign data/cells/job.toml --key key.pem[/bold]
    """
    from aepipe.jobs.sign import sign as sign_bundle

    result = sign_bundle(path, key)
    if json:
        print_json(result)
    else:
        print_text(f"{result.version} is signed by key {result.public_key}: {result.path}")


@app.command()
def doctor(
    job: Annotated[Path | None, typer.Argument(help="Job file to check too.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Remove the pid file that a dead Prefect server left.")] = False,
    json: Json = False,
) -> None:
    """Check this machine, its libraries and devices, and a job if given, for problems that would stop a run.

    Example: [bold]aepipe doctor data/cells/job.toml[/bold]
    """
    from aepipe.jobs.doctor import doctor as look

    result = look(job, fix=fix)
    if json:
        print_json(result)
    else:
        for check in result.checks:
            print_text(f"{'ok  ' if check.ok else 'BAD '} {check.what}: {check.found}")
    if not result.ok:
        raise typer.Exit(1)


@app.command()
def top(
    places: Annotated[
        list[Path] | None, typer.Argument(metavar="[PLACE]...", help="Job files, or folders of jobs; default: here.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the state once.")] = False,
    json: Json = False,
) -> None:
    """Watch jobs: champion, partitions, alarms, failures and running stages; one line per job when redirected.

    Example: [bold]aepipe top data[/bold]
    """
    from aepipe.cli.top_output import print_lines, watch
    from aepipe.jobs.top import overview

    chosen = places or [Path()]
    if json:
        print_json(overview(chosen))
    elif once or not sys.stdout.isatty():
        print_lines(overview(chosen))
    else:
        watch(chosen, every_s=every)


group_commands(app)

if __name__ == "__main__":
    main()
