"""Warnings about partitions with far more flagged rows than alpha, and the column that is the reason."""

from collections.abc import Iterator, Mapping, Sequence

from aepipe.bundles.bundle import Bundle
from aepipe.calibration.alarm_rate import is_far_above
from aepipe.calibration.conformal import Calibration
from aepipe.config.job import Job
from aepipe.jobs.role_warnings import modelled_label_warnings, passthrough_warnings
from aepipe.storage import PartitionResult
from aepipe.storage.run_details import DeadChannel

MOST_PARTITIONS = 5
MOST_DEAD = 5
_MAIN_REASON = 0.5


def night_warnings(job: Job, bundle: Bundle, results: Sequence[PartitionResult]) -> tuple[str, ...]:
    """Describe columns whose role the model does not know, absent channels, and partitions far above alpha."""
    written = [result for result in results if result.status == "written"]
    labels = modelled_label_warnings(job, bundle.source.schema, version=bundle.version)
    copied = passthrough_warnings(job, bundle.source.schema, version=bundle.version)
    channels = (*_absent_channels(written), *dead_channels(written))
    return (*labels, *copied, *channels, *alarm_warnings(written, bundle.calibration))


def _absent_channels(results: Sequence[PartitionResult]) -> Iterator[str]:
    """Describe the channels that have no value in a partition: windows hold their mean, which is never unusual."""
    partitions: dict[str, list[str]] = {}
    for result in results:
        for channel in result.details.absent:
            partitions.setdefault(channel, []).append(result.partition)
    for channel, names in partitions.items():
        more = f" and {len(names) - 1:,} more partitions" if len(names) > 1 else ""
        yield (
            f"channel '{channel}' has no value in {names[0]}{more}: its training mean takes its place, so that the "
            "scores do not depend on it. Check the source."
        )


def dead_channels(results: Sequence[PartitionResult]) -> Iterator[str]:
    """Describe the channels of single entities that are dead, at most five; the number of others follows."""
    partitions: dict[tuple[str, str], list[tuple[str, DeadChannel]]] = {}
    for result in results:
        for dead in result.details.dead:
            partitions.setdefault((dead.entity, dead.channel), []).append((result.partition, dead))
    for (entity, channel), found in list(partitions.items())[:MOST_DEAD]:
        (partition, dead), more = found[0], f" and {len(found) - 1:,} more partitions" if len(found) > 1 else ""
        name = f"channel '{channel}'" + (f" of {entity}" if entity else "")
        if dead.value is None:
            yield (
                f"{name} has no value in {partition}{more}: its training mean takes its place, so that the scores do "
                "not depend on it. Check its source."
            )
        else:
            points = "point" if dead.longest == 1 else "points in a row"
            yield (
                f"{name} is {dead.value:.7g} in every row of {partition}{more}; in training it had one value for at "
                f"most {dead.longest:,} {points}. Check its source."
            )
    others = len(partitions) - MOST_DEAD + sum(each.details.dead_count - len(each.details.dead) for each in results)
    if len(partitions) > MOST_DEAD:
        yield f"{others:,} more channels of single entities have no value or a single one"


def alarm_warnings(results: Sequence[PartitionResult], calibration: Calibration) -> tuple[str, ...]:
    """Describe the partitions with far more flagged rows than alpha, the largest share first.

    At most five are described; the number of others follows.

    Args:
        results: scored partitions; their number of flagged rows and first reasons come from the manifests.
        calibration: calibration that flagged the rows.
    """
    above, found = far_above_alpha(results, calibration), []
    for result in above[:MOST_PARTITIONS]:
        subject, reasons = f"partition {result.partition}", result.details.flag_reasons
        found.append(_describe(subject, result.flagged, result.scored, calibration=calibration, reasons=reasons))
    more = len(above) - MOST_PARTITIONS
    return (*found, *([f"{more:,} more partitions are far above alpha"] if more > 0 else []))


def far_above_alpha(results: Sequence[PartitionResult], calibration: Calibration) -> list[PartitionResult]:
    """Return the partitions with far more flagged rows than alpha, the largest share first, then in order."""
    found = [
        result
        for result in results
        if result.status != "quarantined"
        and is_far_above(result.flagged, result.scored, alpha=calibration.alpha, calibration_rows=calibration.n)
    ]
    return sorted(found, key=lambda result: -result.flagged / result.scored)


def alarm_warning(
    subject: str, flagged: int, rows: int, *, calibration: Calibration, reasons: Mapping[str, int]
) -> str | None:
    """Return a warning if far more rows are flagged than alpha, else None.

    Args:
        subject: what was scored, such as `partition dt=2026-01-01`.
        flagged: number of flagged rows.
        rows: number of rows with a score.
        calibration: calibration that flagged the rows.
        reasons: number of flagged rows by first reason; empty if the model has no reasons.
    """
    if not is_far_above(flagged, rows, alpha=calibration.alpha, calibration_rows=calibration.n):
        return None
    return _describe(subject, flagged, rows, calibration=calibration, reasons=reasons)


def _describe(subject: str, flagged: int, rows: int, *, calibration: Calibration, reasons: Mapping[str, int]) -> str:
    share = f"{flagged:,} of {rows:,} rows ({flagged / rows:.1%}) are flagged, far above alpha, {calibration.alpha:.2g}"
    column, count = max(reasons.items(), key=lambda item: item[1], default=("", 0))
    if count < _MAIN_REASON * flagged:
        frequent = sorted(reasons.items(), key=lambda item: -item[1])  # a manifest lists them by name
        parts = ", ".join(f"'{name}' {times / flagged:.0%}" for name, times in frequent[:3])
        main = f" First reasons: {parts}." if parts else ""
        return f"{subject}: {share}.{main} Compare its source with the training partitions, or train on later ones."
    return (
        f"{subject}: {share}; '{column}' is the first reason of {count / flagged:.0%} of them. "
        f"If its values move on with time, set {column} to ignore under [columns] and train again."
    )
