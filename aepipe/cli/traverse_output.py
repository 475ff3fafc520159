"""Run the walk that `aepipe traverse` asks for and print the columns that change most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aepipe.cli.console import print_json, print_table, print_text
from aepipe.errors import JobInvalid, OptionInvalid

_GOES_WITH = {"interpolate": {"steps", "how"}, "shift": {"key", "amount"}, "traverse": {"dimensions", "steps"}}


@dataclass(frozen=True, slots=True)
class WalkRequest:
    """Options of a walk through the latents, as typed; None or empty if not given."""

    interpolate: tuple[str, str] | None = None
    shift: str | None = None
    traverse: str | None = None
    key: Sequence[str] = ()
    amount: float | None = None
    dimensions: str | None = None
    steps: int | None = None
    how: str | None = None

    def walk(self, *, command: str = "aepipe sample") -> str | None:
        """Return the kind of walk, None if there is none.

        Raises:
            JobInvalid: Two walks are requested, or an option belongs to another walk.
        """
        walks = [name for name in _GOES_WITH if getattr(self, name) is not None]
        spelling = {name: f"--{name}" for name in _GOES_WITH}
        if command == "aepipe traverse":  # which traverses the row of its one key
            spelling["traverse"] = "--key alone"
        if len(walks) > 1:
            raise JobInvalid(command, [f"takes one of --{' and --'.join(walks)} at a time"])
        allowed = {"interpolate", "shift", "traverse"}.union(*(_GOES_WITH[name] for name in walks))
        options = [name for name in self.__slots__ if name not in allowed]
        stray = [name for name in options if getattr(self, name) not in (None, ())]
        if stray:
            with_what = " or ".join(spelling[name] for name, allowed in _GOES_WITH.items() if stray[0] in allowed)
            raise JobInvalid(command, [f"--{stray[0]} goes with {with_what}"])
        return walks[0] if walks else None


def parse_walk(request: WalkRequest) -> WalkRequest:
    """Resolve the options of `aepipe traverse`: without --interpolate and --shift, its one key is traversed.

    Raises:
        JobInvalid: The options do not go together, or there is not exactly one row to traverse.
    """
    if request.interpolate is None and request.shift is None:
        if len(request.key) != 1:
            raise JobInvalid(
                "aepipe traverse",
                [f"expected one --key to traverse, got {len(request.key)}; or give --interpolate or --shift"],
            )
        request = WalkRequest(
            traverse=request.key[0],
            amount=request.amount,
            dimensions=request.dimensions,
            steps=request.steps,
            how=request.how,
        )
    request.walk(command="aepipe traverse")
    return request


def refuse_options(former: str, given: Mapping[str, object], *, except_for: Sequence[str], why: str) -> None:
    """Refuse options of `aepipe sample` that do not go with a former one, `--fill` or a walk.

    Raises:
        JobInvalid: One of them is given.
    """
    stray = [name for name, value in given.items() if value is not None and name not in except_for]
    if stray:
        raise JobInvalid("aepipe sample", [f"--{stray[0]} does not go with --{former}, which {why}"])


def run_walk(job: Path, request: WalkRequest, *, partition: str | None, model: str, json: bool) -> None:
    """Write a walk; print where it is and what changes along it."""
    from aepipe.jobs.sample import traverse as walk

    if request.interpolate is not None:
        result = walk.interpolate(
            job,
            *request.interpolate,
            steps=8 if request.steps is None else request.steps,
            how=request.how or "slerp",
            partition=partition,
            model=model,
        )
    elif request.shift is not None:
        if not request.key:
            raise OptionInvalid("--shift has no rows: expected at least one --key. Name the rows to shift.")
        amount = 1.0 if request.amount is None else request.amount
        result = walk.shift(job, request.shift, request.key, amount=amount, partition=partition, model=model)
    else:
        names = None if request.dimensions is None else [name.strip() for name in request.dimensions.split(",")]
        steps = 7 if request.steps is None else request.steps
        key = request.traverse or ""
        result = walk.traverse(job, key, dimensions=names, steps=steps, partition=partition, model=model)
    if json:
        print_json(result)
        return
    print_text(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")
    if result.changes:
        header = ("walk", "column", "from", "to", "standard deviations")
        lines = [(change.strip, change.column, change.first, change.last, change.size) for change in result.changes]
        print_table("largest changes", header, lines)
