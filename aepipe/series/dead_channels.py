"""Channels of one entity that died: without a value, or constant for longer than training ever saw."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from aepipe.series.stage import SeriesRows

FEWEST_POINTS = 10
"""Points from which a constant channel is remarkable."""


class Dead(NamedTuple):
    """Channel of an entity that is dead in a partition."""

    entity: str
    channel: int
    value: float | None
    """the only value, less the offset of the channel; None: it has no value"""
    longest: int
    """points in a row that had one value in training, at most"""


def longest_runs(rows: SeriesRows) -> dict[str, tuple[int, ...]]:
    """Return the largest number of points in a row with one value, by entity and channel; 0 without any value."""
    used = np.flatnonzero(rows.reasons == 0)
    moments = used if rows.time is None else rows.time[used]
    order = used[np.lexsort((moments, rows.entity[used]))]
    found = np.zeros((len(rows.names), rows.values.shape[1]), np.int64)
    for channel, column in enumerate(rows.values[order].T):
        known = ~np.isnan(column)
        of, value = rows.entity[order][known], column[known]
        if not len(value):
            continue
        is_new = np.ones(len(value), np.bool_)
        is_new[1:] = (of[1:] != of[:-1]) | (value[1:] != value[:-1])
        begins = np.flatnonzero(is_new)
        np.maximum.at(found[:, channel], of[begins], np.diff(begins, append=len(value)))
    return {name: tuple(runs) for name, runs in zip(rows.names, found.tolist(), strict=True)}


def find_dead(rows: SeriesRows, known_runs: Mapping[str, tuple[int, ...]]) -> list[Dead]:
    """Return the dead channels of the entities that training knew, in the order of the entities.

    A channel is dead if it has values in training and none in these rows, or if it has one value in all of them, more
    often than ever in a row in training.

    Args:
        rows: rows of a partition, without its context.
        known_runs: longest runs in training, from `longest_runs`.
    """
    used = rows.reasons == 0
    entity, values = rows.entity[used], rows.values[used].astype(np.float64)
    counts = np.bincount(entity, minlength=len(rows.names))
    shape = (len(rows.names), values.shape[1])
    known, low, high = np.zeros(shape, np.int64), np.full(shape, np.inf), np.full(shape, -np.inf)
    np.add.at(known, entity, ~np.isnan(values))
    np.minimum.at(low, entity, np.where(np.isnan(values), np.inf, values))
    np.maximum.at(high, entity, np.where(np.isnan(values), -np.inf, values))
    found = []
    for at in np.argsort(rows.names).tolist():
        runs = known_runs.get(rows.names[at])
        if runs is None or counts[at] < FEWEST_POINTS:
            continue
        for channel, longest in enumerate(runs):
            if longest and not known[at, channel]:
                found.append(Dead(rows.names[at], channel, None, longest))
            elif known[at, channel] > max(longest, FEWEST_POINTS - 1) and low[at, channel] == high[at, channel]:
                found.append(Dead(rows.names[at], channel, float(low[at, channel]), longest))
    return found
