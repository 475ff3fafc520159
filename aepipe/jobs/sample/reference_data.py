"""The real rows that synthetic ones are held against: those that a model learned from, and those that it did not."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job
from aepipe.errors import DataUnreadable
from aepipe.expressions import evaluate as where
from aepipe.jobs.sample.class_shares import value_text
from aepipe.jobs.train.split import CALIBRATION, TRAIN, split
from aepipe.jobs.train.training_data import read_chosen
from aepipe.jobs.training_provenance import as_trained
from aepipe.quality.exact_copies import row_codes
from aepipe.quality.measure import FEWEST_ROWS
from aepipe.tables.parquet_reader import READ_ROWS

FEWEST_HELD_OUT = 10
_REMEDY = "or set [samples.quality] check = false, which publishes synthetic rows unjudged"


class Reference(NamedTuple):
    """Modelled columns of training rows and of calibration rows, which no weight was learned from."""

    train: pa.Table
    held_out: pa.Table

    def like(self, condition: str) -> "Reference | None":
        """The rows for which a condition holds; none where it holds for fewer than fifty held-out ones."""
        return Reference(*(rows.filter(where.apply(condition, rows)) for rows in self)).if_enough()

    def of_shares(self, column: str, shares: Mapping[str, float], seed: int) -> "Reference | None":
        """As many of the rows as have these shares of the column's values, written as text; none as for `like`."""
        return Reference(*(_of_shares(rows, column, shares, seed) for rows in self)).if_enough()

    def if_enough(self) -> "Reference | None":
        """Itself, where there are fifty rows of either."""
        return self if min(self.train.num_rows, self.held_out.num_rows) >= FEWEST_ROWS else None


def reference_rows(job: Job, bundle: Bundle) -> Reference:
    """The rows of the bundle's training, read again and split as they were then.

    Raises DataUnreadable where they are gone or have changed, or fewer than ten were held out.
    """
    trained = as_trained(bundle, job)
    _refuse_gone(job, bundle, trained.gone)
    table, names = read_chosen(trained.job, bundle.encoding.schema, trained.partitions)
    parts = split(bundle.encoding.schema, table, partitions=names)
    train, held_out = (table.filter(pa.array(parts == part)) for part in (TRAIN, CALIBRATION))
    encoded = bundle.encoding.encode_table(held_out, rows=READ_ROWS)
    held_out = held_out.filter(pa.array(encoded.invalid == 0))
    _refuse_changed(bundle, held_out)
    if held_out.num_rows < FEWEST_HELD_OUT:
        raise DataUnreadable(
            f"{bundle.version} has {held_out.num_rows} rows that it never learned from, {FEWEST_HELD_OUT} are needed "
            f"to judge synthetic rows: train on more, {_REMEDY}"
        )
    columns = [column.name for column in bundle.encoding.schema.modelled]
    return Reference(train.select(columns), held_out.select(columns))


def _refuse_gone(job: Job, bundle: Bundle, gone: tuple[str, ...]) -> None:
    if gone:
        raise DataUnreadable(
            f"{job.data_path} has no partition {gone[0]}, which {bundle.version} learned from and synthetic rows are "
            f"judged by: put it back, {_REMEDY}"
        )


def _refuse_changed(bundle: Bundle, held_out: pa.Table) -> None:
    """The bundle keeps its first calibration rows, and knows how many there were."""
    golden = bundle.golden.rows
    names = [column.name for column in bundle.encoding.schema.modelled]
    head = held_out.slice(0, golden.num_rows)
    same_rows = held_out.num_rows == bundle.manifest.rows["calibration"] and head.num_rows == golden.num_rows
    if same_rows:
        kept, found = row_codes([golden.select(names), head.select(names)])
        same_rows = bool(np.array_equal(kept, found))
    if not same_rows:
        raise DataUnreadable(
            f"the rows that {bundle.version} learned from have changed since: synthetic rows cannot be judged by them; "
            f"train again, {_REMEDY}"
        )


def _of_shares(rows: pa.Table, column: str, shares: Mapping[str, float], seed: int) -> pa.Table:
    """The last group is that of all other values."""
    places: dict[str | None, int] = {value: at for at, value in enumerate(shares)}
    groups = np.array([places.get(value_text(value), len(places)) for value in rows[column].to_pylist()], np.int64)
    wanted = np.array([*shares.values(), 1 - sum(shares.values())])
    counts = np.bincount(groups, minlength=len(wanted))
    total = min(int(count / share) for count, share in zip(counts, wanted, strict=True) if share > 1e-9)
    order = np.random.default_rng(seed).permutation(len(groups))
    chosen = [order[groups[order] == at][: int(total * share)] for at, share in enumerate(wanted)]
    return rows.take(np.sort(np.concatenate(chosen)))
