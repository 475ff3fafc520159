"""Real rows that sample sets are compared with: training rows, and held-out rows that trained no weight."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job
from aepipe.encoding.number_statistics import far_rows
from aepipe.errors import DataUnreadable
from aepipe.expressions.condition import Condition
from aepipe.jobs.sample.class_shares import value_text
from aepipe.jobs.train.split import CALIBRATION, DEV, TRAIN, split
from aepipe.jobs.train.training_rows import read_chosen
from aepipe.jobs.training_provenance import Trained, as_trained
from aepipe.quality.exact_copies import row_codes
from aepipe.quality.measure import FEWEST_ROWS
from aepipe.tables.parquet_reader import READ_ROWS

FEWEST_HELD_OUT = 10
_REMEDY = "or set [samples.quality] check = false to publish without checks."
WITHOUT_SEQUENCES = "or set [samples] sequences = false to draw independent rows."


@dataclass(frozen=True, slots=True)
class Reference:
    """Sampled columns of training rows and of held-out (calibration) rows.

    order: Entity columns and event time of the training rows; None if the schema lacks one of them.
    """

    train: pa.Table
    held_out: pa.Table
    order: pa.Table | None = None

    @property
    def sides(self) -> tuple[pa.Table, pa.Table]:
        """Training rows, then held-out rows."""
        return self.train, self.held_out

    def matching(self, condition: Condition) -> "Reference | None":
        """Select the rows that satisfy a condition; None if fewer than fifty of either side do."""
        return Reference(*(rows.filter(condition.mask(rows)) for rows in self.sides)).if_enough()

    def with_shares(self, column: str, shares: Mapping[str, float], seed: int) -> "Reference | None":
        """Subsample to these shares of a column's values, written as text; None as for `matching`."""
        return Reference(*(_with_shares(rows, column, shares, seed) for rows in self.sides)).if_enough()

    def if_enough(self) -> "Reference | None":
        """Return itself if either side has fifty rows, else None."""
        return self if min(self.train.num_rows, self.held_out.num_rows) >= FEWEST_ROWS else None


def reference_rows(job: Job, bundle: Bundle, *, remedy: str = _REMEDY) -> Reference:
    """Read the rows of the bundle's training again, split as they were then.

    Args:
        job: Job of the set.
        bundle: Model that draws it.
        remedy: End of an error's sentence: how to do without these rows.

    Raises:
        DataUnreadable: They are gone or have changed, or fewer than ten were held out.
    """
    trained = as_trained(bundle, job)
    if trained.gone:
        raise DataUnreadable(
            f"{job.data_path} has no partition {trained.gone[0]}, which {bundle.version} was trained on and the checks "
            f"of synthetic rows need. Restore it, {remedy}"
        )
    train, _, held_out = _parts(bundle, trained)
    encoded = bundle.encoding.encode_table(held_out, rows=READ_ROWS)
    kept = encoded.invalid == 0
    far, columns = far_rows(bundle.encoding.layout.numbers, encoded.arrays.get("num"))
    if columns:  # training has left them out, too
        kept &= ~far
    held_out = held_out.filter(pa.array(kept))
    _refuse_changed(bundle, held_out, remedy)
    if held_out.num_rows < FEWEST_HELD_OUT:
        raise DataUnreadable(
            f"{bundle.version} has too few held-out rows to check synthetic rows: expected {FEWEST_HELD_OUT}, got "
            f"{held_out.num_rows}. Train on more rows, {remedy}"
        )
    columns = [column.name for column in bundle.encoding.sampled]
    schema = bundle.encoding.schema
    is_ordered = bool(schema.entity) and schema.event_time is not None
    order = train.select([*schema.entity, str(schema.event_time)]) if is_ordered else None
    return Reference(train.select(columns), held_out.select(columns), order)


def learned_rows(job: Job, bundle: Bundle) -> tuple[pa.Table, pa.Table] | None:
    """Read the modelled columns of training rows, and of those that trained no weight; None if partitions are gone."""
    trained = as_trained(bundle, job)
    if trained.gone:
        return None
    train, dev, calibration = _parts(bundle, trained)
    columns = [column.name for column in bundle.encoding.schema.modelled]
    return train.select(columns), pa.concat_tables([calibration, dev]).select(columns)


def _parts(bundle: Bundle, trained: Trained) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Read the rows of a training again: training, dev and calibration rows."""
    schema = bundle.encoding.schema
    table, names = read_chosen(trained.job, schema, trained.partitions)
    parts = split(schema, table, partitions=names)
    train, dev, calibration = (table.filter(pa.array(parts == part)) for part in (TRAIN, DEV, CALIBRATION))
    return train, dev, calibration


def _refuse_changed(bundle: Bundle, held_out: pa.Table, remedy: str) -> None:
    """Compare the held-out rows with the bundle's golden rows, the first of them, and with their recorded number."""
    golden = bundle.golden.rows
    names = [column.name for column in bundle.encoding.schema.modelled]
    head = held_out.slice(0, golden.num_rows)
    same_rows = held_out.num_rows == bundle.manifest.rows["calibration"] and head.num_rows == golden.num_rows
    if same_rows:
        kept, found = row_codes([golden.select(names), head.select(names)])
        same_rows = bool(np.array_equal(kept, found))
    if not same_rows:
        raise DataUnreadable(
            f"the training rows of {bundle.version} have changed and cannot serve to check synthetic rows. Train "
            f"again, {remedy}"
        )


def _with_shares(rows: pa.Table, column: str, shares: Mapping[str, float], seed: int) -> pa.Table:
    """Subsample rows to the shares of values; the last group holds all other values."""
    group_of: dict[str, int] = {value: index for index, value in enumerate(shares)}
    groups = np.array([group_of.get(value_text(value), len(group_of)) for value in rows[column].to_pylist()], np.int64)
    wanted = np.array([*shares.values(), 1 - sum(shares.values())])
    counts = np.bincount(groups, minlength=len(wanted))
    total = min(int(count / share) for count, share in zip(counts, wanted, strict=True) if share > 1e-9)
    order = np.random.default_rng(seed).permutation(len(groups))
    chosen = [order[groups[order] == group][: int(total * share)] for group, share in enumerate(wanted)]
    return rows.take(np.sort(np.concatenate(chosen)))
