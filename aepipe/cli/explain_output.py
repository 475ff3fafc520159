"""What `aepipe explain` prints: the row beside what was expected of it, reasons first."""

from collections.abc import Sequence

import typer

from aepipe.cli.console import print_table
from aepipe.jobs.explain import ColumnLine, Explanation, Heat
from aepipe.report import formatting as wording

MOST_LINES = 40
_SHADES = " .:-=+*#%@"
_HOTTEST = 10.0  # z; beyond it one region looks like another


def show(found: Explanation) -> None:
    """Score, p-value and threshold, then what they come from."""
    typer.echo(_verdict(found))
    if found.heat is not None:
        for line in heat_lines(found.heat):
            typer.echo(line)
    shown = [line for at, line in enumerate(found.columns) if at < MOST_LINES]
    if found.kind == "table":
        header = ("reason", "column", "read", "expected", "z")
        print_table("", header, [(_rank(line), line.name, line.read, line.expected, _z(line)) for line in shown])
    elif shown:
        what = "region" if found.kind == "image" else "steps"
        print_table("", ("reason", what, "z"), [(_rank(line), line.name, _z(line)) for line in shown if line.rank])
    if len(found.columns) > len(shown) and found.kind == "table":
        typer.echo(f"and {len(found.columns) - len(shown):,} columns that are less to blame")
    if found.steps:
        print_table(
            "", ("step", "read", "expected"), [(s.step, _values(s.read), _values(s.expected)) for s in found.steps]
        )
    if found.picture is not None:
        typer.echo(f"wrote {found.picture}")


def heat_lines(heat: Heat) -> list[str]:
    """The regions as characters, two a region: the darker, the further above the usual, up to a z of 10."""
    return [
        "".join(2 * _SHADES[min(len(_SHADES) - 1, int(max(0.0, z) / _HOTTEST * len(_SHADES)))] for z in line)
        for line in heat.z
    ]


def _verdict(found: Explanation) -> str:
    if found.score is None:
        return f"{found.row}: no score, {found.invalid_reason} ({found.model_version})"
    flag = "flagged" if found.is_anomaly else "not flagged"
    return (
        f"{found.row}: score {wording.number(found.score)}, p-value {wording.number(found.p_value)}, {flag}; rows "
        f"above {wording.number(found.threshold)} are, at alpha {found.alpha:g} ({found.model_version})"
    )


def _rank(line: ColumnLine) -> object:
    return "" if line.rank is None else line.rank


def _z(line: ColumnLine) -> str:
    return wording.number(line.z)


def _values(values: Sequence[float | None]) -> str:
    return ", ".join(wording.number(value) for value in values)
