"""Command that writes HTML pages: `aepipe report`."""

from pathlib import Path
from typing import Annotated

import typer

from aepipe.cli import options
from aepipe.cli.console import print_json, print_table, print_text, progress_bar
from aepipe.cli.quick_imports import quick_imports


def report(
    job: options.JobPath = options.HERE,
    model: options.ModelName = "champion",
    index: Annotated[
        Path | None,
        typer.Option(metavar="PAGE", help="Write a page of all nights of all jobs in this folder instead."),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Write a page of two nights or versions side by side instead."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Write the page although nothing on it has changed.")] = False,
    json: options.Json = False,
) -> None:
    """Write one HTML page about the model and the partitions scored with it, or an index of all jobs in a folder.

    A page on which nothing has changed since it was written is left as it is.

    Example: [bold]aepipe report data/cells/job.toml[/bold]
    Example: [bold]aepipe report data/flights/job.toml --compare 2013-02-07 2013-02-08[/bold]
    Example: [bold]aepipe report data/cells/job.toml --compare champion challenger[/bold]
    Example: [bold]aepipe report data --index jobs.html[/bold]
    """
    if index is not None and compare is not None:
        raise typer.BadParameter("expected --index or --compare, got both. Leave one out.")
    if compare is not None:
        _compare(job, compare, json=json)
        return
    if index is not None:
        from aepipe.jobs.report.index import write_index

        written = write_index([job], index)
        if json:
            print_json(written)
        else:
            print_text(f"wrote {written.path}: {written.jobs} job{'' if written.jobs == 1 else 's'}")
        return
    with quick_imports():
        from aepipe.jobs.report.current_page import report_if_changed

    with progress_bar(quiet=json) as progress:
        result = report_if_changed(job, model=model, force=force, progress=progress)
    if json:
        print_json(result)
    elif result.created:
        print_text(f"wrote {result.path}")
    else:
        print_text(f"nothing on {result.path} has changed since it was written; --force writes it again")


def _compare(job: Path, names: tuple[str, str], *, json: bool) -> None:
    from aepipe.jobs.report.compare import compare_report

    with progress_bar(quiet=json) as progress:
        result = compare_report(job, *names, progress=progress)
    if json:
        print_json(result)
        return
    print_table(f"{result.first} and {result.second}", ("alarms", "rows"), tuple(result.alarms.items()))
    print_text(f"wrote {result.path}")


COMMANDS = (report,)
