"""Nightly flow: `python flows/nightly.py --job data/digits/job.toml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from aepipe.bundles.aliases import CHALLENGER, CHAMPION
from aepipe.bundles.registry import Registry
from aepipe.cli.console import progress_bar
from aepipe.config.job import Job, read_job
from aepipe.jobs.alerts.alert import AlertResult, alert_night
from aepipe.jobs.drift.monitor import DriftResult, measure_if_possible
from aepipe.jobs.forget import forget_expired
from aepipe.jobs.lineage.emit import parent_run
from aepipe.jobs.publish.publish import PublishResult, publish
from aepipe.jobs.sample.nightly_set import SampleResult, nightly_partition
from aepipe.jobs.top_alarms import top_alarms
from aepipe.storage import PartitionResult
from flows.artifacts import publish_report, publish_summary
from flows.engine import Unfinished, outcome, pipeline, run_log, step
from flows.night_summary import night_summary
from flows.prefect_api import emit_event
from flows.score import ScoreOptions, ScoreOutcome, score_partitions, show_nights
from flows.synthesize import SynthesizeOptions, check_set, sample, show_sample
from flows.terminal import run
from flows.train import fit, show_training

if TYPE_CHECKING:
    from aepipe.jobs.report.compare import CompareResult
    from aepipe.jobs.report.current_page import WrittenPage
    from aepipe.jobs.train.train import TrainResult


class NightOptions(ScoreOptions):
    """Train if there is no model, score new partitions, sample, and write the report."""

    samples: bool = Field(True, description="also write the number of synthetic rows the job sets")


class NightlyResult(NamedTuple):
    """Results of the steps; None for a step with nothing to do."""

    train: "TrainResult | None"
    nights: tuple[PartitionResult, ...]
    sample: SampleResult | None
    report: "WrittenPage | None"
    drift: DriftResult | None = None
    challenger: "TrainResult | None" = None
    comparison: "CompareResult | None" = None


@pipeline
def nightly(options: NightOptions) -> NightlyResult:
    """Train if there is no model, score new partitions, sample, and write the report.

    A partition that cannot be scored, or synthetic rows that fail a quality check, do not stop the flow; it ends as
    Failed once the rest is done.
    """
    job = read_job(options.job)
    with parent_run(job, "night"):
        return _run_steps(options, job)


def _run_steps(options: NightOptions, job: Job) -> NightlyResult:
    # an existing champion is never retrained automatically
    needs_training = options.model == CHAMPION and not Registry(job.bundle_path).has_champion
    trained = fit(options.job, options.device) if needs_training else None
    scored = score_partitions(options)
    remove_expired(options.job)
    request = SynthesizeOptions(job=options.job, model=options.model, partition=nightly_partition(job))
    drift = watch_drift(job, options.model, scored.nights)
    drawn = sample(request) if options.samples and job.samples.rows else None
    if job.publish:
        publish_tables(options.job)
    page = _report(options, job.name, scored)
    is_due = drift is not None and drift.needs_challenger(job.drift.retrain)
    challenger = fit(options.job, options.device) if is_due else None
    night = NightlyResult(
        train=trained,
        nights=scored.nights,
        sample=drawn,
        report=page,
        drift=drift,
        challenger=challenger,
        comparison=None if challenger is None else _comparison(job),
    )
    notice = send_alert(options.job, options.model, scored)
    summary = night_summary(
        job.name,
        scored.nights,
        model=scored.model,
        faults=scored.faults,
        alarms=top_alarms([each for each in scored.nights if each.status == "written"], job.data.keys),
        drift=drift,
        alert=notice,
        report=None if page is None else page.path,
    )
    publish_summary(job.name, summary)
    scored.check(night)
    if notice is not None and notice.failed:
        raise Unfinished(f"the alert was not delivered: {notice.sentence}", night)
    check_set(drawn, night)
    return night


def watch_drift(job: Job, model: str, nights: Sequence[PartitionResult]) -> DriftResult | None:
    """Measure the drift of the new partitions, and emit the event `aepipe.drift` for each one with an alarm."""
    written = [night.partition for night in nights if night.status == "written"]
    found = measure_if_possible(job, model=model, partitions=written)
    for record in found.partitions if found is not None else ():
        if record.alarms:
            emit_event(
                event="aepipe.drift",
                resource={"prefect.resource.id": f"aepipe.job.{job.name}", "prefect.resource.name": job.name},
                payload=record.model_copy(update={"streams": record.alarms}).model_dump(mode="json"),
            )
    return found


@step
def send_alert(job: Path, model: str, scored: ScoreOutcome) -> AlertResult | None:
    """Send the message about the partitions of this run to the channels of `[alerts]`."""
    opened = read_job(job)
    version = Registry(opened.bundle_path).resolve(model).name
    found = alert_night(opened, f"{opened.name}/{version}", scored.nights)
    if found is not None:
        run_log().info("alert: %s", found.sentence)
    return found


@step
def remove_expired(job: Path) -> None:
    """Remove what `[output] keep` no longer keeps."""
    removed = forget_expired(read_job(job))
    for line in removed.lines() if removed is not None else ():
        run_log().info("%s", line)


@step
def publish_tables(job: Path) -> PublishResult:
    """Publish committed outputs to the tables of `[[publish]]`."""
    published = publish(job)
    for line in published.lines():
        run_log().info("%s", line)
    return published


@step
def write_report(job: Path, model: str) -> "WrittenPage":
    """Write one HTML page about the model and the partitions scored with it, unless nothing on it has changed."""
    from aepipe.jobs.report.current_page import report_if_changed

    with progress_bar(quiet=False) as progress:
        return report_if_changed(job, model=model, progress=progress)


def _report(options: NightOptions, name: str, scored: ScoreOutcome) -> "WrittenPage | None":
    """Write and publish the report; None if nothing was scored, or if a partition failed and the report fails too."""
    if not scored.nights:
        return None
    answer = outcome(write_report(options.job, options.model, return_state=True))
    if not isinstance(answer, BaseException):
        publish_report(name, answer.path)
        return answer
    if not scored.faults:
        raise answer
    return None


@step
def write_comparison(job: Path) -> "CompareResult":
    """Write one HTML page that shows champion and challenger side by side."""
    from aepipe.jobs.report.compare import compare_report

    with progress_bar(quiet=False) as progress:
        return compare_report(job, CHAMPION, CHALLENGER, progress=progress)


def _comparison(job: Job) -> "CompareResult | None":
    """Write and publish the comparison; None if the challenger was promoted, or cannot be compared: a night goes on."""
    named = Registry(job.bundle_path).aliases()
    if named.get(CHALLENGER) in (None, named.get(CHAMPION)):
        return None
    answer = outcome(write_comparison(job.source, return_state=True))
    if isinstance(answer, BaseException):
        run_log().warning("champion and challenger were not compared: %s", answer)
        return None
    publish_report(job.name, answer.path, what="comparison")
    return answer


def show_night(night: NightlyResult) -> None:
    """Print a summary to the terminal."""
    if night.train is not None:
        show_training(night.train)
    show_nights(night.nights)
    for line in night.drift.lines if night.drift is not None else ():
        print(line)
    if night.sample is not None:
        show_sample(night.sample)
    if night.report is not None:
        print(f"report in {night.report.path}")
    if night.comparison is not None:
        print(f"champion and challenger in {night.comparison.path}")


if __name__ == "__main__":
    run(nightly, NightOptions, show_night)
