"""Synthetic rows: `python flows/synthesize.py --job data/digits/job.toml --rows 1000`."""

from pydantic import Field

from aepipe.jobs.sample.sample import SampleResult
from aepipe.jobs.sample.sample import sample as sample_job
from flows.engine import Unfinished, pipeline, run_log, step
from flows.options import Options
from flows.terminal import run


class SynthesizeOptions(Options):
    """Write synthetic rows, with the source's own columns and types."""

    rows: int | None = Field(None, ge=0, description="how many; by default the job's")
    seed: int | None = Field(None, ge=0, description="by default made of the job's and the partition's name")
    where: str | None = Field(None, description="only at conditions for which this holds, such as kind = 'boot'")
    shares: dict[str, dict[str, float]] | None = Field(
        None, description="of the values of one column; by default the job's"
    )
    partition: str | None = Field(None, description="where to write; by default dt=<today>")
    model: str = Field("champion", description="an alias or a version of the job's model")


@pipeline
def synthesize(options: SynthesizeOptions) -> SampleResult:
    """Write synthetic rows, with the source's own columns and types. Fails where they are quarantined."""
    result = sample(options)
    check_set(result, result)
    return result


@step
def sample(options: SynthesizeOptions) -> SampleResult:
    """One partition of synthetic rows; asked for again, it is already there. Those that miss a bar are quarantined."""
    result = sample_job(
        options.job,
        rows=options.rows,
        seed=options.seed,
        where=options.where,
        shares=options.shares,
        partition=options.partition,
        model=options.model,
    )
    if result.missed:
        run_log().error("%s", result.fault)
    return result


def check_set(result: SampleResult | None, done: object) -> None:
    """Raise Unfinished, with what was done, if the rows missed a bar."""
    if result is not None and result.missed:
        raise Unfinished(result.fault, done)


def show_sample(result: SampleResult) -> None:
    """For a terminal."""
    if result.missed:
        print(result.fault)
        return
    print(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")


if __name__ == "__main__":
    run(synthesize, SynthesizeOptions, show_sample)
