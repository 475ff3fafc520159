"""Commands about partitions that were scored or could not be: `aepipe forget`."""

from pathlib import Path
from typing import Annotated

import typer

from aepipe.cli import options
from aepipe.cli.console import print_json


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
        typer.echo(line)
    if result.is_empty:
        typer.echo("nothing to remove")
    elif not yes:
        typer.echo("nothing was removed. Add --yes to remove these files.")


def split_job(words: list[str]) -> tuple[Path, list[str]]:
    """Separate the job from the names after it; the job may be left out where job.toml is in this folder."""
    if words and (words[0].endswith(".toml") or (Path(words[0]) / "job.toml").is_file()):
        return Path(words[0]), words[1:]
    return options.HERE, words


COMMANDS = (forget,)
