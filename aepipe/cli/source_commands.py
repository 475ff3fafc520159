"""Commands about tables: `aepipe inspect` and `aepipe contract`."""

from pathlib import Path
from typing import Annotated

import typer

from aepipe.cli import options
from aepipe.cli.console import print_json, print_table, print_text


def inspect(
    path: Annotated[Path, typer.Argument(help="Job file, or Parquet file or folder.")] = options.HERE,
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


COMMANDS = (inspect, contract)
