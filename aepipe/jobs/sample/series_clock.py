"""Times of drawn series: steps of the grid, or gaps of the training rows where the order of rows is all that counts."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.errors import ArgumentInvalid
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.series.step_size import step_numbers
from aepipe.tables.arrow_types import plain, sort_of
from aepipe.tables.text_values import ISO, guess_as, parse_texts, short_time

Ints = NDArray[np.int64]


class Start(NamedTuple):
    """First steps of series of one entity, (B,) each."""

    numbers: Ints
    times: Ints
    """In the unit of the stage; not used where steps are time"""


@dataclass(frozen=True, slots=True)
class SeriesClock:
    """Times of the steps of each entity."""

    stage: SeriesStage
    known: dict[str, Ints]
    """Times of the training rows of each entity, ascending; empty where steps are time"""

    @classmethod
    def of(cls, stage: SeriesStage, rows: SeriesRows) -> Self:
        """Keep the times of the rows if steps follow their order."""
        if stage.step is not None or rows.time is None:
            return cls(stage, {})
        used = rows.reasons == 0
        return cls(
            stage,
            {name: np.unique(rows.time[used & (rows.entity == at)]) for at, name in enumerate(rows.names)},
        )

    def start(self, entity: str, text: str | None, end: int) -> Start:
        """Return the first step of a series: at a time as text, else at the step `end` after training.

        Raises:
            ArgumentInvalid: The text is no time, or rows have none.
        """
        time = None if text is None else self._parsed(text)
        if self.stage.step is not None:
            if time is None:
                return Start(np.array([end]), np.zeros(1, np.int64))
            phase = np.array([self.stage.phases.get(entity, self.stage.phase)])
            return Start(step_numbers(np.array([time]), self.stage.step, phase), np.zeros(1, np.int64))
        if entity not in self.known:
            return Start(np.array([end]), np.zeros(1, np.int64))
        after = int(self.known[entity][-1]) + int(np.median(np.diff(self.known[entity])))
        return Start(np.array([end]), np.array([after if time is None else time]))

    def starts(self, entity: str, numbers: Ints) -> Start:
        """Return the first steps of windows of the training by their numbers, (B,)."""
        if entity not in self.known:
            return Start(numbers, np.zeros(len(numbers), np.int64))
        return Start(numbers, self.known[entity][numbers - 1])  # ranks count from 1

    def times(self, entity: str, start: Start, steps: int, *, seed: int) -> pa.Array:
        """Return the times of the steps of each series, (B x steps,), in the plain type of the source.

        Where the order of rows is all that counts, gaps between rows are drawn from the gaps of training.
        """
        if self.stage.step is not None:
            numbers = (start.numbers[:, None] + np.arange(steps)).ravel()
            return self._column(self.stage.times_of_steps(entity, numbers))
        gaps = np.diff(self.known[entity])
        drawn = np.random.default_rng([seed, len(gaps)]).choice(gaps, (len(start.times), steps))
        drawn[:, 0] = 0
        return self._column((start.times[:, None] + np.cumsum(drawn, axis=1)).ravel())

    def _parsed(self, text: str) -> int:
        """Return a time in the unit of the stage; without a zone it is local to the column."""
        kind = None if self.stage.source.time is None else plain(self.stage.source.time_field.type)
        if kind is None:
            raise ArgumentInvalid("start", [f"the rows have no event time: leave it out, got '{text}'"])
        if pa.types.is_integer(kind):
            if not text.lstrip("-").isdecimal():
                raise ArgumentInvalid("start", [f"expected a whole number, as the event time is one, got '{text}'"])
            return int(text)
        texts = pa.array([text])
        guess = guess_as(texts, ISO)
        if not guess.share:
            raise ArgumentInvalid("start", [f"expected a time such as 2026-02-01 or 2026-02-01T06:00, got '{text}'"])
        moment = parse_texts(texts, pa.timestamp("us") if pa.types.is_date(guess.type) else guess.type, ISO)
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        if zone is not None and moment.type.tz is None:
            moment = pc.assume_timezone(moment, zone, ambiguous="earliest", nonexistent="earliest")
        (found,) = moment.cast(pa.int64()).to_pylist()
        return int(found)

    def _column(self, times: Ints) -> pa.Array:
        """Return times in the plain type of the event time."""
        kind = plain(self.stage.source.time_field.type)
        if pa.types.is_integer(kind):
            return pa.array(times).cast(kind)
        if sort_of(kind) == "number":
            return pa.array(times / 1e6).cast(kind)
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        moments = pa.array(times, pa.timestamp("us", zone))
        if sort_of(kind) == "text":
            return pa.array([short_time(text) for text in moments.cast(pa.string()).to_pylist()], kind)
        return moments.cast(kind, safe=False)
