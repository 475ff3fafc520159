"""Writes the page about a model and the nights scored with it."""

from pathlib import Path

from aepipe.config.job import read_job
from aepipe.errors import EvaluationInvalid
from aepipe.inference.table_model import TableModel
from aepipe.jobs.evaluate.compare import Comparison, compare_scored
from aepipe.jobs.report import page_data as gather
from aepipe.jobs.report.traversal_data import walks
from aepipe.jobs.results import Result
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.progress import Progress
from aepipe.report.page_model import ReportPage
from aepipe.report.render import render
from aepipe.storage import SAMPLE, put_bytes


class ReportResult(Result):
    """Where the page is."""

    path: Path


def report(job_path: str | Path, *, model: str = "champion", progress: Progress | None = None) -> ReportResult:
    """One HTML page about a model and the nights that it scored, in <out>/reports.

    Raises BundleNotFound where there is no model, DataUnreadable where it has scored nothing yet.
    """
    job = read_job(job_path)
    opened = open_model(job, model)
    scored = ScoredPartitions(job, opened)
    compared: Comparison | str = "the job names no [evaluate] anomaly"
    if job.evaluate.anomaly is not None:
        compared = _compared(scored, progress)
    night = _night(scored, opened, model, compared)
    path = job.out_path / "reports" / f"{scored.manifests[-1].partition.replace('/', '_')}.html"
    put_bytes(path, render(night).encode())
    return ReportResult(path=path)


def _compared(scored: ScoredPartitions, progress: Progress | None) -> Comparison | str:
    """The comparison, or why there is none: a night without labels has its report all the same."""
    try:
        return compare_scored(scored, progress=progress)
    except EvaluationInvalid as error:
        return str(error)


def _night(scored: ScoredPartitions, model: TableModel, alias: str, compared: Comparison | str) -> ReportPage:
    strange = gather.strangest(scored, model)
    samples = gather.samples(scored, model)
    absent = {"walks": "this model has no latent traversal; run aepipe traverse"}
    if samples is None:
        absent["samples"] = "nothing was sampled with this model yet"
    if isinstance(compared, str):
        absent["comparisons"] = compared
    changed = [m.partition for m in scored.manifests if m.partition not in scored.unchanged]
    notices = [f"the source of {name} is gone or was written again since it was scored" for name in changed]
    notices += [
        f"{manifest.partition} was scored under another calibration; aepipe score judges it anew"
        for manifest in scored.manifests
        if not scored.has_active_calibration(manifest)
    ]
    aside = scored.outputs.quarantined_rows(SAMPLE).items()
    notices += [f"synthetic rows of {name} are quarantined: {reason}" for name, reason in aside]
    return ReportPage(
        notices=tuple(notices),
        header=gather.header(scored, model, alias),
        partitions=(*map(scored.result, scored.manifests), *gather.quarantined(scored)),
        scores=gather.scores(scored, model),
        costs=gather.costs(model),
        reasons=gather.first_reasons(scored),
        strange=strange,
        latents=gather.latents(scored),
        samples=samples,
        walks=walks(scored.outputs, model),
        comparisons=() if isinstance(compared, str) else gather.comparisons(compared),
        training=gather.training(model),
        files=gather.files(scored),
        card=gather.card(model),
        absent=absent,
    )
