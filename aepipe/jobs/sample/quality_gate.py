"""The gate that a set of synthetic rows passes before it is published: a verdict, and the page that shows it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job
from aepipe.jobs.row_images import drawn_images, top_of
from aepipe.jobs.sample.reference_data import Reference
from aepipe.jobs.sample.sample_quality import ReferenceKind, check_quality
from aepipe.progress import Progress
from aepipe.quality.measure import Sides
from aepipe.report.sample_page import SetPage, render_set

MOST_ROWS = 100_000
"""Rows that are looked at: the first, which are as good as any, since rows do not hang together."""
MOST_IMAGES = 64


def page_name(partition: str) -> str:
    """Of the page about a published set, beside the nights' pages.

    >>> page_name("dt=2026-01-01/hour=7")
    'samples-dt=2026-01-01_hour=7.html'
    """
    return f"samples-{partition.replace('/', '_')}.html"


class GateResult(NamedTuple):
    """A sentence for each bar missed, what was measured, and the page; all empty for a set that was not judged."""

    failed_checks: tuple[str, ...] = ()
    quality: Mapping[str, float] = {}
    page: bytes = b""


class QualityGate:
    """Gathers the rows of a set as they are drawn, and judges them at the end."""

    def __init__(
        self,
        job: Job,
        bundle: Bundle,
        reference: Reference,
        *,
        where: str | None,
        shares: Mapping[str, Mapping[str, float]],
    ) -> None:
        self._job = job
        self._bundle = bundle
        self._reference = reference
        self._where = where
        self._shares = shares
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """One more batch of modelled columns."""
        if self._rows < MOST_ROWS:
            self._batches.append(batch.slice(0, MOST_ROWS - self._rows))
        self._rows += batch.num_rows

    def evaluate(self, seed: int, rejected: Mapping[str, int], *, partition: str, progress: Progress) -> GateResult:
        """What the bars make of the rows. Raises EvaluationInvalid where they cannot be judged."""
        progress("quality", 0.0)
        alike = self._alike(seed)
        sides = self._sides(alike or self._reference)
        kind: ReferenceKind = "all" if not self._asked() else "few" if alike is None else "some"
        found = check_quality(self._job, self._bundle, sides, seed=seed, kind=kind)
        page = SetPage(
            job=self._job.name,
            model_version=self._bundle.version,
            partition=partition,
            written_at=datetime.now(UTC),
            rows=self._rows,
            seed=seed,
            asked=self._asked(),
            quality=found,
            real=sides.held_out,
            synthetic=sides.synthetic,
            rejected=rejected,
            **self._images(sides),
        )
        progress("quality", 1.0)
        return GateResult(found.failed_checks, found.values, render_set(page).encode())

    def _alike(self, seed: int) -> Reference | None:
        """Real rows of the kind that was asked for; none where they are few."""
        found = self._reference if self._where is None else self._reference.like(self._where)
        for column, shares in self._shares.items():
            found = None if found is None else found.of_shares(column, shares, seed)
        return found

    def _sides(self, real: Reference) -> Sides:
        synthetic = pa.Table.from_batches(self._batches)
        names = [name for name in real.train.column_names if name in synthetic.column_names]  # of two images, one
        return Sides(real.train.select(names), real.held_out.select(names), synthetic.select(names))

    def _images(self, sides: Sides) -> dict[str, Any]:
        encoding = self._bundle.encoding
        if encoding.layout.kind == "table":
            return {}
        shown = (rows.slice(0, MOST_IMAGES) for rows in (sides.synthetic, sides.held_out))
        synthetic, real = (drawn_images(encoding, rows) for rows in shown)
        return {"images": synthetic, "real_images": real, "top": top_of(encoding.layout)}

    def _asked(self) -> str:
        """In words; empty where rows are as in training."""
        asked = [] if self._where is None else [self._where]
        for name, shares in self._shares.items():
            asked += [f"{share:.3g} of {name} {value}" for value, share in shares.items()]
        return ", ".join(asked)
