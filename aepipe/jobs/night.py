"""The night without a scheduler: train if needed, score what is new, sample, report."""

from collections.abc import Callable
from pathlib import Path

from aepipe.config import Device, read_job
from aepipe.jobs.report import ReportResult, report
from aepipe.jobs.result import Result
from aepipe.jobs.sample import SampleResult, sample
from aepipe.jobs.score import ScoreResult, score
from aepipe.jobs.train import TrainResult, train
from aepipe.registry import Registry

Progress = Callable[[str, float], None]


class NightResult(Result):
    """What each step did; `train` is None where there was a champion already, `sample` where no rows are wanted."""

    train: TrainResult | None
    score: ScoreResult
    sample: SampleResult | None
    report: ReportResult

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"trained   {self.train.bundle}"] if self.train is not None and self.train.created else []
        written = [night for night in self.score.nights if night.status == "written"]
        flagged = sum(night.flagged for night in written)
        lines.append(
            f"scored    {len(written)} new partitions, {sum(n.rows for n in written):,} rows, {flagged:,} flagged"
        )
        lines += [f"FAILED    {night.partition}: {night.reason}" for night in self.score.nights if night.reason]
        if self.sample is not None:
            lines.append(f"sampled   {self.sample.rows:,} rows in {self.sample.path}")
        return [*lines, f"report    {self.report.path}"]


def night(job_path: str | Path, *, device: Device | None = None, progress: Progress | None = None) -> NightResult:
    """Everything that a night needs. An existing champion is used as it is: retraining is a decision of its own."""
    job = read_job(job_path)
    trained = None
    if "champion" not in Registry(job.bundle_path).aliases():
        trained = train(job_path, device=device, progress=progress)
    scored = score(job_path, device=device, progress=progress)
    drawn = sample(job_path, progress=progress) if job.samples.rows else None
    return NightResult(train=trained, score=scored, sample=drawn, report=report(job_path, progress=progress))
