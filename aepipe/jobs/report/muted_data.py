"""Notices of a report page about flagged rows that feedback mutes."""

from aepipe.jobs.feedback.muting import MutedRow, muted_rows
from aepipe.jobs.feedback.verdicts import read_verdicts, utc_today
from aepipe.jobs.scored_partitions import ScoredPartitions

MOST_NAMED = 5


def list_muted(scored: ScoredPartitions) -> list[str]:
    """Return one notice per verdict that mutes flagged rows: how many, why, and which."""
    results = [scored.result(manifest) for manifest in scored.manifests]
    groups: dict[tuple[str, str], list[MutedRow]] = {}
    for row in muted_rows(results, read_verdicts(scored.job), today=utc_today()):
        groups.setdefault((row.by, row.reason), []).append(row)
    return [_notice(key, reason, rows) for (key, reason), rows in groups.items()]


def _notice(key: str, reason: str, rows: list[MutedRow]) -> str:
    named = ", ".join(f"{row.key} ({row.partition})" for row in rows[:MOST_NAMED])
    more = f" and {len(rows) - MOST_NAMED:,} more" if len(rows) > MOST_NAMED else ""
    why = f": {reason}" if reason else ""
    count = "1 flagged row is" if len(rows) == 1 else f"{len(rows):,} flagged rows are"
    return f"{count} muted by the feedback about {key}{why}. Muted: {named}{more}"
