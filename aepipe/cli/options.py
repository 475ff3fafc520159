"""Arguments and options of several commands, and options of `aepipe sample`, `impute` and `traverse`."""

from pathlib import Path
from typing import Annotated

import typer

from aepipe.config.device import Device

JobPath = Annotated[Path, typer.Argument(help="Job file, or the folder that holds job.toml.")]
JobArgument = Annotated[Path, typer.Argument(metavar="JOB", help="Job file, or the folder that holds job.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
DeviceOption = Annotated[Device | None, typer.Option(help="Device to run on; default: the job's.")]
ModelName = Annotated[str, typer.Option("--model", help="Alias or version of the job's model.")]
HERE = Path("job.toml")

Rows = Annotated[int | None, typer.Option(help="Number of rows, at least 1; default: the job's.")]
SetName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the set, written to samples/NAME; `run` never replaces it.")
]
Png = Annotated[Path | None, typer.Option(metavar="DIR", help="Also write each image to DIR as a PNG file.")]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0, max=2**63 - 1, help="Random seed, for reproducible values; default: derived from the partition's name."
    ),
]
Prior = Annotated[str | None, typer.Option(help="Prior of the latents, mixture or normal; default: the job's.")]
Where = Annotated[str | None, typer.Option(help="Condition that every row must satisfy; default: the job's.")]
Shares = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=VALUE:SHARE",
        help="Share of rows with a value, such as income=>50K:0.5, or 'income is null:0.1'; repeatable.",
    ),
]
Entity = Annotated[
    list[str] | None,
    typer.Option(
        "--entity",
        metavar="NAME",
        help="Series job: entity to draw, a,b for several columns; repeatable; default: all that are long enough.",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Series job: time of the first step; default: the first one after training."),
]
Length = Annotated[
    str | None,
    typer.Option(
        metavar="STEPS", help="Series job: steps of each series, or a duration such as 7d; default: by --rows."
    ),
]
Windows = Annotated[
    int | None, typer.Option(min=1, help="Series job: number of single windows to draw in place of whole series.")
]
Temperature = Annotated[
    float | None, typer.Option(help="Divisor of the logits of the tokens of texts; default: the job's, else 1.")
]
TopK = Annotated[
    int | None, typer.Option(help="Draw each token from this number of likeliest ones; default: the job's.")
]
TopP = Annotated[
    float | None,
    typer.Option(help="Draw each token from the fewest ones of this probability; default: the job's."),
]
Partition = Annotated[str | None, typer.Option(help="Partition to write; default: dt=<today>.")]
WalkPartition = Annotated[str | None, typer.Option("--partition", help="Partition to write; default: the kind.")]
Interpolate = Annotated[
    tuple[str, str] | None, typer.Option(metavar="KEY KEY", help="Interpolate between the rows of two keys.")
]
Shift = Annotated[
    str | None,
    typer.Option(metavar="WHERE", help="Shift the rows of --key towards rows that satisfy this condition."),
]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="KEY", help="Row to traverse or to shift, a,b for several key columns; repeatable."),
]
Amount = Annotated[float | None, typer.Option(help="Multiple of the attribute vector to shift by; default: 1.")]
Dimensions = Annotated[str | None, typer.Option(help="Latents to traverse, such as z_000,z_003; default: all.")]
Steps = Annotated[int | None, typer.Option(min=2, help="Rows per path; default: 8 to interpolate, 7 to traverse.")]
How = Annotated[
    str | None, typer.Option(help="Interpolation, slerp (along the arc) or lerp (straight); default: slerp.")
]

# The former spellings in `aepipe sample`: they keep working, hidden from help.
OldFill = Annotated[str | None, typer.Option("--fill", metavar="PARTITION", hidden=True)]
OldInterpolate = Annotated[tuple[str, str] | None, typer.Option("--interpolate", metavar="KEY KEY", hidden=True)]
OldShift = Annotated[str | None, typer.Option("--shift", metavar="WHERE", hidden=True)]
OldTraverse = Annotated[str | None, typer.Option("--traverse", metavar="KEY", hidden=True)]
OldKeys = Annotated[list[str] | None, typer.Option("--key", hidden=True)]
OldAmount = Annotated[float | None, typer.Option("--amount", hidden=True)]
OldDimensions = Annotated[str | None, typer.Option("--dimensions", hidden=True)]
OldSteps = Annotated[int | None, typer.Option("--steps", min=2, hidden=True)]
OldHow = Annotated[str | None, typer.Option("--how", hidden=True)]
