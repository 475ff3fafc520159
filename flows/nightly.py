"""The whole night: `python flows/nightly.py --job data/digits/job.toml`."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from aepipe.bundles.aliases import CHAMPION
from aepipe.bundles.registry import Registry
from aepipe.cli.console import progress_bar
from aepipe.config.job import Job, read_job
from aepipe.jobs.sample.sample import SampleResult
from aepipe.storage import PartitionResult
from flows.artifacts import publish_report
from flows.engine import outcome, pipeline, step
from flows.score import ScoredPartitions, ScoreOptions, score_partitions, show_nights
from flows.synthesize import SynthesizeOptions, check_set, sample, show_sample
from flows.terminal import run
from flows.train import fit, show_training

if TYPE_CHECKING:
    from aepipe.jobs.report.report import ReportResult
    from aepipe.jobs.train.train import TrainResult


class NightOptions(ScoreOptions):
    """Train if there is no model yet, score what is new, sample, and write the report."""

    samples: bool = Field(True, description="write synthetic rows too, as many as the job says")


class Night(NamedTuple):
    """What each step did; None where there was nothing to do."""

    train: "TrainResult | None"
    nights: tuple[PartitionResult, ...]
    sample: SampleResult | None
    report: "ReportResult | None"


@pipeline
def nightly(options: NightOptions) -> Night:
    """Train if there is no model yet, score what is new, sample, and write the report.

    A partition that cannot be scored, and synthetic rows that miss a bar, stop nothing; the run ends Failed once the
    rest is done.
    """
    job = read_job(options.job)
    trained = fit(options.job, options.device) if _needs_training(job, options.model) else None
    scored = score_partitions(options)
    drawn = sample(_sampling(options)) if options.samples and job.samples.rows else None
    page = _report(options, job.name, scored)
    night = Night(train=trained, nights=scored.nights, sample=drawn, report=page)
    scored.check(night)
    check_set(drawn, night)
    return night


@step
def write_report(job: Path, model: str) -> "ReportResult":
    """One HTML page about the model and the nights scored with it."""
    from aepipe.jobs.report.report import report as report_job  # torch again, for the yardsticks

    with progress_bar(quiet=False) as progress:
        return report_job(job, model=model, progress=progress)


def _report(options: NightOptions, name: str, scored: ScoredPartitions) -> "ReportResult | None":
    """None where nothing was scored, or where what spoils a partition spoils the page too."""
    if not scored.nights:
        return None
    answer = outcome(write_report(options.job, options.model, return_state=True))
    if not isinstance(answer, BaseException):
        publish_report(name, answer.path)
        return answer
    if not scored.faults:
        raise answer
    return None


def _needs_training(job: Job, model: str) -> bool:
    """Only where there is no champion at all: replacing one is a decision of its own."""
    return model == CHAMPION and not Registry(job.bundle_path).has_champion


def _sampling(options: NightOptions) -> SynthesizeOptions:
    return SynthesizeOptions(job=options.job, model=options.model)


def show_night(night: Night) -> None:
    """For a terminal."""
    if night.train is not None:
        show_training(night.train)
    show_nights(night.nights)
    if night.sample is not None:
        show_sample(night.sample)
    if night.report is not None:
        print(f"report in {night.report.path}")


if __name__ == "__main__":
    run(nightly, NightOptions, show_night)
