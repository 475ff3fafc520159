"""Report page of a model and the partitions scored with it."""

from pathlib import Path

from pydantic import Field

from aepipe.config.job import read_job
from aepipe.errors import EvaluationInvalid
from aepipe.inference.table_model import TableModel
from aepipe.jobs.alarm_warnings import alarm_warnings
from aepipe.jobs.evaluate.compare import Comparison, compare_scored
from aepipe.jobs.report import page_data
from aepipe.jobs.report.current_page import WrittenPage
from aepipe.jobs.report.drift_data import build_drift
from aepipe.jobs.report.entity_data import build_entities
from aepipe.jobs.report.muted_data import list_muted
from aepipe.jobs.report.page_state import page_state, record_page
from aepipe.jobs.report.series_data import build_series
from aepipe.jobs.report.traversal_data import build_traversals
from aepipe.jobs.report.what_if_data import build_what_if
from aepipe.jobs.role_warnings import modelled_label_warnings
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.progress import Progress
from aepipe.report.page_model import ReportPage
from aepipe.report.render import render
from aepipe.storage import SAMPLE, page_of, put_if_changed
from aepipe.stores import as_path
from aepipe.tables.open_files import files_opened_once


class ReportResult(WrittenPage):
    """Path of the page, and the comparison on it."""

    compared: Comparison | None = Field(None, exclude=True)
    """the comparison with baselines on the page, for a caller that shows it too; None without labels"""


@files_opened_once()
def report(job_path: str | Path, *, model: str = "champion", progress: Progress | None = None) -> ReportResult:
    """Write one HTML page about a model and the partitions it scored, to <out>/reports.

    Args:
        job_path: the job file.
        model: alias or version of the model.
        progress: called with stage and fraction.

    Raises:
        BundleNotFound: there is no model.
        DataUnreadable: the model has not scored any partition.
    """
    job = read_job(job_path)
    state = page_state(job, model)  # before anything is read: a later change gives another key
    opened = open_model(job, model)
    scored = ScoredPartitions(job, opened)
    compared: Comparison | str = "the job does not set [evaluate] anomaly"
    if job.evaluate.anomaly is not None:
        try:
            compared = compare_scored(scored, progress=progress)
        except EvaluationInvalid as error:  # partitions without labels still have a report
            compared = str(error)
    page = _build_page(scored, opened, model, compared)
    path = job.out_path / "reports" / page_of(scored.manifests[-1].partition)
    content = render(page).encode()
    put_if_changed(path, content)
    if state is not None and state.path == path and _is_certain(scored):
        record_page(job, model, state, content)
    return ReportResult(path=path, compared=None if isinstance(compared, str) else compared)


def _is_certain(scored: ScoredPartitions) -> bool:
    """Return False if a source could not be matched although it is there: the next run may be able to read it."""
    changed = [manifest for manifest in scored.manifests if manifest.partition not in scored.unchanged]
    return all(any(not as_path(path).exists() for path in each.details.inputs) for each in changed)


def _build_page(scored: ScoredPartitions, model: TableModel, alias: str, compared: Comparison | str) -> ReportPage:
    scan = page_data.scan_scores(scored)
    samples = page_data.build_samples(scored, model)
    absent = {"traversals": "this model has no latent traversal; run aepipe traverse"}
    if samples is None:
        absent["samples"] = "this model has no samples; run aepipe sample"
    if isinstance(compared, str):
        absent["comparisons"] = compared
    changed = [m.partition for m in scored.manifests if m.partition not in scored.unchanged]
    notices = [f"the source of {name} is missing or has changed since it was scored" for name in changed]
    notices += [
        f"{manifest.partition} was scored under another calibration; run aepipe score to update it"
        for manifest in scored.manifests
        if not scored.has_active_calibration(manifest)
    ]
    notices += list_muted(scored)
    aside = scored.outputs.quarantined_rows(SAMPLE).items()
    if scored.removed:
        first, last, count = scored.removed[0], scored.removed[-1], len(scored.removed)
        span = f"{first} to {last}, {count} partitions," if count > 1 else first
        notices.append(f"the outputs of {span} were removed")
    notices += [f"synthetic rows of {name} are quarantined: {reason}" for name, reason in aside]
    notices += modelled_label_warnings(scored.job, model.bundle.source.schema, version=model.version)
    notices += alarm_warnings([scored.result(manifest) for manifest in scored.manifests], model.bundle.calibration)
    found = model.bundle.manifest.details.get("warnings")
    notices += [f"training: {warning}" for warning in found] if isinstance(found, list) else []
    series, windows = build_series(scored)
    return ReportPage(
        notices=tuple(notices),
        header=page_data.build_header(scored, model, alias),
        partitions=(*map(scored.result, scored.manifests), *page_data.list_quarantined(scored)),
        scores=page_data.build_scores(scan, model),
        costs=page_data.build_cost_curve(model),
        what_if=build_what_if(scored),
        drift=build_drift(scored),
        entities=build_entities(scored),
        series=series,
        windows=windows,
        reasons=scan.first_reasons,
        anomalies=page_data.build_top_anomalies(scored, scan),
        latents=page_data.build_latent_map(scored, scan),
        samples=samples,
        traversals=build_traversals(scored.outputs, model),
        comparisons=() if isinstance(compared, str) else page_data.build_comparisons(compared),
        training=page_data.build_training(model),
        files=page_data.build_file_lines(scored),
        card=page_data.build_card(model),
        absent=absent,
    )
