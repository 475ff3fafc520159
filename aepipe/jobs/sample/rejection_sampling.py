"""Rejection sampling: draw the rows of each group until enough satisfy the constraints, shuffled by the seed.

Of the rows that satisfy them, some are left out, so that the constraints change no shares of values.
"""

import zlib
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.config.text import MODEL_TOKENS, TokenChoice
from aepipe.errors import JobInvalid
from aepipe.inference.counter_rng import uniforms
from aepipe.inference.sampler import Prior, draw
from aepipe.jobs.sample.class_shares import Group, shuffled
from aepipe.jobs.sample.constraints import ConstraintFilter
from aepipe.jobs.sample.share_correction import ShareCorrection

BATCH_ROWS = 2_048
DRAWS_PER_ROW = 100
FEWEST_DRAWS = 20_000
PILOT_ROWS, CONDITIONAL_PILOT_ROWS = 32_768, 8_192
"""Draws that decide which rows to leave out, without and with a condition: the same for any number of rows."""

_STREAM = "shares"
"""Stream of the uniforms that decide which rows are left out."""


class Source(NamedTuple):
    """Model, seed, prior, device and choice of tokens that rows are drawn with."""

    bundle: Bundle
    seed: int
    prior: Prior
    device: Device
    tokens: TokenChoice = MODEL_TOKENS


def draw_rows(source: Source, groups: Sequence[Group], rules: ConstraintFilter) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all groups, modelled columns only; for zero rows, one empty batch.

    Raises:
        JobInvalid: 100 draws per row do not give enough rows that satisfy the constraints.
    """
    if len(groups) == 1 and not rules:
        yield from draw(
            source.bundle,
            groups[0].rows,
            seed=source.seed,
            prior=source.prior,
            where=groups[0].where,
            tokens=source.tokens,
            device=source.device,
        )
        return
    streams = [_Stream(source, group, rules) for group in groups]
    order = shuffled(tuple(groups), source.seed)
    if not len(order):
        yield from draw(source.bundle, 0, seed=source.seed, prior=source.prior, device=source.device)
    for start in range(0, len(order), BATCH_ROWS):
        wanted = order[start : start + BATCH_ROWS]
        counts = np.bincount(wanted, minlength=len(streams))
        parts = [stream.take(int(count)) for stream, count in zip(streams, counts, strict=True) if count]
        table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
        positions = np.argsort(np.argsort(wanted, kind="stable"), kind="stable")
        (batch,) = table.take(pa.array(positions)).combine_chunks().to_batches()
        yield batch


def group_seed(seed: int, group: Group) -> int:
    """Derive a group's seed, so that no two groups share their noise."""
    return seed if not group.name else zlib.crc32(group.name.encode(), seed & 0xFFFFFFFF)


class _Stream:
    """Stream of the accepted rows of one group, in order."""

    def __init__(self, source: Source, group: Group, rules: ConstraintFilter) -> None:
        self._rules = rules
        self._group = group
        self._draws = max(FEWEST_DRAWS, DRAWS_PER_ROW * group.rows)
        self._seed = group_seed(source.seed, group)
        pilot = (PILOT_ROWS if group.where is None else CONDITIONAL_PILOT_ROWS) if rules.is_of_one_row else 0
        batches = draw(
            source.bundle,
            max(self._draws, pilot),
            seed=self._seed,
            prior=source.prior,
            where=group.where,
            tokens=source.tokens,
            device=source.device,
        )
        first, found = list[pa.RecordBatch](), 0
        while found < pilot:
            first.append(next(batches))
            found += first[-1].num_rows
        self._correction = ShareCorrection(first, [rules.satisfied(batch) for batch in first])
        self._batches = chain(first, batches)
        self._drawn = 0
        self._kept: list[pa.RecordBatch] = []

    def take(self, rows: int) -> pa.Table:
        """Take the next rows."""
        available = sum(batch.num_rows for batch in self._kept)
        while available < rows:
            batch = next(self._batches, None) if self._drawn < self._draws else None
            if batch is None:
                title, share = self._rules.strictest()
                problem = (
                    f"{title} holds for {100 * share:.2g} % of the drawn rows: expected {self._group.rows:,} rows from "
                    f"{self._draws:,} draws; request fewer rows or remove the constraint"
                )
                raise JobInvalid("[[samples.constraints]]", [problem])
            uniform = uniforms(_STREAM, seed=self._seed, start=self._drawn, rows=batch.num_rows, width=1)[:, 0]
            self._drawn += batch.num_rows
            kept = self._correction.kept(batch, uniform)
            self._kept.append(self._rules.filter(batch if kept.all() else batch.filter(pa.array(kept))))
            available += self._kept[-1].num_rows
        table = pa.Table.from_batches(self._kept).combine_chunks()
        self._kept = table.slice(rows).to_batches()
        return table.slice(0, rows)
