"""Drift alarms on simulated nights: false alarms while nothing changes, and nights until a shift is seen.

`python -m benchmarks.drift` prints the figures. A night of a million rows is compared on 50,000 evenly spaced rows. For
independent rows their bin counts are multinomial, so counts are drawn in place of rows.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from aepipe.bundles.drift_reference import DriftReference, ReferenceStream
from aepipe.config.drift import Drift
from aepipe.jobs.drift.monitor import MOST_ROWS, StreamDrift, compare_streams

COLUMNS = 30
TRAINING_ROWS = 100_000
REPLAYS = 20
NIGHTS = 60
SHIFT = 0.25
SHIFTED_REPLAYS = 200


class Replay(NamedTuple):
    """Nights with an alarm, and the streams that raised them, of one replay."""

    alarms: tuple[tuple[int, str], ...]


def reference(seed: int, *, columns: int = COLUMNS, rows: int = TRAINING_ROWS) -> DriftReference:
    """Standard normal columns, as a training set of this many rows has them."""
    drawn = np.random.default_rng(seed).standard_normal((columns, rows))
    return DriftReference(
        streams=tuple(ReferenceStream.fit(f"c{index}", "column", values) for index, values in enumerate(drawn))
    )


def replay(
    known: DriftReference, seed: int, *, nights: int, shifts: Mapping[str, float] | None = None, rows: int = MOST_ROWS
) -> Replay:
    """Compare simulated nights of independent rows with a reference; `shifts` move columns from the first night on."""
    generator = np.random.default_rng(seed)
    shares = {stream.name: _shares(stream, (shifts or {}).get(stream.name, 0.0)) for stream in known.streams}
    state: dict[str, StreamDrift] = {}
    alarms: list[tuple[int, str]] = []
    for night in range(nights):
        counts = {name: generator.multinomial(rows, share) for name, share in shares.items()}
        found = compare_streams(known, counts, state, Drift())
        state = {stream.name: stream for stream in found}
        alarms += [(night, stream.name) for stream in found if stream.alarm]
    return Replay(tuple(alarms))


def _shares(stream: ReferenceStream, shift: float) -> NDArray[np.float64]:
    """Exact probabilities of the bins for a normal distribution with this mean; nothing is missing."""
    below = norm.cdf(np.asarray(stream.edges) - shift)
    return np.diff(np.concatenate([[0.0, 0.0], below, [1.0]]))


def main() -> None:
    """Print both figures."""
    false = [replay(reference(seed), 1_000 + seed, nights=NIGHTS) for seed in range(REPLAYS)]
    count = sum(len(each.alarms) for each in false)
    print(f"{REPLAYS} replays of {NIGHTS} stable nights, {COLUMNS} columns: {count} false alarms")
    known = reference(7)
    seen = [replay(known, seed, nights=3, shifts={"c3": SHIFT}) for seed in range(SHIFTED_REPLAYS)]
    share = np.mean([any(name == "c3" for _, name in each.alarms) for each in seen])
    print(f"shift of {SHIFT} standard deviations in one column: seen within 3 nights in {share:.1%} of the replays")


if __name__ == "__main__":
    main()
