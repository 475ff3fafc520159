"""Drift section of a report page, read from the records of `aepipe drift`."""

from aepipe.jobs.drift.monitor import StreamDrift, read_drift, shown_change
from aepipe.jobs.drift.window import WindowDrift
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.report.page_model import DriftLine

MOST_ALARMS = 40
MOST_CHANGES = 12


def build_drift(scored: ScoredPartitions) -> tuple[DriftLine, ...]:
    """Return the alarms of the partitions, newest first, and the largest changes of the latest compared one."""
    shown = {manifest.partition for manifest in scored.manifests}
    records = [each for each in read_drift(scored.job.out_path, scored.model.version) if each.partition in shown]
    compared = [each for each in records if each.streams]
    alarms = [_line(each.partition, stream) for each in reversed(compared) for stream in each.alarms]
    latest = [_line(each.partition, stream) for each in compared[-1:] for stream in each.streams if not stream.alarm]
    return (*alarms[:MOST_ALARMS], *latest[:MOST_CHANGES])


def _line(partition: str, stream: StreamDrift) -> DriftLine:
    change = shown_change(stream)
    return DriftLine(
        partition=partition,
        name=stream.name,
        kind=stream.kind,
        distance=change.distance,
        low=change.low,
        high=change.high,
        shift=change.shift,
        alarm=stream.alarm,
        partitions=change.partitions if isinstance(change, WindowDrift) else 1,
    )
