"""Delivery of alerts: one message per run, to each channel once."""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job, read_job
from aepipe.errors import AepipeError, DataUnreadable
from aepipe.jobs.alerts.message import AlertMessage, build_message
from aepipe.jobs.results import Result
from aepipe.storage import HIDDEN, SCORE, Outputs, PartitionResult, append_line, digest_of, naming
from aepipe.storage.chained_log import warn_of_incomplete_line
from aepipe.tables.partitions import full_names

log = logging.getLogger(__name__)

LOG = "alerts.jsonl"


class AlertResult(Result):
    """Message and its delivery; `message` is None if there is nothing to send."""

    message: AlertMessage | None
    sent: tuple[str, ...] = ()
    """channels that took the message"""
    known: tuple[str, ...] = ()
    """channels that took it in an earlier run"""
    failed: dict[str, str] = Field(default_factory=dict)
    """reason per channel that did not take it"""

    @property
    def sentence(self) -> str:
        """Describe the delivery, for a terminal."""
        if self.message is None:
            return "nothing to send"
        parts = [f"sent to {', '.join(self.sent)}"] if self.sent else []
        parts += [f"sent before to {', '.join(self.known)}"] if self.known else []
        parts += [f"FAILED for {name}: {why}" for name, why in self.failed.items()]
        return "; ".join(parts) or "not sent: the job has no channel. Name one under [alerts]."


def alert(
    job_path: str | Path,
    *,
    partitions: Sequence[str] | None = None,
    model: str = "champion",
    dry_run: bool = False,
) -> AlertResult:
    """Send the message about scored partitions to every channel that did not take it yet.

    Args:
        job_path: job file, or the folder that holds job.toml.
        partitions: names, `2026-01-05` for `dt=2026-01-05`; None: the latest partition that the version has scored.
        model: alias or version.
        dry_run: build the message and check the addresses of the channels only.

    Raises:
        ArgumentInvalid: a partition has no scores of this version.
        DataUnreadable: the version has scored no partition.
    """
    job = read_job(job_path)
    bundle = Bundle.open(job.bundle_path.with_name(f"{job.bundle_path.name}@{model}"))
    found = {m.partition: m for m in Outputs(job.out_path).manifests(SCORE) if m.model_version == bundle.version}
    if not found:
        raise DataUnreadable(f"{job.out_path} has no scores of {bundle.version}. Run: aepipe score {job.source}")
    chosen = full_names(found, partitions or list(found)[-1:], what=f"scores of {bundle.version}")
    nights = [PartitionResult.of_manifest(found[name], job.out_path, "written") for name in chosen]
    return deliver(job, bundle.version, nights, dry_run=dry_run)


def alert_night(job: Job, model_version: str, nights: Sequence[PartitionResult]) -> AlertResult | None:
    """Send the message about the partitions that a run has scored, or failed to score; None without a channel."""
    news = [night for night in nights if night.status != "already done"]
    if not job.alerts.has_channel or not news:
        return None
    return deliver(job, model_version, news)


def deliver(job: Job, model_version: str, nights: Sequence[PartitionResult], *, dry_run: bool = False) -> AlertResult:
    """Build the message about partitions and send it; a channel that took it once is not asked again."""
    from aepipe.jobs.alerts.channels import channel_faults, channels_of  # mail and HTTP

    message = build_message(job, model_version, nights)
    if not message.is_due(job.alerts.when):
        return AlertResult(message=None)
    if dry_run:
        return AlertResult(message=message, failed=channel_faults(job.alerts))
    path = job.out_path / HIDDEN / LOG
    about = [f"{n.partition} {sorted(n.details.inputs.items())} {n.flagged} {n.reason}" for n in nights]
    identity = digest_of(message.model_version, *about, *message.drift)
    known = _taken(path, identity)
    sent, failed = [], {}
    channels = channels_of(job.alerts)
    for name, send in channels.items():
        if name in known:
            continue
        try:
            send(message)
            sent.append(name)
        except AepipeError as error:
            failed[name] = str(error)
            log.error("alert not delivered: %s", error)
    line = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "identity": identity,
        "partitions": list(message.partitions),
        "flagged": message.flagged,
        "sent": sent,
        "failed": failed,
    }
    append_line(path, json.dumps(line, ensure_ascii=False))
    return AlertResult(message=message, sent=tuple(sent), known=tuple(n for n in channels if n in known), failed=failed)


def _taken(path: Path, identity: str) -> frozenset[str]:
    """Return the channels that took a message."""
    try:
        with naming(path):
            lines = path.read_bytes().splitlines()  # as text, a reason that contains U+2028 would be two lines
    except FileNotFoundError:
        return frozenset()
    taken: set[str] = set()
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            taken |= set(entry["sent"]) if entry["identity"] == identity else set()
        except (ValueError, KeyError, TypeError):
            warn_of_incomplete_line(path, number)
    return frozenset(taken)
