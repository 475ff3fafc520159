"""Synthetic rows: `python flows/synthesize.py --job data/digits/job.toml --rows 1000`."""

from pydantic import Field

from aepipe.jobs.sample import SampleResult
from aepipe.jobs.sample import sample as sample_job
from flows.engine import pipeline, step
from flows.options import Options
from flows.terminal import run


class SynthesizeOptions(Options):
    """Write synthetic rows, with the source's own columns and types."""

    rows: int | None = Field(None, ge=0, description="how many; by default the job's")
    seed: int | None = Field(None, ge=0, description="by default made of the job's and the partition's name")
    where: str | None = Field(None, description="only at conditions for which this holds, such as kind = 'boot'")
    partition: str | None = Field(None, description="where to write; by default dt=<today>")
    model: str = Field("champion", description="an alias or a version of the job's model")


@pipeline
def synthesize(options: SynthesizeOptions) -> SampleResult:
    """Write synthetic rows, with the source's own columns and types."""
    return sample(options)


@step
def sample(options: SynthesizeOptions) -> SampleResult:
    """One partition of synthetic rows; asked for again, it is already there."""
    return sample_job(
        options.job,
        rows=options.rows,
        seed=options.seed,
        where=options.where,
        partition=options.partition,
        model=options.model,
    )


def show_sample(result: SampleResult) -> None:
    """For a terminal."""
    print(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")


if __name__ == "__main__":
    run(synthesize, SynthesizeOptions, show_sample)
