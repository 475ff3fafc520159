"""Scoring flow: `python flows/score.py --job data/digits/job.toml`."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from aepipe.bundles.registry import Registry
from aepipe.cli.console import print_table
from aepipe.config.job import Device, read_job
from aepipe.errors import AepipeError, Busy
from aepipe.jobs.score import ScoreResult, chosen_partitions, keep_earlier
from aepipe.jobs.score import score as score_job
from aepipe.storage import PartitionResult
from flows.artifacts import publish_night
from flows.engine import Unfinished, outcome, pipeline, run_log, step
from flows.options import Options
from flows.run_labels import label_run
from flows.terminal import run

MAX_TASKS = 200  # Prefect keeps a record of each: beyond that, a task scores a chunk of partitions
NAMED_FAULTS = 5


class ScoreOptions(Options):
    """Write scores and features of each partition that has none."""

    partitions: tuple[str, ...] = Field((), description="default: the partitions that [score] of the job selects")
    model: str = Field("champion", description="alias or version of the job's model")
    as_of: bool = Field(False, description="read partitions of a Delta or Iceberg table as they were on their days")
    device: Device | None = Field(None, description="default: the job's")


class ScoreOutcome(NamedTuple):
    """Results of the partitions, and the reason per partition without new scores."""

    nights: tuple[PartitionResult, ...]
    faults: dict[str, str]
    model: str = ""
    """version that scored them; empty if nothing was to be scored"""

    @property
    def is_partial(self) -> bool:
        """True if some partitions have scores and others do not."""
        return bool(self.faults) and any(night.partition not in self.faults for night in self.nights)

    def check(self, done: object) -> None:
        """Raise Unfinished, with the result of the run, if a partition has no new scores."""
        if self.faults:
            raise Unfinished(describe_faults(self.faults), done, is_partial=self.is_partial)


@pipeline
def score(options: ScoreOptions) -> tuple[PartitionResult, ...]:
    """Write scores and features of each partition that has none, one task per partition."""
    scored = score_partitions(options)
    scored.check(scored.nights)
    return scored.nights


@step
def score_chunk(job: Path, names: Sequence[str], model: str, device: Device | None, as_of: bool = False) -> ScoreResult:
    """Score one partition or a chunk of them; raise Unfinished if one was quarantined and the others are written."""
    result = score_job(job, partitions=names, model=model, device=device, as_of=as_of)
    if result.failed:
        raise Unfinished(describe_faults(_reasons(result.nights)), result)
    return result


def score_partitions(options: ScoreOptions) -> ScoreOutcome:
    """Score the partitions one after another, in tasks of a flow; a partition that fails does not stop the others.

    Raises:
        AepipeError: an error that stops every partition, such as BundleNotFound.
    """
    # not in parallel: one partition uses every core
    job = read_job(options.job)
    names: Sequence[str] = options.partitions
    kept: tuple[PartitionResult, ...] = ()
    if not names:
        due, kept = keep_earlier(job, chosen_partitions(job, None))
        names = tuple(partition.name for partition in due)
    nights: list[PartitionResult] = [*kept]
    faults: dict[str, str] = {}
    for chunk in chunks(names):
        answer = _score(options, chunk)
        if isinstance(answer, ScoreResult):
            nights += answer.nights
            faults |= _reasons(answer.nights)
        else:
            faults |= dict.fromkeys(chunk, f"{type(answer).__name__}: {answer}")
    publish_night(job.name, nights, faults)
    version = Registry(job.bundle_path).resolve(options.model).name
    label_run(job.name, model=version, partitions=[night.partition for night in nights if night.status == "written"])
    return ScoreOutcome(tuple(nights), faults, version)


def chunks(names: Sequence[str], at_most: int = MAX_TASKS) -> Iterator[Sequence[str]]:
    """Split the names, in order, into at most `at_most` chunks of equal length.

    >>> list(chunks(["a", "b", "c"], at_most=2))
    [['a', 'b'], ['c']]
    """
    size = max(1, math.ceil(len(names) / at_most))
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _score(options: ScoreOptions, names: Sequence[str]) -> ScoreResult | Exception:
    """Run one task; return its result, or an error that concerns these partitions only."""
    task = score_chunk.with_options(task_run_name=f"score {' to '.join(dict.fromkeys((names[0], names[-1])))}")
    answer = outcome(task(options.job, names, options.model, options.device, options.as_of, return_state=True))
    if isinstance(answer, Unfinished) and isinstance(answer.done, ScoreResult):
        answer = answer.done
    if isinstance(answer, ScoreResult):
        for night in answer.nights:
            run_log().info("%s: %s, %d rows, %d flagged", night.partition, night.status, night.rows, night.flagged)
        return answer
    if not isinstance(answer, Exception) or (isinstance(answer, AepipeError) and not isinstance(answer, Busy)):
        raise answer
    run_log().error("%s: %s", ", ".join(names), answer, exc_info=answer)
    return answer


def _reasons(nights: Sequence[PartitionResult]) -> dict[str, str]:
    return {night.partition: night.reason for night in nights if night.status == "quarantined"}


def describe_faults(faults: dict[str, str]) -> str:
    """Summarise the faults in one line for the page of a run.

    >>> describe_faults({"dt=2026-01-05": "page 3 is corrupt"})
    '1 partition has no new scores: dt=2026-01-05: page 3 is corrupt'
    """
    named = [f"{name}: {reason}" for name, reason in list(faults.items())[:NAMED_FAULTS]]
    if len(faults) > NAMED_FAULTS:
        named.append(f"and {len(faults) - NAMED_FAULTS} more")
    return f"{len(faults)} partition{' has' if len(faults) == 1 else 's have'} no new scores: {'; '.join(named)}"


def show_nights(nights: Sequence[PartitionResult]) -> None:
    """Print a table of the partitions."""
    print_table("", ("partition", "status", "rows", "flagged", "invalid", "rows/s"), [night.row() for night in nights])


if __name__ == "__main__":
    run(score, ScoreOptions, show_nights)
