"""The walks of `aepipe sample`: which of them is asked for, and what is printed of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from aepipe.cli.console import print_json, print_table
from aepipe.errors import JobInvalid


class Asked(NamedTuple):
    """The options of `aepipe sample` that ask for a walk, as they were typed."""

    interpolate: tuple[str, str] | None = None
    shift: str | None = None
    traverse: str | None = None
    key: Sequence[str] = ()
    amount: float | None = None
    dimensions: str | None = None
    steps: int | None = None
    how: str | None = None

    @property
    def walk(self) -> str | None:
        """The walk that is asked for, if any. Raises JobInvalid where it is two, or where options go with another."""
        walks = [name for name in _GOES_WITH if getattr(self, name) is not None]
        if len(walks) > 1:
            raise JobInvalid("aepipe sample", [f"takes one of --{' and --'.join(walks)} at a time"])
        allowed = {"interpolate", "shift", "traverse"}.union(*(_GOES_WITH[name] for name in walks))
        stray = [name for name in self._fields if name not in allowed and getattr(self, name) not in (None, ())]
        if stray:
            with_what = " or ".join(f"--{name}" for name, options in _GOES_WITH.items() if stray[0] in options)
            raise JobInvalid("aepipe sample", [f"--{stray[0]} goes with {with_what}"])
        return walks[0] if walks else None


def refuse_draws(walk: str, drawn: Mapping[str, object]) -> None:
    """Raises JobInvalid where an option of draws from the prior is given beside a walk, which draws nothing."""
    stray = [name for name, value in drawn.items() if value is not None]
    if stray:
        raise JobInvalid("aepipe sample", [f"--{stray[0]} does not go with --{walk}, which draws nothing"])


_GOES_WITH = {"interpolate": {"steps", "how"}, "shift": {"key", "amount"}, "traverse": {"dimensions", "steps"}}


def run_walk(job: Path, asked: Asked, *, partition: str | None, model: str, json: bool) -> None:
    """Write the walk that is asked for and print where it is and what changes along it."""
    from aepipe.jobs.sample import traverse as walk

    if asked.interpolate is not None:
        result = walk.interpolate(
            job,
            *asked.interpolate,
            steps=8 if asked.steps is None else asked.steps,
            how=asked.how or "slerp",
            partition=partition,
            model=model,
        )
    elif asked.shift is not None:
        amount = 1.0 if asked.amount is None else asked.amount
        result = walk.shift(job, asked.shift, asked.key, amount=amount, partition=partition, model=model)
    else:
        names = None if asked.dimensions is None else [name.strip() for name in asked.dimensions.split(",")]
        steps = 7 if asked.steps is None else asked.steps
        key = asked.traverse or ""
        result = walk.traverse(job, key, dimensions=names, steps=steps, partition=partition, model=model)
    if json:
        print_json(result)
        return
    typer.echo(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")
    if result.changes:
        header = ("walk", "column", "from", "to", "standard deviations")
        print_table("what changes most", header, [(c.strip, c.column, c.first, c.last, c.size) for c in result.changes])
