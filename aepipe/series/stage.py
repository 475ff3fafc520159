"""Stage between reading and scoring of a series job: rows of the source to a grid of scaled steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from aepipe.encoding import Encoding
from aepipe.errors import SchemaMismatch
from aepipe.frozen import FrozenModel
from aepipe.series.grid import Grid, build_grid
from aepipe.series.scaling import Scaling
from aepipe.series.step_size import ranks_in_series, step_numbers
from aepipe.tables.arrow_arrays import nulls_of, plain_values, values_of
from aepipe.tables.arrow_types import plain, sort_of
from aepipe.tables.entities import Entities, entity_texts
from aepipe.tables.text_values import ISO, guess_as, notation_of, parse_texts

FILE = "series.json"
"""File of the stage in a bundle."""

NO_TIME = "the event time is missing"
NO_VALUE = "every channel is missing"

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class SeriesRows:
    """Rows of a long table, R in all, in the order of the source."""

    names: tuple[str, ...]
    """(E,) name of each entity"""
    entity: NDArray[np.int64]
    """(R,) index into `names`"""
    time: NDArray[np.int64] | None
    """(R,) microseconds, or the integers of the source; None without an event time"""
    values: NDArray[np.float32]
    """(R, F) channels less their offset, NaN where missing, and in every channel of a row that has no time"""
    reasons: NDArray[np.int64]
    """(R,) 0, or 1 + index of the reason why a row is on no step, in `SeriesStage.row_reasons`"""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.entity)


class SeriesSource(FrozenModel):
    """Columns of a long table and how they are read."""

    encoding: Encoding = Field(description="source columns: the channels as numbers; keys, event time and labels")
    entity: tuple[str, ...] = Field((), description="columns that identify a series")
    time: str | None = Field(None, description="event time; None: the order of the rows")

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, F in all."""
        return self.encoding.layout.columns

    @property
    def time_field(self) -> pa.Field:
        """Field of the event time, with the notation of text that is parsed."""
        return self.encoding.schema.arrow.field(self.time or "")

    @property
    def row_reasons(self) -> tuple[str, ...]:
        """Reasons why a row is on no step."""
        return (NO_TIME, NO_VALUE, *self.encoding.invalid_reasons[1:])

    def read(self, batches: Sequence[pa.RecordBatch]) -> SeriesRows:
        """Read the rows of batches that hold the columns of the source.

        Raises:
            SchemaMismatch: a column is missing or has another type, or the event time is text that is not ISO 8601.
        """
        values, reasons, times = [], [], []
        for batch in batches:
            encoded = self.encoding.encode(batch)
            found = encoded.arrays["num"].copy()
            unfit = np.where(encoded.invalid > 0, encoded.invalid + 2, 0).astype(np.int64)
            unfit[(unfit == 0) & np.isnan(found).all(axis=1)] = 2
            if self.time is not None:
                moments, absent = parsed_times(batch.column(self.time), self.time_field)
                times.append(moments)
                unfit[absent] = 1
            found[unfit > 0] = np.nan
            values.append(found)
            reasons.append(unfit)
        names, entity = entities_of(batches, self.entity)
        none = np.zeros((0, len(self.channels)), np.float32)
        return SeriesRows(
            names=names,
            entity=entity,
            time=None if self.time is None else np.concatenate([*times, np.zeros(0, np.int64)]),
            values=np.concatenate([*values, none]),
            reasons=np.concatenate([*reasons, np.zeros(0, np.int64)]),
        )


