"""The gate that a set of synthetic rows passes before it is published: a verdict, and the page that shows it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from aepipe.bundle import Bundle
from aepipe.config import Job
from aepipe.jobs.images import drawn_images, top_of
from aepipe.jobs.judged import judged
from aepipe.jobs.reference import Reference
from aepipe.progress import Progress
from aepipe.quality.measure import Sides
from aepipe.report.synthesis import SetPage, render_set

MOST_JUDGED = 100_000
"""Rows that are looked at: the first, which are as good as any, since rows do not hang together."""
MOST_IMAGES = 64


class Verdict(NamedTuple):
    """A sentence for each bar missed, what was measured, and the page; all empty for a set that was not judged."""

    missed: tuple[str, ...] = ()
    quality: Mapping[str, float] = {}
    page: bytes = b""


class Gate:
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

    def look(self, batch: pa.RecordBatch) -> None:
        """One more batch of modelled columns."""
        if self._rows < MOST_JUDGED:
            self._batches.append(batch.slice(0, MOST_JUDGED - self._rows))
        self._rows += batch.num_rows

    def judge(self, seed: int, rejected: Mapping[str, int], *, partition: str, progress: Progress) -> Verdict:
        """What the bars make of the rows. Raises EvaluationInvalid where they cannot be judged."""
        progress("judge", 0.0)
        sides = self._sides(seed)
        found = judged(self._job, self._bundle, sides, seed=seed)
        page = SetPage(
            job=self._job.name,
            model_version=self._bundle.version,
            partition=partition,
            written_at=datetime.now(UTC),
            rows=self._rows,
            seed=seed,
            asked=self._asked(),
            judgement=found,
            real=sides.held_out,
            synthetic=sides.synthetic,
            rejected=rejected,
            **self._images(sides),
        )
        progress("judge", 1.0)
        return Verdict(found.missed, found.numbers, render_set(page).encode())

    def _sides(self, seed: int) -> Sides:
        """Synthetic rows, and real ones of the kind that was asked for."""
        alike = self._reference if self._where is None else self._reference.like(self._where)
        for column, shares in self._shares.items():
            alike = alike.of_shares(column, shares, seed)
        synthetic = pa.Table.from_batches(self._batches)
        return Sides(alike.train, alike.held_out, synthetic.select(alike.train.column_names))

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
