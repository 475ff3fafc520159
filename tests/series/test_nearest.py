"""Distances between windows against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aepipe.series.nearest import DAY_WEIGHT, Distances, Segment, deviation

SEED = st.integers(0, 10_000)


def _segments(seed: int, channels: int) -> list[Segment]:
    """Draw two or three segments with gaps between them."""
    generator = np.random.default_rng(seed)
    first, segments = int(generator.integers(0, 50)), []
    for length in generator.integers(1, 25, size=generator.integers(2, 4)):
        segments.append(Segment.of(first, generator.normal(size=(length, channels))))
        first += int(length) + int(generator.integers(1, 9))
    return segments


def _windows(segments: list[Segment], window: int) -> list[tuple[int, NDArray[np.float64]]]:
    """Return the first step number and the values of every window."""
    return [
        (segment.first + at, segment.values[:, at : at + window])
        for segment in segments
        for at in range(segment.values.shape[1] - window + 1)
    ]


def _distance(one: tuple[int, NDArray[np.float64]], other: tuple[int, NDArray[np.float64]], day: float | None) -> float:
    square = float(np.mean((one[1] - other[1]) ** 2))
    if day is not None:
        angle = 2 * math.pi * (one[0] - other[0]) / day
        square += DAY_WEIGHT * ((1 - math.cos(angle)) ** 2 + math.sin(angle) ** 2)
    return math.sqrt(square)


@settings(max_examples=30)
@given(SEED, st.integers(1, 3), st.integers(1, 6), st.sampled_from([None, 12.0]))
def test_the_memory_is_searched_for_windows_that_share_no_step(
    seed: int, channels: int, window: int, day: float | None
) -> None:
    ours, memory = _segments(seed, channels), _segments(seed + 1, channels)

    found = np.concatenate([Distances(window, day).to_memory(segment, memory) for segment in ours])

    expected = [
        min((_distance(one, two, day) for two in _windows(memory, window) if abs(one[0] - two[0]) >= window),
            default=np.inf)
        for one in _windows(ours, window)
    ]  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-7)


@settings(max_examples=30)
@given(SEED, st.integers(1, 2), st.integers(1, 6), st.integers(1, 30), st.integers(0, 20))
def test_the_past_is_searched_up_to_the_horizon_and_others_wait(
    seed: int, channels: int, window: int, horizon: int, wait: int
) -> None:
    segments = _segments(seed, channels)
    generator = np.random.default_rng(seed)
    admitted = [generator.random(segment.windows(window)) < 0.5 for segment in segments]
    distances = Distances(window, 12.0)

    found = np.concatenate(
        [
            distances.to_past(
                segment, segments[: at + 1], horizon=horizon, admitted=admitted[: at + 1], wait=wait
            )
            for at, segment in enumerate(segments)
        ]
    )  # fmt: skip

    windows = list(zip(_windows(segments, window), np.concatenate(admitted), strict=True))
    expected = [
        min((_distance(one, two, 12.0) for two, at_once in windows
             if window <= one[0] - two[0] <= horizon and (at_once or one[0] - two[0] >= wait)), default=np.inf)
        for one, _ in windows
    ]  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-7)


def test_a_memory_of_another_origin_is_compared_with_every_window() -> None:
    segment = Segment.of(0, np.random.default_rng(0).normal(size=(30, 1)))

    aligned, other = (Distances(5, 12.0).to_memory(segment, [segment], is_aligned=known) for known in (True, False))

    assert aligned.min() > 0.1
    assert other.max() == pytest.approx(0, abs=1e-9)


@given(SEED, st.integers(1, 3), st.integers(1, 30))
def test_the_deviation_is_that_of_numpy(seed: int, channels: int, window: int) -> None:
    values = np.random.default_rng(seed).normal(size=(25, channels)) + 50

    found = deviation(Segment.of(3, values), window)

    expected = [math.sqrt(np.mean(values[at : at + window].std(axis=0) ** 2)) for at in range(max(25 - window + 1, 0))]
    assert found == pytest.approx(expected, abs=1e-6)
