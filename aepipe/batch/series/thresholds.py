"""Adaptive thresholds of the entities of a series job, which one partition hands to the next.

The state of an entity is its buffer of latest scores. An entity without a state starts from the calibration. Entities
beyond the first 10,000 share one state.
"""

import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.calibration.adaptive import Adaptive, State
from aepipe.errors import DataUnreadable
from aepipe.storage import SCORE, Outputs, read_parquet
from aepipe.tables.partitions import natural_order

log = logging.getLogger(__name__)

OUTPUT = "thresholds"
MOST_ENTITIES = 10_000
SHARED = "\x1fother entities"

SCHEMA = pa.schema(
    [
        pa.field("entity", pa.string()),
        pa.field("alpha", pa.float64()),
        pa.field("scores", pa.list_(pa.float64())),
        pa.field("last_alarm", pa.int64()),
    ]
)
"""State of one entity: current threshold on the p-value, latest scores, and time of the last alarm."""


class EntityState(NamedTuple):
    """State of an entity after a partition."""

    state: State
    last_alarm: int | None
    """Time of the last alarm in microseconds; None without one, or without an event time"""


class Thresholds:
    """States of all entities.

    Args:
        bundle: model with its active calibration.
        states: states after the partition before.
        after: name of the partition before; None at the start.
        window: steps of a window.
    """

    def __init__(self, bundle: Bundle, states: dict[str, EntityState], *, after: str | None, window: int) -> None:
        self._window = window
        self._alpha = bundle.calibration.alpha
        self._start = EntityState(State.of(bundle.calibration), None)
        self._states = states
        self.after = after

    def flags(self, entity: str, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return whether each of the next points of an entity is flagged, (B,) in the order of time, and update."""
        name = self._name(entity)
        before = self._states.get(name, self._start)
        adaptive = Adaptive(self._alpha, before.state)
        blocks = [adaptive.flags_of_block(scores[block]) for block in hills(scores, least=self._window)]
        found = np.concatenate([*blocks, np.zeros(0, np.bool_)])
        self._states[name] = EntityState(adaptive.state, before.last_alarm)
        return found

    def last_alarm(self, entity: str) -> int | None:
        """Return the time of the last alarm of an entity in microseconds; None without one."""
        return self._states.get(self._name(entity), self._start).last_alarm

    def set_last_alarm(self, entity: str, time: int) -> None:
        """Record the time of the last alarm of an entity."""
        name = self._name(entity)
        self._states[name] = self._states.get(name, self._start)._replace(last_alarm=time)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the states as rows of the output."""
        names = sorted(self._states)
        for begin in range(0, len(names), 1_000):
            chosen = names[begin : begin + 1_000]
            states = [self._states[name] for name in chosen]
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(chosen, pa.string()),
                    pa.array([each.state.alpha for each in states], pa.float64()),
                    pa.array([each.state.scores for each in states], SCHEMA.field("scores").type),
                    pa.array([each.last_alarm for each in states], pa.int64()),
                ],
                schema=SCHEMA,
            )

    def _name(self, entity: str) -> str:
        return entity if entity in self._states or len(self._states) < MOST_ENTITIES else SHARED


def hills(scores: NDArray[np.floating], *, least: int) -> list[slice]:
    """Cut scores in the order of time, (B,), into blocks of `least` to 3 x `least` points at their lowest scores.

    The scores around an incident rise and fall over the windows that contain it; a block holds all of them.

    >>> hills(np.array([1, 1, 5, 9, 5, 1, 2, 2]), least=2)
    [slice(0, 5, None), slice(5, 8, None)]
    """
    found, begin = [], 0
    values = np.where(np.isfinite(scores), scores, -np.inf)
    while len(values) - begin > 3 * least:
        cut = begin + least + int(values[begin + least : begin + 3 * least].argmin())
        found.append(slice(begin, cut))
        begin = cut
    return [*found, slice(begin, len(values))]


def thresholds_before(outputs: Outputs, partition: str, bundle: Bundle, *, window: int) -> Thresholds:
    """Return the thresholds after the latest earlier partition with the same model and calibration.

    A partition that arrives late continues from the one before it; later partitions stay as they are. Where steps
    follow the order of the rows, scores of training partitions are too low to continue from.
    """
    too_low = bundle.manifest.train_partitions if bundle.series is not None and bundle.series.step is None else ()
    order = natural_order(partition)
    earlier = sorted((name for name in outputs.partitions(SCORE) if natural_order(name) < order), key=natural_order)
    for name in reversed(earlier):
        manifest = None if name in too_low else outputs.manifest(SCORE, name)
        if manifest is None or manifest.model_version != bundle.version or OUTPUT not in manifest.files:
            continue
        if manifest.details.calibration != bundle.calibration.digest:
            continue
        states = _read(outputs, name)
        if states is not None:
            return Thresholds(bundle, states, after=name, window=window)
    return Thresholds(bundle, {}, after=None, window=window)


def _read(outputs: Outputs, partition: str) -> dict[str, EntityState] | None:
    """Return the states after a partition; None if the file is lost or damaged."""
    path = outputs.path(OUTPUT, partition)
    try:
        rows = read_parquet(path, SCHEMA.names)
        columns = (rows.column(name).to_pylist() for name in SCHEMA.names)
        return {
            name: EntityState(State(alpha=alpha, scores=tuple(scores)), last)
            for name, alpha, scores, last in zip(*columns, strict=True)
        }
    except (DataUnreadable, FileNotFoundError, ValueError, KeyError, TypeError):
        log.warning("%s is lost or damaged: the thresholds start from an earlier partition", path)
        return None
