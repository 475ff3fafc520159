"""Command that publishes outputs to tables of other formats: `aepipe publish`."""

from typing import Annotated

import typer

from aepipe.cli import options
from aepipe.cli.console import print_json, print_text, progress_bar


def publish(
    job: options.JobPath = options.HERE,
    partition: Annotated[
        list[str] | None, typer.Option(help="Partition to publish; repeatable; default: all with outputs.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Publish committed outputs to the Delta and Iceberg tables of the job's `publish` sections.

    A partition that the log of the table has with the same digest is not published again.
    Example: [bold]aepipe publish data/cells/job.toml[/bold]
    """
    from aepipe.jobs.publish.publish import publish as run_publishing
    from aepipe.progress import of_stage

    with progress_bar(quiet=json) as progress:
        result = run_publishing(job, partitions=partition, progress=of_stage(progress, "publish"))
    if json:
        print_json(result)
        return
    for line in result.lines() or ["nothing to publish: the job has no [[publish]] section"]:
        print_text(line)


COMMANDS = (publish,)
