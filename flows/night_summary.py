"""Summary of a night as Markdown: counts, strongest alarms, drift, failures and the report."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aepipe.jobs.alerts.alert import AlertResult
from aepipe.jobs.drift.monitor import DriftResult
from aepipe.jobs.top_alarms import Alarm
from aepipe.storage import PartitionResult

MOST_LINES = 20
_MARKUP = re.compile(r"[\\`*_\[\]<>|#&!~]")


def night_summary(
    job_name: str,
    nights: Sequence[PartitionResult],
    *,
    model: str,
    faults: Mapping[str, str],
    alarms: Sequence[Alarm] = (),
    drift: DriftResult | None = None,
    alert: AlertResult | None = None,
    report: Path | None = None,
) -> str:
    """Summarise a night.

    Args:
        job_name: name of the job.
        nights: results of the partitions.
        model: version that scored them.
        faults: reason per partition without new scores.
        alarms: flagged rows with the lowest p-values.
        drift: drift of the new partitions; None: not measured.
        alert: delivery of the message; None: no channel, or nothing to send.
        report: page of the night.
    """
    written = [night for night in nights if night.status == "written"]
    rows, flagged = sum(night.scored for night in written), sum(night.flagged for night in written)
    share = f" ({flagged / rows:.2%})" if rows else ""
    lines = [
        f"# {plain(job_name)}",
        "",
        f"- model: {plain(model)}",
        f"- new partitions: {len(written):,}, already done: {sum(n.status == 'already done' for n in nights):,}, "
        f"failed: {len(faults):,}",
        f"- rows with a score: {rows:,}, flagged: {flagged:,}{share}",
    ]
    lines += [f"- alert: {plain(alert.sentence)}"] if alert is not None else []
    lines += [f"- report: {plain(report.resolve().as_uri())}"] if report is not None else []
    sections = {
        "Failed": [f"{name}: {reason}" for name, reason in faults.items()],
        "Strongest alarms": [
            f"{alarm.partition}, {alarm.place}, p = {alarm.p_value:.2g}: {', '.join(alarm.reasons)}" for alarm in alarms
        ],
        "Drift": [] if drift is None else drift.lines,
    }
    return "\n".join([*lines, *(line for title, found in sections.items() for line in _section(title, found))]) + "\n"


def _section(title: str, found: Sequence[str]) -> Iterator[str]:
    if found:
        yield from ("", f"## {title}", "")
        yield from (f"- {plain(line)}" for line in found[:MOST_LINES])
    if len(found) > MOST_LINES:
        yield f"- and {len(found) - MOST_LINES:,} more"


def plain(text: str) -> str:
    r"""Escape a text that Markdown would take as markup.

    >>> print(plain("a_b <script>"))
    a\_b \<script\>
    """
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
