"""Quality gate of a sample set: run the checks before publication and render the page that shows them."""

import importlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job
from aepipe.expressions.condition import Condition
from aepipe.inference.related_rows import related_rows
from aepipe.jobs.row_images import drawn_images, top_of
from aepipe.jobs.sample.reference_data import Reference
from aepipe.jobs.sample.sample_facts import facts_of_set
from aepipe.jobs.sample.sample_quality import ReferenceKind, check_quality
from aepipe.progress import Progress
from aepipe.quality.measure import Sides
from aepipe.versions import named_extras

MOST_ROWS = 100_000
"""Rows that are checked: the first ones, since rows are drawn independently."""
MOST_IMAGES = 64


class GateResult(NamedTuple):
    """Failed checks (one sentence each), measured values and HTML page; all empty if the set was not checked."""

    failed_checks: tuple[str, ...] = ()
    quality: Mapping[str, float] = {}
    page: bytes = b""


_SUBJECT = "the check of synthetic rows, which [samples] quality = { check = false } leaves out,"


class QualityGate:
    """Collector of the rows of a set, which runs the quality checks at the end.

    Raises:
        ExtraMissing: The packages of the checks are not installed.
    """

    def __init__(
        self,
        job: Job,
        bundle: Bundle,
        reference: Reference,
        *,
        where: Condition | None,
        shares: Mapping[str, Mapping[str, float]],
    ) -> None:
        with named_extras(_SUBJECT):
            importlib.import_module("sklearn")  # of the extra that also brings the page
        self._job = job
        self._bundle = bundle
        self._reference = reference
        self._where = where
        self._shares = shares
        conditions = [] if where is None else [str(where)]
        for name, wanted in shares.items():
            conditions += [f"{share:.3g} of {name} {value}" for value, share in wanted.items()]
        self._request = ", ".join(conditions)  # in words; empty if rows are distributed as in training
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch of modelled columns."""
        if self._rows < MOST_ROWS:
            self._batches.append(batch.slice(0, MOST_ROWS - self._rows))
        self._rows += batch.num_rows

    def evaluate(self, seed: int, rejected: Mapping[str, int], *, partition: str, progress: Progress) -> GateResult:
        """Evaluate the quality checks and render their page.

        Raises:
            EvaluationInvalid: The real rows do not support a check.
        """
        from aepipe.report.sample_page import SamplePage, render_sample_page  # jinja2: not for rows without checks

        progress("quality", 0.0)
        matching = self._matching_reference(seed)
        real, synthetic = matching or self._reference, pa.Table.from_batches(self._batches)
        # samples of a model with a target image hold only that one of the two images
        names = [name for name in real.train.column_names if name in synthetic.column_names]
        sides = Sides(real.train.select(names), real.held_out.select(names), synthetic.select(names))
        kind: ReferenceKind = "all" if not self._request else "too few" if matching is None else "matching"
        found = check_quality(
            self._job, self._bundle, sides, seed=seed, kind=kind, rows_per_entity=self._rows_per_entity()
        )
        page = SamplePage(
            job=self._job.name,
            model_version=self._bundle.version,
            partition=partition,
            written_at=datetime.now(UTC),
            rows=self._rows,
            seed=seed,
            condition=self._request,
            privacy=self._bundle.manifest.privacy,
            quality=found,
            real=sides.held_out,
            synthetic=sides.synthetic,
            rejected=rejected,
            relations=self._relations(sides),
            facts=facts_of_set(self._bundle.encoding, sides, synthetic, real),
            **self._images(sides),
        )
        progress("quality", 1.0)
        return GateResult(found.failed_checks, found.values, render_sample_page(page).encode())

    def _rows_per_entity(self) -> float:
        """Return the mean number of training rows of an entity; 1 without entities."""
        order, names = self._reference.order, self._bundle.encoding.schema.entity
        if order is None:
            return 1.0
        return int(order.num_rows) / max(int(order.group_by(list(names)).aggregate([]).num_rows), 1)

    def _relations(self, sides: Sides) -> list[tuple[str, float, float, float]]:
        """Return the title of each relation, and the share of rows of each side in which it holds."""
        related = related_rows(self._bundle)
        if not related:
            return []
        shares = zip(related.shares(sides.held_out), related.shares(sides.synthetic), strict=True)
        return [(each.title, each.share, *both) for each, both in zip(related.relations, shares, strict=True)]

    def _matching_reference(self, seed: int) -> Reference | None:
        """Select the real rows that satisfy the request; None if there are too few."""
        found = self._reference if self._where is None else self._reference.matching(self._where)
        for column, shares in self._shares.items():
            found = None if found is None else found.with_shares(column, shares, seed)
        return found

    def _images(self, sides: Sides) -> dict[str, Any]:
        encoding = self._bundle.encoding
        if encoding.layout.has_cells:
            return {}
        shown = (rows.slice(0, MOST_IMAGES) for rows in (sides.synthetic, sides.held_out))
        synthetic, real = (drawn_images(encoding, rows) for rows in shown)
        return {"images": synthetic, "real_images": real, "top": top_of(encoding.layout)}
