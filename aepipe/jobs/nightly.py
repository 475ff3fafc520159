"""Nightly run without a scheduler: train if needed, score new partitions, sample, report."""

from pathlib import Path

from aepipe.bundles.registry import Registry
from aepipe.config.job import Device, read_job
from aepipe.errors import DataUnreadable
from aepipe.jobs.alerts.alert import AlertResult, alert_night
from aepipe.jobs.drift.monitor import DriftResult, measure_if_possible
from aepipe.jobs.forget import ForgetResult, forget_expired
from aepipe.jobs.lineage.emit import parent_run
from aepipe.jobs.publish.publish import PublishResult, publish_job
from aepipe.jobs.report.current_page import WrittenPage, report_if_changed
from aepipe.jobs.results import Result
from aepipe.jobs.sample.nightly_set import SampleResult, sample_nightly
from aepipe.jobs.score import ScoreResult, score
from aepipe.jobs.scored_manifests import has_scores
from aepipe.jobs.train.train import TrainResult, train
from aepipe.progress import Progress, of_stage
from aepipe.storage import Outputs
from aepipe.tables.open_files import files_opened_once


class NightResult(Result):
    """Results of the steps.

    `train` is None if there was a champion, `sample` if the job asks for no rows or tonight has some, `report` if no
    partition has scores, `drift` if it was not measured, `challenger` if drift led to no training.
    """

    train: TrainResult | None
    score: ScoreResult
    sample: SampleResult | None
    report: WrittenPage | None
    faults: tuple[str, ...] = ()
    """Steps that could not be done, one sentence each."""
    removed: ForgetResult | None = None
    """Partitions and bundles removed by `[output] keep`; None if the job keeps all."""
    published: PublishResult | None = None
    """Rows published to other tables; None if the job has no [[publish]] section."""
    drift: DriftResult | None = None
    challenger: TrainResult | None = None
    alert: AlertResult | None = None
    """Message about flagged rows; None if the job has no channel, or nothing new was scored."""

    @property
    def failed(self) -> bool:
        """True if a partition or a step failed, synthetic rows failed a quality check, or an alert was not sent."""
        is_unsent = self.alert is not None and bool(self.alert.failed)
        is_missed = self.sample is not None and self.sample.missed
        return bool(self.score.failed or self.faults or is_missed or is_unsent)

    def lines(self) -> list[str]:
        """Return the lines of a terminal summary."""
        lines = [f"trained   {self.train.bundle}"] if self.train is not None and self.train.created else []
        written = [night for night in self.score.nights if night.status == "written"]
        flagged = sum(night.flagged for night in written)
        lines.append(
            f"scored    {len(written)} new partitions, {sum(n.rows for n in written):,} rows, {flagged:,} flagged"
        )
        if self.score.outcome == "partial":
            lines.append(f"PARTIAL   {self.score.sentence}")
        lines += [f"FAILED    {night.partition}: {night.reason}" for night in self.score.nights if night.reason]
        lines += [f"FAILED    {fault}" for fault in self.faults]
        lines += [f"note      {note}" for note in self.score.notes]
        if self.removed is not None:
            lines += [f"expired   {line}" for line in self.removed.lines()]
        lines += [f"drift     {line}" for line in (self.drift.lines if self.drift is not None else ())]
        if self.challenger is not None and self.challenger.created:
            lines.append(f"trained   {self.challenger.bundle} after drift, as {self.challenger.alias}")
        if self.sample is not None and self.sample.missed:
            lines.append(f"FAILED    {self.sample.fault}")
        elif self.sample is not None:
            lines.append(f"sampled   {self.sample.rows:,} rows in {self.sample.path}")
        lines += [] if self.published is None else self.published.lines()
        lines += [] if self.alert is None else [f"alert     {self.alert.sentence}"]
        return [*lines, f"report    {self.report.path}"] if self.report is not None else lines


@files_opened_once()
def night(
    job_path: str | Path, *, device: Device | None = None, force: bool = False, progress: Progress | None = None
) -> NightResult:
    """Run all steps of a night; an existing champion is never retrained automatically.

    After scoring, what `[output] keep` no longer keeps is removed. With `force`, partitions are scored again although
    they are done.
    """
    with parent_run(read_job(job_path), "night"):
        return _night(job_path, device=device, force=force, progress=progress)


def _night(job_path: str | Path, *, device: Device | None, force: bool, progress: Progress | None) -> NightResult:
    job = read_job(job_path)
    trained = None
    if not Registry(job.bundle_path).has_champion:
        trained = train(job_path, device=device, progress=progress)
    scored = score(job_path, device=device, force=force, progress=of_stage(progress, "score"))
    removed = forget_expired(job)
    drift = measure_if_possible(job, partitions=[n.partition for n in scored.nights if n.status == "written"])
    faults: list[str] = []
    drawn = None
    if job.samples.rows and job.series is None:
        try:
            drawn = sample_nightly(job_path, progress=progress)
        except DataUnreadable as error:  # training rows are gone or damaged
            faults.append(str(error))
    is_scored = has_scores(Outputs(job.out_path), scored.model_version)
    page = report_if_changed(job_path, progress=progress) if is_scored else None
    published = publish_job(job, progress=of_stage(progress, "publish")) if job.publish else None
    notice = alert_night(job, scored.model_version, scored.nights)
    challenger = None
    if drift is not None and drift.needs_challenger(job.drift.retrain):
        challenger = train(job_path, device=device, progress=progress)
    return NightResult(
        train=trained,
        score=scored,
        sample=drawn,
        report=page,
        removed=removed,
        published=published,
        drift=drift,
        challenger=challenger,
        alert=notice,
        faults=tuple(faults),
    )
