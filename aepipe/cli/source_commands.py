"""Commands about tables: `aepipe init`, `aepipe convert`, `aepipe inspect` and `aepipe contract`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from aepipe.cli import options
from aepipe.cli.console import print_json, print_table, print_text, progress_bar


def convert(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="CSV or JSON files, or folders of them; .gz may follow. With --gather also Parquet."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="New folder of Parquet files.")],
    partition_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of dates; rows are written to dt=<date> folders.")
    ] = None,
    gather: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column whose values become one list per value of --by; repeatable."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="With --gather: column that has one row each, such as a user.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="With --gather: column that keeps its last value; repeatable."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of CSV files, such as latin-1.")] = "utf-8",
    json: options.Json = False,
) -> None:
    """Convert CSV or JSON files to Parquet, in bounded memory; each column gets the type that all its values have.

    With --gather, rows such as one per purchase become one row per user, with a list of its items.

    Example: [bold]aepipe convert exports/*.csv --out warehouse/orders --partition-by ordered_at[/bold]
    """
    from aepipe.jobs.convert import convert as run_conversion
    from aepipe.jobs.gather import check_options
    from aepipe.jobs.gather import gather as run_gathering

    check_options(gather, by=by, keep=keep, partition_by=partition_by)
    with progress_bar(quiet=json) as progress:
        if gather and by is not None:
            result = run_gathering(
                files, out=out, columns=gather, by=by, keep=keep or (), encoding=encoding, progress=progress
            )
        else:
            result = run_conversion(files, out=out, partition_by=partition_by, encoding=encoding, progress=progress)
    if json:
        print_json(result)
    else:
        print_table("", ("column", "type"), [(column.name, column.type) for column in result.columns])
        print_text(f"{result.sentence}. Run: aepipe init {result.path}")


def init(
    data: Annotated[
        str,
        typer.Argument(help="Folder of Parquet files, one file, or a Delta or Iceberg table.", metavar="PATH"),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the pipeline; default: the folder's.")] = None,
    job: Annotated[Path, typer.Option(help="Job file to write.")] = options.HERE,
    key: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Column that identifies a row; repeatable; '': none.")
    ] = None,
    event_time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column with the time of a row; '': none.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Column with the truth; repeatable; '': none.")
    ] = None,
    entity: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column that names what a row is about; repeatable; '': none."),
    ] = None,
    train_to: Annotated[
        str | None, typer.Option(metavar="PARTITION", help="Last partition to learn from; default: all.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take what is proposed.")] = False,
    force: Annotated[bool, typer.Option(help="Replace an existing job file.")] = False,
    json: options.Json = False,
) -> None:
    """Write a job file for a table: proposed keys, event time and labels, and the inferred kind of every column.

    On a terminal, ask about each proposal that no option decides.
    Example: [bold]aepipe init warehouse/transactions --name fraud[/bold]
    """
    from aepipe.cli.init_questions import ask_roles, can_ask, may_replace
    from aepipe.jobs.init import describe_job
    from aepipe.jobs.init import init as write
    from aepipe.jobs.init_choice import Choice

    keys, labels, entities = (None if given is None else tuple(filter(None, given)) for given in (key, label, entity))
    choice = Choice(keys=keys, event_time=event_time, labels=labels, entity=entities, train_to=train_to)
    asks = not yes and not json and can_ask()
    if asks and not force and job.exists():
        force = may_replace(job)
    ask = partial(ask_roles, given=choice) if asks else None
    written = write(data, name=name, job_path=job, force=force, choice=choice, ask=ask)
    if json:
        print_json(describe_job(written))
        return
    for line in written.lines():
        print_text(line)
    print_text(f"wrote {written.path}. Check it, then run: aepipe train {written.path}")


def inspect(
    path: Annotated[
        str, typer.Argument(help="Job file, Parquet file or folder, or a Delta or Iceberg table.", metavar="[PATH]")
    ] = str(options.HERE),
    contract: Annotated[
        Path | None, typer.Option(help="Data contract (ODCS 3, YAML or JSON) to check the table against.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="Table of the contract; default: its only one, or the name of the folder.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Print the partitions of a table and the inferred kind of each column, with the reason.

    With --contract, also print what breaks the contract, and exit with code 1 if anything does.
    Example: [bold]aepipe inspect warehouse/transactions --contract transactions.odcs.yaml[/bold]
    """
    from aepipe.jobs.inspect import inspect as look

    seen = look(path, contract=contract, table=table)
    if json:
        print_json(seen)
    else:
        rows = [(c.name, c.type, c.kind, seen.missing.get(c.name, ""), c.why) for c in seen.columns]
        print_table(f"{len(seen.columns)} columns", ("column", "type", "kind", "missing", "why"), rows)
        parts = [(part.partition, part.files, part.rows, part.bytes) for part in seen.partitions]
        print_table(f"{len(parts)} partitions", ("partition", "files", "rows", "bytes"), parts)
        for line in seen.notes:
            print_text(line)
        for fault in seen.contract_faults or ():
            print_text(f"contract: {fault}", err=True)
        if contract is not None and not seen.contract_faults:
            print_text(f"the table fulfils {contract}")
    if seen.contract_faults:
        raise typer.Exit(1)


def contract(
    job: options.JobPath = options.HERE,
    model: options.ModelName = "champion",
    source: Annotated[
        bool, typer.Option("--source", help="Describe the source that the model needs instead of the outputs.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="File to write; default: print the contract.")] = None,
    json: options.Json = False,
) -> None:
    """Write an Open Data Contract (ODCS 3, YAML) of scores, features and samples, or of the source.

    Example: [bold]aepipe contract data/cells/job.toml --output cells.odcs.yaml[/bold]
    """
    from aepipe.jobs.contract.write import contract as describe

    result = describe(job, model=model, of_source=source, output=output)
    if json:
        print_json(result)
    else:
        typer.echo(result.text.rstrip("\n") if result.path is None else f"contract in {result.path}")


COMMANDS = (init, convert, inspect, contract)
