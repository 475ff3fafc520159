"""Message about the flagged rows of a run: counts, the rows with the lowest p-values, drift and a link."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import pyarrow as pa
from pydantic import Field

from aepipe.config.alerts import Alerts
from aepipe.config.job import Job
from aepipe.jobs.alerts.events import EventLine, one_per_entity, read_events
from aepipe.jobs.drift.monitor import describe, read_drift
from aepipe.jobs.feedback.muting import muted_rows
from aepipe.jobs.feedback.verdicts import read_verdicts, utc_today
from aepipe.jobs.results import Result
from aepipe.jobs.top_alarms import Alarm, top_alarms
from aepipe.storage import PartitionResult
from aepipe.storage.partition_result import describe_cells
from aepipe.tables.entities import entity_texts

MOST_READ = 10_000
"""Flagged rows that are compared to find the rows of a message."""
_LEVEL = 0.975


class AlertLine(Result):
    """One line: the most unusual row of an entity, or one row; `rows` counts the flagged rows of the entity."""

    alarm: Alarm
    entity: str | None
    rows: int

    @property
    def text(self) -> str:
        """Describe the line: partition, keys, p-value, the flagged cell, reasons."""
        more = f" and {self.rows - 1:,} more rows" if self.rows > 1 else ""
        reasons = f": {', '.join(self.alarm.reasons)}" if self.alarm.reasons else ""
        cell = "" if self.alarm.cell is None else f" of {self.alarm.alarm}"
        return f"{self.alarm.partition}  {self.alarm.place}{more}, p = {self.alarm.lowest_p:.2g}{cell}{reasons}"


class AlertMessage(Result):
    """Content of an alert; the JSON that a webhook receives."""

    job: str
    model_version: str
    partitions: tuple[str, ...]
    rows: int
    flagged: int
    cell_flagged: int
    """flagged rows with a flagged cell"""
    expected: float | None
    """rows that alpha explains; None if alpha is a share of all rows"""
    usual_most: int | None
    """most rows that alpha explains with 97.5 % probability"""
    lines: tuple[AlertLine, ...]
    events: tuple[EventLine, ...] = ()
    """of a series job, in place of lines: one event per entity"""
    event_count: int | None = None
    """events of a series job that are not muted"""
    muted: int
    """flagged rows that feedback mutes; they are counted in `flagged`, and not shown"""
    left_out: int
    """flagged rows, entities or events that the lines do not show"""
    drift: tuple[str, ...]
    failed: dict[str, str] = Field(default_factory=dict)
    """reason per partition without scores"""
    link: str

    @property
    def is_excess(self) -> bool:
        """True if more rows are flagged than alpha explains."""
        return self.usual_most is not None and self.flagged > self.usual_most

    @property
    def subject(self) -> str:
        """Headline of the message."""
        span = " to ".join(dict.fromkeys((self.partitions[0], self.partitions[-1]))) if self.partitions else ""
        drift = f", {len(self.drift)} drifted" if self.drift else ""
        failed = f", {len(self.failed)} partitions failed" if self.failed else ""
        rows, events = "rows", ""
        if self.event_count is not None:
            rows, events = "points", f"{self.event_count:,} event{'' if self.event_count == 1 else 's'}, "
        return f"{self.job} {span}: {events}{self.flagged:,} of {self.rows:,} {rows} flagged{drift}{failed}"

    @property
    def text(self) -> str:
        """Message as plain text."""
        parts = [self.subject]
        if self.expected is not None and self.usual_most is not None:
            verdict = "more than" if self.is_excess else "within"
            parts.append(f"alpha explains {self.expected:,.0f} rows, at most {self.usual_most:,}: {verdict} the usual")
        if self.cell_flagged:
            parts.append(describe_cells(self.cell_flagged, self.flagged))
        parts += [line.text for line in self.lines] + [event.text for event in self.events]
        parts += [f"and {self.left_out:,} more"] if self.left_out else []
        parts += [f"{self.muted:,} rows are muted by feedback"] if self.muted else []
        parts += [f"drift: {line}" for line in self.drift]
        parts += [f"failed: {name}: {reason}" for name, reason in self.failed.items()]
        return "\n".join([*parts, f"report: {self.link}", f"model: {self.model_version}"])

    def is_due(self, when: str) -> bool:
        """Return whether there is anything to send; when: `[alerts] when`."""
        is_new = self.flagged > self.muted
        return bool(self.drift or self.failed or (is_new and (self.is_excess or when == "flagged")))


def build_message(job: Job, model_version: str, nights: Sequence[PartitionResult]) -> AlertMessage:
    """Summarise scored partitions; a partition that could not be scored is named with its reason.

    Args:
        job: the job, with `[alerts]`.
        model_version: version that scored the partitions.
        nights: results of the partitions, in order.
    """
    settings = job.alerts
    scored = [night for night in nights if night.scores is not None]
    counted = ("scored", "flagged", "cell_flagged")
    rows, flagged, cell_flagged = (sum(getattr(night, name) for night in scored) for name in counted)
    muted = {(row.partition, row.row) for row in muted_rows(scored, read_verdicts(job), today=utc_today())}
    entity = (settings.entity,) if settings.entity is not None else job.data.entity
    capacity = job.calibration.capacity or settings.most
    most = min(settings.most, capacity)
    lines: tuple[AlertLine, ...] = ()
    events, groups, hidden = list[EventLine](), tuple[EventLine, ...](), 0
    if job.series is not None:
        events = read_events(scored, job.series.entity, time=job.data.event_time, muted=muted)
        groups = one_per_entity(events)
    else:
        found = top_alarms(scored, tuple(dict.fromkeys((*job.data.keys, *entity))), most=MOST_READ)
        lines = group_by_entity([alarm for alarm in found if (alarm.partition, alarm.row) not in muted], entity)
        hidden = max(0, flagged - len(found))
    explained = _explained(scored)
    names = tuple(night.partition for night in scored)
    drift = [record for record in read_drift(job.out_path, model_version) if record.partition in names]
    return AlertMessage(
        job=job.name,
        model_version=model_version,
        partitions=names,
        rows=rows,
        flagged=flagged,
        cell_flagged=cell_flagged,
        expected=explained,
        usual_most=None if explained is None else most_usual(explained, rows),
        lines=lines[:most],
        events=groups[:most],
        event_count=None if job.series is None else len(events),
        muted=len(muted),
        left_out=len(lines[most:]) + len(groups[most:]) + hidden,
        drift=tuple(f"{each.partition}: {describe(stream)}" for each in drift for stream in each.alarms),
        failed={night.partition: night.reason for night in nights if night.scores is None},
        link=_link(job, settings, scored[-1].partition if scored else ""),
    )


def group_by_entity(alarms: Sequence[Alarm], entity: Sequence[str]) -> tuple[AlertLine, ...]:
    """Return one line per entity with its most unusual row, or one per row without entity columns."""
    if not entity:
        return tuple(AlertLine(alarm=alarm, entity=None, rows=1) for alarm in alarms)
    names = entity_texts([pa.array([alarm.keys.get(name) for alarm in alarms], pa.string()) for name in entity])
    groups: dict[str, list[Alarm]] = {}
    for name, alarm in zip(names.to_pylist(), alarms, strict=True):
        groups.setdefault(name, []).append(alarm)
    return tuple(AlertLine(alarm=rows[0], entity=value, rows=len(rows)) for value, rows in groups.items())


def most_usual(expected: float, rows: int) -> int:
    """Return the 97.5 % quantile of the number of flagged normal rows, by the normal approximation.

    >>> most_usual(100.0, 10_000)
    120
    """
    if not rows:
        return 0
    deviation = math.sqrt(expected * max(0.0, 1 - expected / rows))
    return math.ceil(expected + NormalDist().inv_cdf(_LEVEL) * deviation)


def _explained(nights: Sequence[PartitionResult]) -> float | None:
    """Return the flagged rows that alpha explains; None where alpha counts all rows, anomalies too."""
    if any(night.details.alpha is None or "normal" not in night.details.alpha_means for night in nights):
        return None
    return sum((night.details.alpha or 0.0) * night.scored for night in nights)


def _link(job: Job, settings: Alerts, partition: str) -> str:
    flat = partition.replace("/", "_")
    if settings.link is not None:
        return settings.link.format(job=job.name, partition=flat)
    return str(job.out_path / "reports" / f"{flat}.html")
