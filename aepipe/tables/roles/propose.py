"""Propose roles of columns by their names and sampled values."""

import re
from collections.abc import Sequence

import pyarrow as pa

from aepipe.tables.partition_dates import Date
from aepipe.tables.roles.drift import Drift
from aepipe.tables.roles.event_time import propose_event_time
from aepipe.tables.roles.keys import propose_keys
from aepipe.tables.roles.labels import propose_label
from aepipe.tables.roles.proposal import Proposal
from aepipe.tables.roles.sampled_values import words_of

_CALENDAR = re.compile(r"weekday|dow|day|dom|doy|week|month|quarter|hour|minute|season")
"""Words that end the name of a column that returns to earlier values, if not within the partitions at hand."""


def propose_roles(
    groups: Sequence[pa.Table], *, dates: Sequence[Date | None] = (), drift: Sequence[Drift] = ()
) -> tuple[Proposal, ...]:
    """Propose roles; columns without a proposal are modelled by their kind.

    Args:
        groups: sampled rows of consecutive partitions, in order, of one schema.
        dates: date of each group by the names of its partitions; empty or None: unknown.
        drift: columns that drift, from `find_drift`.
    """
    table = pa.concat_tables(groups)
    labels = [found for name in table.column_names if (found := propose_label(name, table.column(name)))]
    taken = {label.column for label in labels}
    time = propose_event_time([name for name in table.column_names if name not in taken], groups, dates)
    taken |= {time.column} if time else set()
    keys = propose_keys([name for name in table.column_names if name not in taken], groups)
    taken |= {key.column for key in keys}
    ignored = []
    for moved in drift:
        is_calendar = _CALENDAR.fullmatch("".join(words_of(moved.column)[-1:])) is not None
        if moved.is_counter and moved.column not in taken and not is_calendar:
            why = f"{moved.sentence}, so that all new rows would be flagged; name it a key to keep it"
            ignored.append(Proposal(moved.column, "ignore", why))
    return (*keys, *([time] if time else []), *labels, *ignored)