class SeriesStage(FrozenModel):
    """Grid and scaling of the series of a model, fitted to its training rows; a file of its bundle."""

    source: SeriesSource
    step: int | None = Field(None, ge=1, description="time between two steps, in microseconds; None: the order alone")
    phase: float = Field(0.0, ge=0, le=1, description="share of a step at which steps lie, over all entities")
    phases: dict[str, float] = Field(default_factory=dict, description="the same by entity")
    window: int = Field(ge=1, description="steps of a window")
    longest_gap: int = Field(ge=0, description="missing steps in a row that a window may contain")
    context: bool = Field(True, description="windows reach into earlier partitions")
    revise: bool = Field(False, description="windows reach into later partitions")
    scaling: Scaling
    longest_runs: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="training points in a row with one value, at most, by entity and channel"
    )

    @property
    def reach(self) -> int:
        """Steps before a point that its score depends on: of its earliest window, and of the values filled there."""
        return self.window - 1 + self.longest_gap

    @property
    def steps_per_day(self) -> float | None:
        """Steps per day; None if the order of steps is not time, or the time is an integer without a unit."""
        return _DAY_US / self.step if self.step is not None and self.has_clock else None

    @property
    def has_clock(self) -> bool:
        """True if the time is in microseconds; False for integers without a unit, and without a time."""
        kind = None if self.source.time is None else self.source.time_field.type
        return kind is not None and not pa.types.is_integer(kind)

    def time_of(self, entity: str, number: int) -> int | None:
        """Return the time of a step of an entity by its number; None if the order of steps is not time."""
        if self.step is None:
            return None
        return round((number + self.phases.get(entity, self.phase)) * self.step)

    def times_of_steps(self, entity: str, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the times of steps of an entity by their numbers; the numbers if the order of steps is not time."""
        if self.step is None:
            return numbers
        return numbers * self.step + round(self.phases.get(entity, self.phase) * self.step)

    def local_moments(self, entity: str, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the times of steps as a clock on the wall shows them, in microseconds; their numbers without a clock.

        Times with a zone are in its local time, so that hours and weekdays are as on the wall.
        """
        if self.step is None or not self.has_clock:
            return numbers
        times = self.times_of_steps(entity, numbers)
        kind = self.source.time_field.type
        if not pa.types.is_timestamp(kind) or kind.tz is None:
            return times
        local = pc.local_timestamp(pa.array(times, pa.timestamp("us", kind.tz)))
        return values_of(local.cast(pa.int64()))

    def grid(self, rows: SeriesRows) -> Grid:
        """Place rows on a grid of scaled steps."""
        scaled = self.scaling.apply(rows.names, rows.entity, rows.values)
        used = ~np.asarray(np.isnan(scaled).all(axis=1))
        order = np.zeros(rows.rows, np.int64) if rows.time is None else rows.time
        if self.step is None or rows.time is None:
            index = ranks_in_series(rows.entity, rows.time, used)
        else:
            phase = np.array([self.phases.get(name, self.phase) for name in rows.names] or [0.0])
            index = step_numbers(rows.time, self.step, phase[rows.entity])
        return build_grid(rows.entity, index, scaled, order=order, longest_gap=self.longest_gap)


def entities_of(batches: Sequence[pa.RecordBatch], columns: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the entities and the entity of each row, (R,); one entity without a name if no columns."""
    rows = sum(batch.num_rows for batch in batches)
    if not columns or not rows:
        return ("",), np.zeros(rows, np.int64)
    texts = pa.concat_arrays(
        [entity_texts([plain_values(batch.column(name)) for name in columns]) for batch in batches]
    )
    found = Entities.of_texts(texts)
    return found.names, found.codes.astype(np.int64)


def parsed_times(array: pa.Array, field: pa.Field) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return times as `times_of`; text is parsed by the notation of the field, if it has one, and missing if it fails.

    Raises:
        SchemaMismatch: as `times_of`, or the column counts in another unit than the field.
    """
    refuse_other_unit(array.type, field)
    notation = notation_of(field)
    if notation is None or sort_of(array.type) != "text":
        return times_of(array)
    return times_of(parse_texts(array, field.type, notation))


def refuse_other_unit(kind: pa.DataType, field: pa.Field) -> None:
    """Raise SchemaMismatch if times of a type are not in the unit of the field: integers, floats, or moments."""
    found, wanted = _unit_of(kind), _unit_of(field.type)
    if notation_of(field) is not None and sort_of(kind) == "text":
        return
    if found != wanted and "null" not in (found, wanted):
        fault = (
            f"'{field.name}' is {kind}, but the model was trained on {field.type}. Write it as {field.type}, or retrain"
        )
        raise SchemaMismatch("the event time", [fault])


def _unit_of(kind: pa.DataType) -> str:
    if sort_of(kind) != "number":
        return "null" if sort_of(kind) == "null" else "moment"
    return "integer" if pa.types.is_integer(plain(kind)) else "seconds"


def times_of(array: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return times in microseconds, (R,), and whether each is missing; integers stay as they are.

    Timestamps with a zone are instants, so that no hour repeats. Floats are seconds. Text that is not ISO 8601 is
    missing.

    Raises:
        SchemaMismatch: no text of the column is ISO 8601, or its type has no order.
    """
    plain = plain_values(array)
    sort = sort_of(plain.type)
    if sort == "number" and not pa.types.is_integer(plain.type):
        seconds = values_of(plain.cast(pa.float64()))
        absent = ~np.isfinite(seconds) if (nulls := nulls_of(plain)) is None else nulls | ~np.isfinite(seconds)
        return np.where(absent, 0, np.nan_to_num(seconds) * 1e6).astype(np.int64), absent
    if sort == "number":
        moments = plain.cast(pa.int64())
    elif sort == "text":
        moments = _moments_of(plain)
    elif sort in ("time", "null"):
        zone = plain.type.tz if pa.types.is_timestamp(plain.type) else None
        try:
            if pa.types.is_time(plain.type):
                raise pa.ArrowInvalid("a time without a date")
            moments = plain.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            fault = f"is {plain.type} that is no moment: expected a date. Write it as a timestamp."
            raise SchemaMismatch("the event time", [fault]) from None
    else:
        raise SchemaMismatch("the event time", [f"is {plain.type}: expected a timestamp, a date or a number."])
    nulls = nulls_of(moments)
    values = values_of(moments)
    return (values if nulls is None else np.where(nulls, 0, values)), np.zeros(
        len(values), np.bool_
    ) if nulls is None else nulls


def _moments_of(texts: pa.Array) -> pa.Array:
    """Return text in ISO 8601 as microseconds, in UTC if most of it has a zone; null for other text."""
    guess = guess_as(texts, ISO)
    if not guess.share and (known := [text for text in texts.to_pylist() if text and text.strip()]):
        fault = (
            f"is {texts.type} such as {known[0][:40]!r}: expected ISO 8601. Name its format under [columns], or write "
            "it as a timestamp."
        )
        raise SchemaMismatch("the event time", [fault])
    kind = pa.timestamp("us") if pa.types.is_date(guess.type) else guess.type
    return parse_texts(texts, kind, ISO).cast(pa.int64())
