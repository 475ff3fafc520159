"""Drift alarms on simulated nights: false alarms while nothing changes, and nights until a shift is seen.

`python -m benchmarks.drift` prints the figures. A night of a million rows is compared on 50,000 evenly spaced rows. For
independent rows their bin counts are multinomial, so counts are drawn in place of rows.

Small nights differ by more than chance, such as by weekday and weather. They are simulated with a mean of their own per
night and column, and taken from the flights of 2013: trained on one month, compared on the next. The rule for such
nights was chosen on January and February; the figures are of later months.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import norm

from aepipe.bundles.drift_reference import DriftReference, ReferenceStream, StreamKey
from aepipe.config.drift import Drift
from aepipe.jobs.drift.monitor import MOST_ROWS, StreamDrift, compare_streams, next_windows
from aepipe.jobs.drift.window import Counts, Window
from aepipe.jobs.example_flights import read_flights

COLUMNS = 30
TRAINING_ROWS = 100_000
REPLAYS = 20
NIGHTS = 60
SHIFT = 0.25
SHIFTED_REPLAYS = 200
SMALL_ROWS = 500
TRAINING_NIGHTS = 30
NIGHT_DEVIATION = 0.2
"""Standard deviation of the means of small nights, in standard deviations of a column."""
LASTING_SHIFT = 0.4
"""Shift of the means of small nights, twice their standard deviation."""
MONTHS = range(3, 12)
"""Months that make a reference of flights; each is compared with the month after it."""
UNCOMPARED = ("flight_id", "scheduled", "status")

T = TypeVar("T")


class Replay(NamedTuple):
    """Nights with an alarm, and the streams that raised them, of one replay."""

    alarms: tuple[tuple[int, str], ...]


def reference(seed: int, *, columns: int = COLUMNS, rows: int = TRAINING_ROWS) -> DriftReference:
    """Return the reference of standard normal columns for a training set of this many rows."""
    drawn = np.random.default_rng(seed).standard_normal((columns, rows))
    return DriftReference(
        streams=tuple(ReferenceStream.fit(f"c{index}", "column", values) for index, values in enumerate(drawn))
    )


def replay(
    known: DriftReference, seed: int, *, nights: int, shifts: Mapping[str, float] | None = None, rows: int = MOST_ROWS
) -> Replay:
    """Compare simulated nights of independent rows with a reference; `shifts` move columns from the first night on."""
    generator = np.random.default_rng(seed)
    shares = {stream.key: _shares(stream, (shifts or {}).get(stream.name, 0.0)) for stream in known.streams}
    drawn = ({key: generator.multinomial(rows, share) for key, share in shares.items()} for _ in range(nights))
    return Replay(tuple((night, stream.name) for night, stream in alarms_of(known, enumerate(drawn), Drift())))


def alarms_of(
    known: DriftReference, nights: Iterable[tuple[T, Counts]], settings: Drift
) -> Iterator[tuple[T, StreamDrift]]:
    """Compare the counts of nights in turn with a reference; yield night and stream of every alarm."""
    state: dict[StreamKey, StreamDrift] = {}
    windows: dict[StreamKey, Window] = {}
    for night, counts in nights:
        found = compare_streams(known, counts, state, settings, windows)
        state = {stream.key: stream for stream in found}
        windows = next_windows(windows, counts, state, settings.window)
        yield from ((night, stream) for stream in found if stream.alarm)


def small_reference(seed: int, *, deviation: float = NIGHT_DEVIATION) -> DriftReference:
    """Return a reference of small nights, each with a mean of its own in every column."""
    generator = np.random.default_rng(seed)
    means = deviation * generator.standard_normal((COLUMNS, TRAINING_NIGHTS, 1))
    drawn = means + generator.standard_normal((COLUMNS, TRAINING_NIGHTS, SMALL_ROWS))
    nights = np.repeat(np.arange(TRAINING_NIGHTS, dtype=np.int32), SMALL_ROWS)
    return DriftReference(
        streams=tuple(
            ReferenceStream.fit(f"c{index}", "column", values.ravel(), nights) for index, values in enumerate(drawn)
        )
    )


def small_replay(
    known: DriftReference,
    seed: int,
    *,
    nights: int,
    deviation: float = NIGHT_DEVIATION,
    rows: int = SMALL_ROWS,
    shifts: Mapping[str, float] | None = None,
    settings: Drift | None = None,
) -> Replay:
    """Compare small nights, each with a mean of its own in every column; `shifts` move the means of columns."""
    generator = np.random.default_rng(seed)
    moved = np.array([(shifts or {}).get(stream.name, 0.0) for stream in known.streams])

    def draw() -> Counts:
        means = moved + deviation * generator.standard_normal(len(known.streams))
        return {
            stream.key: generator.multinomial(rows, _shares(stream, mean))
            for stream, mean in zip(known.streams, means, strict=True)
        }

    drawn = ((night, draw()) for night in range(nights))
    return Replay(tuple((night, stream.name) for night, stream in alarms_of(known, drawn, settings or Drift())))


def flights(month: int, *, with_spread: bool = True, months: int = 1) -> dict[str, tuple[StreamDrift, ...]]:
    """Compare the nights of one or several months with the nights of the month before; return the alarms by night."""
    ends = [date(2013 + each // 12, each % 12 + 1, 1) for each in (month - 1, month, month + months)]
    before, after = (read_flights(first, last - timedelta(days=1)) for first, last in pairwise(ends))
    tables = pa.concat_tables([*before.values(), *after.values()])
    texts = {name: sorted(tables[name].unique().to_pylist()) for name in ("carrier", "origin", "destination")}

    def values(table: pa.Table, name: str) -> NDArray[np.generic]:
        if name in texts:
            return np.array([texts[name].index(value) for value in table[name].to_pylist()], np.int32)
        return np.asarray(table[name].cast(pa.float64()).to_numpy(), np.float64)

    names = [name for name in next(iter(before.values())).column_names if name not in UNCOMPARED]
    nights = np.repeat(np.arange(len(before), dtype=np.int32), [table.num_rows for table in before.values()])
    known = DriftReference(
        streams=tuple(
            ReferenceStream.fit(
                name,
                "column",
                np.concatenate([values(table, name) for table in before.values()]),
                nights if with_spread else None,
            )
            for name in names
        )
    )
    counted = (
        (night, {stream.key: stream.count(values(table, stream.name)) for stream in known.streams})
        for night, table in after.items()
    )
    alarms: dict[str, tuple[StreamDrift, ...]] = {}
    for night, stream in alarms_of(known, counted, Drift()):
        alarms[night] = (*alarms.get(night, ()), stream)
    return alarms


def _shares(stream: ReferenceStream, shift: float) -> NDArray[np.float64]:
    """Return exact probabilities of the bins for a normal distribution with this mean; nothing is missing."""
    below = norm.cdf(np.asarray(stream.edges) - shift)
    return np.diff(np.concatenate([[0.0, 0.0], below, [1.0]]))


def main() -> None:
    """Print the figures."""
    false = [replay(reference(seed), 1_000 + seed, nights=NIGHTS) for seed in range(REPLAYS)]
    count = sum(len(each.alarms) for each in false)
    print(f"{REPLAYS} replays of {NIGHTS} stable nights, {COLUMNS} columns: {count} false alarms")
    known = reference(7)
    seen = [replay(known, seed, nights=3, shifts={"c3": SHIFT}) for seed in range(SHIFTED_REPLAYS)]
    share = np.mean([any(name == "c3" for _, name in each.alarms) for each in seen])
    print(f"shift of {SHIFT} standard deviations in one column: seen within 3 nights in {share:.1%} of the replays")
    _print_small_nights()
    for month in (1, *MONTHS):
        print(f"flights, month {month + 1} against month {month}: {_names(flights(month))}")
        print(f"  with the tolerance of the job alone: {len(flights(month, with_spread=False))} nights")
    print(f"flights, February to June against January: {_names(flights(1, months=5))}")


def _print_small_nights() -> None:
    """Print the false alarms of small nights whose means differ, and how soon a lasting shift is seen."""
    small = [small_replay(small_reference(seed), 1_000 + seed, nights=NIGHTS) for seed in range(REPLAYS)]
    alarms = [name for each in small for _, name in each.alarms]
    print(f"{REPLAYS} replays of {NIGHTS} nights of {SMALL_ROWS} rows whose means differ: {len(alarms)} false alarms")
    shifts = {"c3": LASTING_SHIFT}
    for settings in (Drift(), Drift(window=0)):
        lasting = [
            small_replay(small_reference(seed), 2_000 + seed, nights=NIGHTS, shifts=shifts, settings=settings)
            for seed in range(REPLAYS)
        ]
        nights = [next((night for night, name in each.alarms if name == "c3"), NIGHTS) for each in lasting]
        count = sum(night < NIGHTS for night in nights)
        print(
            f"  lasting shift of {LASTING_SHIFT} in one column, window of {settings.window} nights: seen in {count} of "
            f"{REPLAYS} replays, the median after {np.median(nights) + 1:.0f} nights"
        )


def _names(alarms: Mapping[str, Sequence[StreamDrift]]) -> str:
    """List nights and columns; a column is marked if its window raised the alarm."""
    return str(
        {
            night: [stream.name + ("" if stream.is_sudden else " (window)") for stream in streams]
            for night, streams in alarms.items()
        }
    )


if __name__ == "__main__":
    main()
