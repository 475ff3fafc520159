"""Sampling flow: `python flows/synthesize.py --job data/digits/job.toml --rows 1000`."""

from pydantic import Field

from aepipe.config.text import TokenChoice
from aepipe.jobs.sample.nightly_set import SampleResult
from aepipe.jobs.sample.sample import sample as sample_job
from flows.engine import Unfinished, pipeline, run_log, step
from flows.options import Options
from flows.terminal import run


class SynthesizeOptions(Options):
    """Write synthetic rows with the columns and types of the source."""

    rows: int | None = Field(None, ge=0, description="number of rows; default: the job's")
    seed: int | None = Field(None, ge=0, description="default: derived from the job's seed and the partition")
    where: str | None = Field(None, description="condition on the rows, such as kind = 'boot'")
    shares: dict[str, dict[str, float]] | None = Field(
        None, description="shares of the values of one column; default: the job's"
    )
    temperature: float | None = Field(None, gt=0, description="of the tokens of texts; default: the job's")
    top_k: int | None = Field(None, ge=1, description="number of likeliest tokens; default: the job's")
    top_p: float | None = Field(None, gt=0, le=1, description="probability of the likeliest tokens; default: the job's")
    partition: str | None = Field(None, description="partition to write; default: dt=<today>")
    name: str | None = Field(None, description="name of the set, in place of a partition; never replaced by a night")
    model: str = Field("champion", description="alias or version of the job's model")


@pipeline
def synthesize(options: SynthesizeOptions) -> SampleResult:
    """Write synthetic rows with the columns and types of the source; fail if they are quarantined."""
    result = sample(options)
    check_set(result, result)
    return result


@step
def sample(options: SynthesizeOptions) -> SampleResult:
    """Write one partition of synthetic rows, unless it exists; quarantine rows that fail a quality check."""
    result = sample_job(
        options.job,
        rows=options.rows,
        seed=options.seed,
        where=options.where,
        shares=options.shares,
        partition=options.partition,
        name=options.name,
        model=options.model,
        tokens=TokenChoice(options.temperature, options.top_k, options.top_p),
    )
    if result.missed:
        run_log().error("%s", result.fault)
    return result


def check_set(result: SampleResult | None, done: object) -> None:
    """Raise Unfinished, with the result of the run, if the rows failed a quality check."""
    if result is not None and result.missed:
        raise Unfinished(result.fault, done)


def show_sample(result: SampleResult) -> None:
    """Print a summary to the terminal."""
    if result.missed:
        print(result.fault)
        return
    print(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")


if __name__ == "__main__":
    run(synthesize, SynthesizeOptions, show_sample)
