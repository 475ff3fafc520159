"""Writes the page about a model and the nights scored with it."""

from collections.abc import Callable
from pathlib import Path

from aepipe.batch.model import TableModel
from aepipe.config import read_job
from aepipe.errors import DataUnreadable
from aepipe.jobs import gather
from aepipe.jobs.compare import Comparison, compare
from aepipe.jobs.result import Result
from aepipe.report.html import render
from aepipe.report.model import Night
from aepipe.storage import Outputs, put_bytes

Progress = Callable[[str, float], None]

NIGHTS = 31


class ReportResult(Result):
    """Where the page is."""

    path: Path


def report(job_path: str | Path, *, model: str = "champion", progress: Progress | None = None) -> ReportResult:
    """One HTML page about a model and the nights that it scored, in <out>/reports.

    Raises BundleNotFound where there is no model, DataUnreadable where it has scored nothing yet.
    """
    job = read_job(job_path)
    opened = TableModel.open(f"{job.bundle_path}@{model}")
    outputs = Outputs(job.out_path)
    manifests = [m for m in outputs.manifests("score") if m.model_version == opened.version][-NIGHTS:]
    if not manifests:
        raise DataUnreadable(f"{job.out_path} holds no scores of {opened.version}; run: aepipe score {job.source}")
    scored = gather.Scored(job, outputs, manifests)
    compared = None
    if job.evaluate.anomaly is not None:
        compared = compare(job_path, model=model, progress=progress)
    night = _night(scored, opened, model, compared)
    path = job.out_path / "reports" / f"{manifests[-1].partition.replace('/', '_')}.html"
    put_bytes(path, render(night).encode())
    return ReportResult(path=path)


def _night(scored: gather.Scored, model: TableModel, alias: str, compared: Comparison | None) -> Night:
    strange = gather.strangest(scored, model)
    samples = gather.samples(scored, model)
    absent = {}
    if samples is None:
        absent["samples"] = "nothing was sampled with this model yet"
    if compared is None:
        absent["comparisons"] = "the job names no [evaluate] anomaly"
    return Night(
        header=gather.header(scored, model, alias),
        partitions=(*map(gather.line, scored.manifests), *gather.quarantined(scored)),
        scores=gather.scores(scored, model),
        reasons=gather.first_reasons(scored),
        strange=strange,
        latents=gather.latents(scored),
        samples=samples,
        comparisons=gather.comparisons(compared) if compared is not None else (),
        training=gather.training(model),
        files=gather.files(scored),
        card=gather.card(model),
        absent=absent,
    )
