"""Command that writes HTML pages: `aepipe report`."""

from pathlib import Path
from typing import Annotated

import typer

from aepipe.cli import options
from aepipe.cli.console import print_json, print_text, progress_bar


def report(
    job: options.JobPath = options.HERE,
    model: options.ModelName = "champion",
    index: Annotated[
        Path | None,
        typer.Option(metavar="PAGE", help="Write a page of all nights of all jobs in this folder instead."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write one HTML page about the model and the partitions scored with it, or an index of all jobs in a folder.

    Example: [bold]aepipe report data/cells/job.toml[/bold]
    Example: [bold]aepipe report data --index jobs.html[/bold]
    """
    from aepipe.jobs.report.report import report as write

    if index is not None:
        from aepipe.jobs.report.index import write_index

        written = write_index([job], index)
        if json:
            print_json(written)
        else:
            print_text(f"wrote {written.path}: {written.jobs} job{'' if written.jobs == 1 else 's'}")
        return
    with progress_bar(quiet=json) as progress:
        result = write(job, model=model, progress=progress)
    if json:
        print_json(result)
    else:
        print_text(f"wrote {result.path}")


COMMANDS = (report,)
