"""Promotion of a challenger and rollback of the champion, both recorded in the alias log."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from aepipe.bundles.aliases import CHALLENGER, CHAMPION
from aepipe.bundles.registry import Registry, current_user
from aepipe.config.job import Job, read_job
from aepipe.errors import AepipeError, DataUnreadable, OptionInvalid
from aepipe.jobs.promotion.checks import PromotionCheck, check_promotion
from aepipe.jobs.promotion.comparison import Comparison, compare_models
from aepipe.jobs.results import Result
from aepipe.jobs.score import chosen_partitions
from aepipe.jobs.scored_partitions import open_model
from aepipe.progress import Progress, no_progress
from aepipe.storage.listing import entries
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)


class PromotionReport(Result):
    """Evidence for a promotion: both models on the same rows, and the checks of `[promotion]`."""

    job: str
    created_at: datetime
    comparison: Comparison
    checks: tuple[PromotionCheck, ...]

    @property
    def failed(self) -> tuple[PromotionCheck, ...]:
        """Checks that are not met; a check that cannot be applied does not count."""
        return tuple(check for check in self.checks if check.passed is False)


class PromoteResult(Result):
    """Result of a promotion; `promoted` is False for a dry run, a failed check, or a version that is champion."""

    alias: str
    version: str
    before: str | None
    promoted: bool
    sentence: str
    evidence: str | None = None
    """digest of the report"""
    report: PromotionReport | None = None
    """None without a champion to compare with"""

    @property
    def failed(self) -> bool:
        """True if checks are not met and the version was not promoted."""
        return not self.promoted and self.report is not None and bool(self.report.failed)


class RollbackResult(Result):
    """Champion after a rollback and before it."""

    version: str
    before: str
    sentence: str


def promote(
    job_path: str | Path,
    model: str = CHALLENGER,
    *,
    partitions: Sequence[str] | None = None,
    why: str = "",
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> PromoteResult:
    """Compare a version with the champion on recent partitions, and make it champion if it passes `[promotion]`.

    The report is stored in the folder of the versions; the alias log holds its digest.

    Args:
        job_path: job file, or the folder that holds job.toml.
        model: version or alias to promote.
        partitions: partitions to compare on; None: the latest that the challenger was not trained on, else the latest.
        why: reason for the log.
        force: promote although a check fails, or no partition can be compared.
        dry_run: compare only.
        progress: callback for progress.

    Raises:
        BundleNotFound: there is no such version.
        DataUnreadable: no partition can be compared.
    """
    return promote_version(
        read_job(job_path),
        model,
        partitions=partitions,
        why=why or "promoted by hand",
        force=force,
        dry_run=dry_run,
        progress=progress or no_progress,
    )


def promote_version(
    job: Job,
    model: str,
    *,
    partitions: Sequence[str] | None = None,
    why: str,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> PromoteResult:
    """Promote a version of a job in memory, as `promote`."""
    registry = Registry(job.bundle_path)
    version, before = registry.resolve(model).name, registry.aliases().get(CHAMPION)
    if before == version:
        sentence = f"nothing to do: {version} is already the champion of {job.name}"
        return PromoteResult(alias=CHAMPION, version=version, before=before, promoted=False, sentence=sentence)
    report = None if before is None else _report(job, version, partitions, force=force, progress=progress)
    failed = () if report is None else report.failed
    if dry_run or (failed and not force):
        return PromoteResult(
            alias=CHAMPION,
            version=version,
            before=before,
            promoted=False,
            sentence=_refusal(version, failed),
            report=report,
        )
    evidence = None if report is None else registry.put_evidence(_to_bytes(report))
    registry.set_alias(CHAMPION, version, who=current_user(), why=why, evidence=evidence)
    sentence = f"{version} is now {CHAMPION} of {job.name}"
    if before is not None:
        sentence += f" in place of {before}. Its features span another space: retrain downstream models"
    return PromoteResult(
        alias=CHAMPION,
        version=version,
        before=before,
        promoted=True,
        sentence=sentence,
        evidence=evidence,
        report=report,
    )


def promote_if_automatic(job: Job, version: str) -> PromoteResult | None:
    """Promote a new challenger if `[promotion] automatic` is set and it passes every check; None if it is not set.

    A comparison that fails leaves the challenger, with a warning.
    """
    if not job.promotion.automatic:
        return None
    try:
        result = promote_version(job, version, why="passed the checks of [promotion]")
    except AepipeError as error:
        log.warning("%s stays challenger: %s", version, error)
        return None
    if result.report is not None and not result.promoted:  # `awaits_promotion` finds it: compared, and refused
        Registry(job.bundle_path).put_evidence(_to_bytes(result.report))
    log.log(logging.INFO if result.promoted else logging.WARNING, "%s", result.sentence)
    return result


def awaits_promotion(job: Job, version: str) -> bool:
    """Return whether `[promotion] automatic` applies to a challenger that no training compared with the champion.

    Such a challenger was left by a process that died between the alias and the promotion, or whose comparison failed.
    """
    registry = Registry(job.bundle_path)
    was_champion = any(naming.alias == CHAMPION and naming.version == version for naming in registry.history())
    return job.promotion.automatic and not was_champion and version not in _compared_challengers(registry)


def _compared_challengers(registry: Registry) -> Iterator[str]:
    """Yield the challengers of all stored promotion reports; a report that cannot be parsed counts as absent."""
    for path in entries(registry.evidence_folder):
        with suppress(ValidationError):
            yield PromotionReport.model_validate_json(path.read_bytes()).comparison.challenger.version


def _to_bytes(report: PromotionReport) -> bytes:
    return (report.model_dump_json(indent=1) + "\n").encode()


def rollback(job_path: str | Path, *, why: str = "") -> RollbackResult:
    """Make the previous champion the champion again.

    Repeated rollbacks go further back. Raises OptionInvalid if there is no earlier champion.
    """
    job = read_job(job_path)
    registry = Registry(job.bundle_path)
    before, earlier = registry.resolve(CHAMPION).name, registry.version_before(CHAMPION)
    if earlier is None:
        raise OptionInvalid(f"{before} is the first champion of {job.name}: there is no earlier one to go back to.")
    registry.set_alias(CHAMPION, earlier, who=current_user(), why=why or "rollback by hand", is_rollback=True)
    sentence = f"{earlier} is {CHAMPION} of {job.name} again, in place of {before}"
    return RollbackResult(version=earlier, before=before, sentence=sentence)


def _report(
    job: Job, version: str, names: Sequence[str] | None, *, force: bool, progress: Progress
) -> PromotionReport | None:
    """Compare the version with the champion; None if no partition can be compared and `force` is set."""
    champion, challenger = open_model(job, CHAMPION), open_model(job, version)
    try:
        partitions = (
            chosen_partitions(job, names)
            if names
            else recent_partitions(job, challenger.bundle.manifest.train_partitions)
        )
        found = compare_models(job, champion, challenger, partitions, progress=progress)
    except DataUnreadable as error:
        if not force:
            raise
        log.warning("promoted without a comparison: %s", error)
        return None
    return PromotionReport(
        job=job.name, created_at=datetime.now(UTC), comparison=found, checks=check_promotion(job, found)
    )


def recent_partitions(job: Job, trained_on: Sequence[str]) -> tuple[Partition, ...]:
    """Return the latest partitions that `[score]` selects and the model was not trained on; else the latest ones."""
    found = chosen_partitions(job, None)
    unseen = tuple(partition for partition in found if partition.name not in trained_on)
    return (unseen or found)[-job.promotion.nights :]


def _refusal(version: str, failed: Sequence[PromotionCheck]) -> str:
    if not failed:
        return f"dry run: {version} passes every check that applies"
    faults = "; ".join(f"{check.name}: limit {check.limit:g}, got {check.value:.4g}" for check in failed)
    return f"{version} stays as it is, since it fails {len(failed)} of the checks of [promotion]: {faults}"
