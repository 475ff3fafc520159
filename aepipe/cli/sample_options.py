"""The options of `aepipe sample`: of rows that are drawn, of walks, of rows that are filled."""

from typing import Annotated

import typer

Rows = Annotated[int | None, typer.Option(min=0, help="How many; by default the job's.")]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=2**63 - 1, help="The same seed, the same rows; by default each partition has its own."),
]
Prior = Annotated[str | None, typer.Option(help="mixture or normal, in place of the job's.")]
Where = Annotated[str | None, typer.Option(help="Only rows for which this holds, in place of the job's.")]
Shares = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN=VALUE:SHARE", help="The share of a value, such as income=>50K:0.5; may be repeated."),
]
Partition = Annotated[str | None, typer.Option(help="Where to write; by default dt=<today>.")]
Fill = Annotated[
    str | None, typer.Option(metavar="PARTITION", help="Instead, its rows with their missing cells drawn.")
]
Interpolate = Annotated[
    tuple[str, str] | None, typer.Option(metavar="KEY KEY", help="Instead, the rows between the rows of two keys.")
]
Shift = Annotated[
    str | None, typer.Option(metavar="WHERE", help="Instead, rows moved towards those for which this holds.")
]
Traverse = Annotated[str | None, typer.Option(metavar="KEY", help="Instead, a row with one latent at a time moved.")]
Keys = Annotated[list[str] | None, typer.Option("--key", help="A row to shift; may be repeated.")]
Amount = Annotated[float | None, typer.Option(help="How far rows are shifted; by default 1.")]
Dimensions = Annotated[str | None, typer.Option(help="Latents to traverse, as z_000,z_003; by default all.")]
Steps = Annotated[int | None, typer.Option(min=2, help="Of each walk; by default 8, of a traversal 7.")]
How = Annotated[str | None, typer.Option(help="Interpolate by slerp, along the arc, or by lerp, straight.")]
