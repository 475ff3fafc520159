"""Stylised facts of a sample set of sequences or windows, and of the real rows."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.encoding import Encoding
from aepipe.encoding.series import SeriesCodec
from aepipe.jobs.sample.reference_data import Reference
from aepipe.quality.alignment import joined
from aepipe.quality.measure import Sides
from aepipe.quality.stylised_facts import StylisedFacts, facts_of_windows, stylised_facts
from aepipe.series.stage import entities_of, times_of

MOST_WINDOWS = 5_000

FactLine = tuple[str, StylisedFacts, StylisedFacts]
"""Name of a column or channel, facts of the synthetic rows, facts of the real rows."""


def facts_of_set(encoding: Encoding, sides: Sides, synthetic: pa.Table, reference: Reference) -> list[FactLine]:
    """Return the facts of each number of a set of sequences, or of each channel of windows; empty for other sets.

    Args:
        encoding: encoding of the model.
        sides: rows that the checks compare.
        synthetic: rows of the set, with entity and event time if it has sequences.
        reference: real rows of the training.
    """
    if encoding.series is not None:
        return _of_windows(encoding.series, sides)
    schema, order = encoding.schema, reference.order
    if order is None or not set(order.column_names) <= set(synthetic.column_names):
        return []
    real = reference.train
    for name in order.column_names:
        real = real if name in real.column_names else real.append_column(name, order[name])
    numbers = [column.name for column in schema.modelled if column.kind == "number"]
    time = str(schema.event_time)
    drawn, known = (_in_order(rows, schema.entity, time) for rows in (synthetic, real))
    return [(name, _facts(drawn, name), _facts(known, name)) for name in numbers if name in synthetic.column_names]


def _facts(ordered: tuple[pa.Table, NDArray[np.int64]], name: str) -> StylisedFacts:
    rows, series = ordered
    values = joined(rows[name]).cast(pa.float64(), safe=False)
    return stylised_facts(np.asarray(values.to_numpy(zero_copy_only=False), np.float64), series)


def _of_windows(codec: SeriesCodec, sides: Sides) -> list[FactLine]:
    both = []
    for rows in (sides.synthetic, sides.held_out):
        found = codec.encode(joined(rows[codec.name].slice(0, MOST_WINDOWS)))
        both.append(facts_of_windows(found.steps[found.reasons == 0]))
    names = [codec.name] if len(codec.channels) == 1 else [channel.name for channel in codec.channels]
    return list(zip(names, *both, strict=True))


def _in_order(rows: pa.Table, entity: Sequence[str], time: str) -> tuple[pa.Table, NDArray[np.int64]]:
    """Return rows by entity and time, and the code of the entity of each."""
    batches = rows.combine_chunks().to_batches()
    _, codes = entities_of(batches, entity)
    times = [times_of(batch.column(time))[0] for batch in batches]
    order = np.lexsort((np.concatenate([np.zeros(0, np.int64), *times]), codes))
    return rows.take(pa.array(order)), codes[order]
