"""Flagged rows that verdicts mute: the row itself, and rows like it within a distance."""

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aepipe.jobs.feedback.verdicts import Verdict, Verdicts, key_texts
from aepipe.jobs.results import Result
from aepipe.storage import PartitionResult
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices


class MutedRow(Result):
    """Flagged row that a verdict mutes; `key` is the row's own, `by` the key of the verdict."""

    partition: str
    row: int
    key: str
    by: str
    reason: str


def muted_rows(nights: Sequence[PartitionResult], verdicts: Verdicts | None, *, today: date) -> tuple[MutedRow, ...]:
    """Return the flagged rows that the verdicts mute on a day.

    An `expected` verdict mutes its own row. With a distance, it also mutes rows with the same first attribution whose
    standardised value differs by at most the distance.
    """
    active = [verdict for verdict in verdicts.latest if verdict.is_active(today)] if verdicts is not None else []
    if verdicts is None or not active:
        return ()
    return tuple(row for night in nights if night.scores is not None for row in _of_night(night, verdicts, active))


def _of_night(night: PartitionResult, verdicts: Verdicts, active: Sequence[Verdict]) -> Iterator[MutedRow]:
    assert night.scores is not None
    names = read_footer(night.scores).schema.names
    if not set(verdicts.keys) <= set(names):
        return
    reasons = [name for name in ("reason_1", "reason_1_z") if name in names]
    begin = 0
    for batch in slices([night.scores], [*verdicts.keys, "is_anomaly", *reasons], rows=READ_ROWS):
        places = pc.indices_nonzero(batch.column("is_anomaly"))
        flagged = pa.Table.from_batches([batch.take(places)])
        keys = key_texts(flagged, verdicts.keys).to_pylist()
        for at, verdict in enumerate(muting_verdicts(flagged, keys, active)):
            if verdict is not None:
                yield MutedRow(
                    partition=night.partition,
                    row=begin + places[at].as_py(),
                    key=str(keys[at]),
                    by=verdict.key,
                    reason=verdict.reason,
                )
        begin += batch.num_rows


def muting_verdicts(flagged: pa.Table, keys: Sequence[str | None], active: Sequence[Verdict]) -> list[Verdict | None]:
    """Return the verdict that mutes each flagged row; None if the row stays.

    Args:
        flagged: flagged rows with the columns reason_1 and reason_1_z, if the model writes them.
        keys: key of each row.
        active: verdicts that mute, the latest last.
    """
    own = {verdict.key: verdict for verdict in active}
    found: list[Verdict | None] = [own.get(key or "") for key in keys]
    if "reason_1" not in flagged.column_names:
        return found
    reasons = flagged["reason_1"].cast(pa.string()).to_pylist()
    values = np.asarray(flagged["reason_1_z"].to_numpy(), np.float64)
    for verdict in active:
        if verdict.mute is None or verdict.first_reason_z is None:
            continue
        near = np.abs(values - verdict.first_reason_z) <= verdict.mute
        for at in np.flatnonzero(near).tolist():
            if found[at] is None and reasons[at] == verdict.first_reason:
                found[at] = verdict
    return found
