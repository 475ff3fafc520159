"""Prefect artifacts of a run: a table of the partitions and a link to the report."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from aepipe.storage import PartitionResult
from flows.prefect_api import create_link_artifact, create_markdown_artifact, create_table_artifact


def publish_night(job_name: str, nights: Sequence[PartitionResult], faults: Mapping[str, str]) -> None:
    """Publish a table with one row per partition.

    Args:
        job_name: name of the job.
        nights: results of the partitions.
        faults: reason per partition without new scores.
    """
    rows: list[dict[str, object]] = [
        {
            "partition": _as_cell(night.partition),
            "status": night.status,
            "rows": night.rows,
            "flagged": f"{night.flagged / night.rows:.2%}" if night.rows else "",
            "invalid": night.invalid,
            "seconds": round(sum(night.seconds.values()), 2),
            "reason": _as_cell(night.reason),
        }
        for night in nights
    ]
    named = {night.partition for night in nights}
    rows += [
        {"partition": _as_cell(name), "status": "failed", "reason": _as_cell(why)}
        for name, why in faults.items()
        if name not in named
    ]
    create_table_artifact(rows, key=artifact_key("night", job_name), description=f"{job_name}: partitions of this run")


def publish_summary(job_name: str, markdown: str) -> None:
    """Publish the summary of a night."""
    create_markdown_artifact(
        markdown, key=artifact_key("summary", job_name), description=f"{job_name}: summary of the night"
    )


def publish_report(job_name: str, page: Path, *, what: Literal["report", "comparison"] = "report") -> None:
    """Publish the address of the report, or of the comparison of two models."""
    # browsers do not follow a `file:` link from a web page: users copy it into the address bar
    create_link_artifact(
        page.resolve().as_uri(),
        link_text=_as_text(page.name),
        key=artifact_key(what, job_name),
        description=f"{job_name}: {what} on the machine that ran the flow",
    )


def _as_cell(value: str) -> str:
    """Return a value from data for a cell of a table, where only a link would be more than text.

    >>> _as_cell("[run] memory_mb"), _as_cell("[x](javascript:1)")
    ('[run] memory_mb', '[x] (javascript:1)')
    """
    return "".join(letter if letter.isprintable() else " " for letter in value.replace("](", "] ("))


def _as_text(value: str) -> str:
    r"""Return a value from data so that Markdown shows it as it is: neither link, image nor HTML.

    >>> _as_text("dt=[x](javascript:1)"), _as_text("<img>"), _as_text("dt=2026-01-01, page_3")
    ('dt=\\[x\\](javascript:1)', '&lt;img&gt;', 'dt=2026-01-01, page_3')
    """
    escaped = re.sub(r"([\\`\[\]!|])", r"\\\1", value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return "".join(letter if letter.isprintable() else " " for letter in escaped)


def artifact_key(what: str, job_name: str) -> str:
    """Make an artifact key of lowercase letters, digits and dashes, as Prefect requires.

    >>> artifact_key("night", "Card_Fraud")
    'night-card-fraud'
    """
    return re.sub(r"[^a-z0-9]+", "-", f"{what}-{job_name}".lower()).strip("-")
