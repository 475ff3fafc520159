"""Limit of exact copies: draws that equal a training row more often than held-out rows do are drawn again.

In a table without duplicates no held-out row equals a training row, but a model of its distribution draws the training
rows again where few combinations of values are likely.
"""

from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.inference.counter_rng import uniforms
from aepipe.jobs.sample.reference_data import Reference
from aepipe.quality.exact_copies import Copies, RowSet, copies

PILOT_ROWS = 8_192
"""Draws whose share of copies decides if there is a limit: the same for any number of rows."""
MOST_REJECTED = 0.5
"""Largest share of draws that are drawn again; a model with more copies is left to the quality gate."""

_STREAM = "copies"
"""Stream of the uniforms that decide which copies are kept."""


class CopyLimit:
    """Rule that keeps each copy of a training row with one probability."""

    title: ClassVar[str] = "copies of training rows as seldom as among held-out rows"

    def __init__(self, train: pa.Table, *, kept: float, seed: int) -> None:
        """Create a rule.

        Args:
            train: Training rows, with the columns of the draws.
            kept: Share of the copies that are kept.
            seed: Seed of the set.
        """
        self._known = RowSet(train)
        self._kept = kept
        self._seed = seed
        self._seen = 0

    def holds(self, batch: pa.RecordBatch, _: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the mask of the rows that are no copies, or copies that are kept, (B,)."""
        uniform = uniforms(_STREAM, seed=self._seed, start=self._seen, rows=batch.num_rows, width=1)[:, 0]
        self._seen += batch.num_rows
        return ~self._known.contains(pa.Table.from_batches([batch])) | (uniform < self._kept)


def fit_copy_limit(reference: Reference, pilot: pa.Table, *, seed: int) -> CopyLimit | None:
    """Return the limit that gives draws the held-out rows' share of copies; None if a set needs or can have none.

    Args:
        reference: Training and held-out rows.
        pilot: Rows drawn without conditions.
        seed: Seed of the set.
    """
    train, held_out = (rows.select(pilot.column_names) for rows in reference.sides)
    found = copies(train, held_out, pilot)
    kept = share_kept(found)
    return None if kept == 1 else CopyLimit(train, kept=kept, seed=seed)


def share_kept(found: Copies) -> float:
    """Return the share of copies to keep, so that they are as frequent as among held-out rows.

    All are kept if the quality gate would accept these rows.

    >>> counts = {"bound": 0.04, "rows": 8_192, "held_out_rows": 500}
    >>> [round(share_kept(Copies(share=share, held_out=0.02, **counts)), 3) for share in (0.03, 0.1, 0.9)]
    [1.0, 0.184, 1.0]
    """
    if found.is_within:
        return 1.0
    kept = found.held_out * (1 - found.share) / (found.share * (1 - found.held_out))
    return kept if found.share * (1 - kept) <= MOST_REJECTED else 1.0
