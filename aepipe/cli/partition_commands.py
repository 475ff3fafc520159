"""Commands about partitions that were scored or could not be: `aepipe forget`, `aepipe quarantine`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aepipe.cli import options
from aepipe.cli.console import print_json, print_table, print_text, progress_bar
from aepipe.config.device import Device
from aepipe.errors import ArgumentInvalid

_MOST_LETTERS = 100


def forget(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB] PARTITION...", help="Job file (default: job.toml), and partitions to remove."),
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First partition of a range.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last partition of a range, inclusive.")] = None,
    expired: Annotated[bool, typer.Option(help="Remove what \\[output] keep no longer keeps.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it the files are only listed.")] = False,
    json: options.Json = False,
) -> None:
    """Remove outputs, manifests and pages of partitions together; the source is never touched.

    Removed partitions are not scored again unless they are named with `aepipe score --partition`.
    Example: [bold]aepipe forget data/cells/job.toml dt=2026-01-05 --yes[/bold]
    """
    from aepipe.jobs.forget import forget as remove

    job, names = split_job(words or [])
    result = remove(job, names, first=first, last=last, is_expired=expired, is_confirmed=yes)
    if json:
        print_json(result)
        return
    for line in result.lines():
        print_text(line)
    if result.is_empty:
        print_text("nothing to remove")
    elif not yes:
        print_text("nothing was removed. Add --yes to remove these files.")


class Action(StrEnum):
    """Action on partitions in quarantine."""

    LIST = "list"
    SHOW = "show"
    RETRY = "retry"
    DROP = "drop"


def quarantine(
    action: Annotated[
        Action, typer.Argument(help="list: one line each; show: reason and files; retry: score again; drop: remove.")
    ] = Action.LIST,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JOB] [PARTITION]...",
            help="Job file (default: job.toml), and partitions; default: all, to drop: none.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Drop all partitions.")] = False,
    device: options.DeviceOption = None,
    json: options.Json = False,
) -> None:
    """List partitions that cannot be scored and rows that failed a check; try them again, or remove the notes.

    Outputs and source are never touched. A dropped partition is tried again by the next run while its source is there.
    Exit with code 1 if a partition that is tried again cannot be scored.
    Example: [bold]aepipe quarantine show data/cells/job.toml dt=2026-01-05[/bold]
    """
    job, names = split_job(words or [])
    if every and action is not Action.DROP:
        raise ArgumentInvalid("all", [f"it goes with drop, got {action}. Leave it out"])
    if action is Action.RETRY:
        _retry(job, names, device=device, json=json)
        return
    if action is Action.DROP:
        from aepipe.jobs.quarantine import drop_quarantine

        dropped = drop_quarantine(job, names, is_all=every)
        if json:
            print_json(dropped)
        else:
            print_text(f"dropped {len(dropped.partitions)} partitions, {len(dropped.files)} files")
        return
    from aepipe.jobs.quarantine import list_quarantine

    found = list_quarantine(job, names)
    if json:
        print_json(found)
    elif not found.partitions:
        print_text("the quarantine is empty")
    elif action is Action.LIST:
        header = ("partition", "run", "since", "files changed", "reason")
        rows = [(p.partition, p.kind, p.when[:19], p.is_changed, _short(p.reason)) for p in found.partitions]
        print_table("", header, rows)
    else:
        for each in found.partitions:
            print_text("\n".join(each.lines()))


def _retry(job: Path, names: list[str], *, device: Device | None, json: bool) -> None:
    from aepipe.cli.score_output import show
    from aepipe.jobs.quarantine import retry_quarantine

    with progress_bar(quiet=json) as progress:
        result = retry_quarantine(job, names, device=device, progress=progress)
    if result is None:
        print_json({"nights": []}) if json else print_text("nothing to retry")
        return
    if json:
        print_json(result)
    else:
        show(result, job=job)
    if result.failed:
        raise typer.Exit(1)


def _short(reason: str) -> str:
    return reason if len(reason) <= _MOST_LETTERS else f"{reason[: _MOST_LETTERS - 3]}..."


def split_job(words: list[str]) -> tuple[Path, list[str]]:
    """Separate the job from the names after it; the job may be left out where job.toml is in this folder."""
    if words and (words[0].endswith(".toml") or (Path(words[0]) / "job.toml").is_file()):
        return Path(words[0]), words[1:]
    return options.HERE, words


COMMANDS = (forget, quarantine)
