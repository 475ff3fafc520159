"""Commands of an operator: `aepipe backfill`, `aepipe drift`, `aepipe alert`, `aepipe feedback` and `aepipe deploy`."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from aepipe.cli import options
from aepipe.cli.console import print_json, print_table, print_text, progress_bar
from aepipe.versions import missing_extra


def backfill(
    job: options.JobPath = options.HERE,
    first: Annotated[str | None, typer.Option("--from", help="First partition; default: the first there is.")] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="Last partition, inclusive; default: the last there is.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="Alias or version; as-of: for each partition the version that was champion on its day."),
    ] = "champion",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan only.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1_024, help="Partitions scored at the same time; default: the job's.")
    ] = None,
    device: options.DeviceOption = None,
    json: options.Json = False,
) -> None:
    """Score a span of past partitions, with one model or with the champion of each day.

    Finished partitions are skipped: run the command again to resume. Exit with code 1 if a partition cannot be scored.
    Example: [bold]aepipe backfill data/cells/job.toml --from 2026-01-01 --to 2026-01-31 --model as-of --dry-run[/bold]
    """
    from aepipe.jobs.backfill.backfill import backfill as run_backfill

    with progress_bar(quiet=json or dry_run) as progress:
        result = run_backfill(
            job,
            first=first,
            last=last,
            model=model,
            device=device,
            workers=workers,
            dry_run=dry_run,
            progress=progress,
        )
    if json:
        print_json(result)
    else:
        done = {night.partition: night.status for night in result.nights}
        header = ("partition", "model", "status", "rows")
        steps = [(s.partition, s.version, done.get(s.partition, s.status), s.rows) for s in result.plan.steps]
        print_table("", header, steps)
        print_text(result.plan.sentence if dry_run else f"scored {len(result.nights)} in {result.seconds:,.1f} s")
        for name, why in result.faults.items():
            print_text(f"{name}: {why}", err=True)
    if result.faults:
        raise typer.Exit(1)


def drift(
    job: options.JobPath = options.HERE,
    partition: Annotated[
        list[str] | None, typer.Option(help="Partition to compare; repeatable; default: every scored one.")
    ] = None,
    model: options.ModelName = "champion",
    json: options.Json = False,
) -> None:
    """Compare scored partitions with the training data: input columns, scores and latents, with confidence bounds.

    Example: [bold]aepipe drift data/cells/job.toml --partition dt=2026-01-07[/bold]
    """
    from aepipe.jobs.drift.monitor import measure_drift

    with progress_bar(quiet=json) as progress:
        result = measure_drift(job, model=model, partitions=partition, progress=progress)
    if json:
        print_json(result)
        return
    header = ("partition", "largest change", "distance", "low", "high", "shift", "alarms", "note")
    rows: list[tuple[object, ...]] = []
    for each in result.partitions:
        top = each.streams[0] if each.streams else None
        figures = (top.name, top.distance, top.low, top.high, top.shift) if top is not None else ("",) * 5
        rows.append((each.partition, *figures, len(each.alarms), each.skipped))
    print_table("", header, rows)
    for line in result.lines:
        print_text(line)


def alert(
    job: options.JobPath = options.HERE,
    partition: Annotated[
        list[str] | None, typer.Option(help="Partition to report; repeatable; default: the latest scored one.")
    ] = None,
    model: options.ModelName = "champion",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the message only.")] = False,
    json: options.Json = False,
) -> None:
    """Send the message about flagged rows and drift to the channels of the job; each channel gets it once.

    Exit with code 1 if a channel did not take it, or with --dry-run if its address is wrong.
    Example: [bold]aepipe alert data/cells/job.toml --dry-run[/bold]
    """
    from aepipe.jobs.alerts.alert import alert as send

    result = send(job, partitions=partition, model=model, dry_run=dry_run)
    if json:
        print_json(result)
    else:
        if result.message is not None:
            print_text(result.message.text)
        if dry_run:
            print_text("dry run: nothing is sent")
        if result.failed or not dry_run:
            print_text(result.sentence)
    if result.failed:
        raise typer.Exit(1)


def feedback(
    job: options.JobArgument,
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY...", help="Key of a row, a,b for several key columns.")
    ] = None,
    verdict: Annotated[str | None, typer.Option(help="expected, anomaly or unsure.")] = None,
    reason: Annotated[str, typer.Option(help="Reason, kept in the log.")] = "",
    expires: Annotated[
        str | None, typer.Option(metavar="DATE", help="Last day on which an expected row is muted; default: no end.")
    ] = None,
    mute: Annotated[
        float | None,
        typer.Option(
            metavar="DISTANCE",
            help="Also mute rows with the same first attribution within this distance, in standard deviations.",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Parquet or CSV file with the key columns, verdict, reason, expires, mute.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the effect only.")] = False,
    json: options.Json = False,
) -> None:
    """Record verdicts of people about rows, with their effect on the latest alarms; without keys list them.

    Verdicts count as labels, and expected rows are muted in alerts.
    Example: [bold]aepipe feedback data/cells/job.toml case-017 --verdict expected --reason "known device"[/bold]
    """
    from aepipe.jobs.feedback.feedback import give_feedback

    result = give_feedback(
        job, keys or (), verdict=verdict, reason=reason, expires=expires, mute=mute, file=file, dry_run=dry_run
    )
    if json:
        print_json(result)
        return
    header = ("key", "verdict", "reason", "expires", "mute", "partition", "flagged", "p-value")
    rows = [
        (v.key, v.verdict, v.reason, str(v.expires or ""), v.mute, v.partition, row.is_flagged, row.p_value)
        for row in result.rows
        for v in (row.verdict,)
    ]
    print_table("", header, rows)
    print_text(f"{len(result.muted):,} of {result.flagged:,} flagged rows of the latest partitions are muted")
    if dry_run:
        print_text("dry run: nothing is recorded")


def deploy(
    job: options.JobPath = options.HERE,
    pool: Annotated[str, typer.Option(help="Prefect work pool; created if there is none.")] = "aepipe",
    nightly: Annotated[str, typer.Option(metavar="CRON", help="Schedule of scoring.")] = "30 2 * * *",
    training: Annotated[str, typer.Option(metavar="CRON", help="Schedule of training.")] = "0 4 * * 6",
    sampling: Annotated[str, typer.Option(metavar="CRON", help="Schedule of synthetic rows.")] = "0 6 * * 0",
    timezone: Annotated[str, typer.Option(help="Time zone of the schedules.")] = "UTC",
    stuck_hours: Annotated[float, typer.Option(help="Hours after which a run that does not finish is ended.")] = 12.0,
    json: options.Json = False,
) -> None:
    """Create or update the Prefect deployments of a job, their work pool and limits; run it again after a change.

    Example: [bold]aepipe deploy data/cells/job.toml --nightly "15 3 * * *" --timezone Europe/Berlin[/bold]
    """
    from aepipe.config.job import read_job
    from aepipe.errors import ExtraMissing, OptionInvalid

    asked = {
        "job": read_job(job).source,
        "pool": pool,
        "nightly": nightly,
        "training": training,
        "sampling": sampling,
        "timezone": timezone,
        "stuck_hours": stuck_hours,
    }
    words = [word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    if find_spec("flows") is None:
        raise OptionInvalid(
            "the flows are not installed: they belong to the repository of aepipe, not to the package. "
            'Clone it, and run there: pip install -e ".[all]".'
        )
    if find_spec("prefect") is None:
        raise ExtraMissing(missing_extra("prefect"), name="prefect")
    # a process of its own: only flows import Prefect
    done = subprocess.run([sys.executable, "-m", "flows.deploy", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it ended without a message"]
        raise OptionInvalid(f"the deployments were not applied: {last[0].removeprefix('error: ')}")
    lines = done.stdout.splitlines()
    commands = [line.removeprefix(NEXT) for line in lines if line.startswith(NEXT)]
    applied = [line for line in lines if not line.startswith(NEXT)]
    if json:
        print_json({"applied": applied, "next": commands})
    else:
        print_text("\n".join(applied))
        print_text(f"next, and keep it running: prefect worker start --pool {pool}")
        for what, command in zip(("run a night now", "score a partition again"), commands, strict=True):
            print_text(f"{what}: {command}")


NEXT = "next: "
"""Start of the lines of `flows.deploy` that are commands to run."""

COMMANDS = (backfill, drift, alert, feedback, deploy)
