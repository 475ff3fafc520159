"""Page that compares two nights of a job, or two versions of its model."""

from pathlib import Path
from typing import Literal, NamedTuple

from aepipe.bundles.registry import Registry
from aepipe.config.job import Job, read_job
from aepipe.errors import ArgumentInvalid, BundleNotFound, EvaluationInvalid, did_you_mean
from aepipe.inference.table_model import TableModel
from aepipe.jobs.report.model_pair import pair_models
from aepipe.jobs.report.night_pair import pair_nights
from aepipe.jobs.results import Result
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.progress import Progress, no_progress
from aepipe.report.compare_page import ComparePage, render_comparison
from aepipe.storage import (
    SCORE,
    Manifest,
    Outputs,
    ScoreDetails,
    model_comparison_page,
    night_comparison_page,
    put_if_changed,
)
from aepipe.tables.open_files import files_opened_once
from aepipe.tables.partitions import Partition, named

Kind = Literal["nights", "models"]


class CompareResult(Result):
    """Path of the page, what it compares, and the alarms of both sides and of each alone."""

    path: Path
    kind: Kind
    first: str
    """name of the partition, or of the version"""
    second: str
    alarms: dict[str, int]
    """number of alarms by group, as on the page"""


class _Found(NamedTuple):
    """Meaning of a name: a scored night, or a version."""

    night: Manifest[ScoreDetails] | None
    version: str | None


@files_opened_once()
def compare_report(job_path: str | Path, first: str, second: str, *, progress: Progress | None = None) -> CompareResult:
    """Write one HTML page that shows two nights, or two versions of a model, side by side, to <out>/reports.

    Nights are read as they were scored. Versions score the latest `[promotion] nights` partitions that neither was
    trained on in memory; no output changes.

    Args:
        job_path: the job file.
        first: partition, with or without its key; or version or alias.
        second: as `first`.
        progress: called with stage and fraction.

    Raises:
        ArgumentInvalid: a name is unknown, or the two are the same, or of different kinds.
        EvaluationInvalid: the nights have scores of different versions.
        DataUnreadable: no partition can be compared.
    """
    job = read_job(job_path)
    found = [_find(job, name) for name in (first, second)]
    nights = [each.night for each in found if each.night is not None]
    versions = [each.version for each in found if each.version is not None]
    if len(nights) == 2:
        return _compare_nights(job, nights[0], nights[1])
    if len(versions) == 2:
        return _compare_models(job, (first, second), (versions[0], versions[1]), progress or no_progress)
    raise ArgumentInvalid(
        "compare",
        [
            f"expected two nights or two versions, got the night {nights[0].partition} and the version {versions[0]}. "
            "Name two of one kind."
        ],
    )


def _find(job: Job, name: str) -> _Found:
    """Return what a name means. Raises ArgumentInvalid if it means nothing."""
    outputs, registry = Outputs(job.out_path), Registry(job.bundle_path)
    manifests = {manifest.partition: manifest for manifest in outputs.manifests(SCORE)}
    night = named([Partition(partition, ()) for partition in manifests], name)
    if night is not None:
        return _Found(manifests[night.name], None)
    try:
        return _Found(None, registry.resolve(name).name)
    except BundleNotFound:
        known = [*registry.aliases(), *registry.versions(), *manifests]
    reasons = outputs.quarantined()
    quarantined = named([Partition(partition, ()) for partition in reasons], name)
    if quarantined is not None:
        reason = reasons[quarantined.name].rstrip(".")
        raise ArgumentInvalid(
            "compare", [f"{quarantined.name} is quarantined and has no scores: {reason}. Name a scored night."]
        )
    few = ", ".join([*registry.aliases(), *list(manifests)[-3:]])
    hint = did_you_mean(name, known) or (f". Choose one such as {few}." if few else f". Run: aepipe run {job.source}")
    raise ArgumentInvalid("compare", [f"expected a scored night, a version or an alias, got {name!r}{hint}"])


def _compare_nights(job: Job, first: Manifest[ScoreDetails], second: Manifest[ScoreDetails]) -> CompareResult:
    names = (first.partition, second.partition)
    if names[0] == names[1]:
        raise ArgumentInvalid("compare", [f"expected two different nights, got {names[0]} twice. Name another one."])
    if first.model_version != second.model_version:
        raise EvaluationInvalid(
            f"{names[0]} was scored by {first.model_version} and {names[1]} by {second.model_version}, whose scores "
            "have no common unit: expected one version. Compare the versions, or score one night again by name."
        )
    model = open_model(job, first.model_version.rpartition("/")[2])
    page = pair_nights(tuple(_one_night(job, model, name) for name in names))  # type: ignore[arg-type]
    return _write(job, page, "nights", names, night_comparison_page(*names))


def _one_night(job: Job, model: TableModel, name: str) -> ScoredPartitions:
    scored = ScoredPartitions(job, model, names=[name])
    if not scored.manifests:
        raise EvaluationInvalid(
            f"the outputs of {name} were removed, so that it cannot be compared. Run: aepipe score {job.source}"
        )
    return scored


def _compare_models(job: Job, asked: tuple[str, str], versions: tuple[str, str], progress: Progress) -> CompareResult:
    if versions[0] == versions[1]:
        same = f"{asked[0]} twice" if asked[0] == asked[1] else f"{asked[0]} and {asked[1]}, which are {versions[0]}"
        raise ArgumentInvalid("compare", [f"expected two different versions, got {same}. Name another one."])
    first, second = (open_model(job, version) for version in versions)
    page = pair_models(job, (first, second), asked, progress=progress)
    return _write(job, page, "models", versions, model_comparison_page(*versions))


def _write(job: Job, page: ComparePage, kind: Kind, names: tuple[str, str], file_name: str) -> CompareResult:
    path = job.out_path / "reports" / file_name
    put_if_changed(path, render_comparison(page).encode())
    alarms = {group.title: group.total for group in page.alarms}
    return CompareResult(path=path, kind=kind, first=names[0], second=names[1], alarms=alarms)
