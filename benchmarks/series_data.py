"""Labelled series: the Numenta Anomaly Benchmark from a folder, and generated machines with planted faults."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.streams import all_series

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Times = NDArray[np.datetime64]

NAB_LEARNED = 0.15
"""Share of a series that may be learned from, as in the rules of the Numenta Anomaly Benchmark."""

STEP_S = 300
DAY = 86_400 // STEP_S
MACHINE_DAYS, MACHINE_LEARNED_DAYS = 35, 10
FAULTS_PER_MACHINE = 6
WIDE_STEPS, WIDE_LEARNED, WIDE_DAY = 6_000, 2_500, 96
"""Steps of a machine with many channels, the first of them that are learned from, and steps per day."""


class LabelledSeries(NamedTuple):
    """Values of T points in F channels, (T, F), with times and labels, (T,)."""

    name: str
    times: Times
    values: NDArray[np.float64]
    anomalous: Bools
    learned: int
    """points at the beginning that may be learned from; only the others are measured"""

    @property
    def weeks(self) -> float:
        """Return the duration of the measured part."""
        return float((self.times[-1] - self.times[self.learned]) / np.timedelta64(7 * 86_400, "s"))


def nab(folder: Path) -> Iterator[LabelledSeries]:
    """Yield all series of the folder, by name; those without an anomaly in the measured part measure alarms only."""
    for series in all_series(folder):
        inside = [(series.times >= first) & (series.times <= last) for first, last in series.windows]
        anomalous = np.any(inside, axis=0) if inside else np.zeros(len(series.times), np.bool_)
        learned = int(NAB_LEARNED * len(series.values))
        yield LabelledSeries(series.name, series.times, series.values[:, None], anomalous, learned)


def machines(seed: int) -> Iterator[LabelledSeries]:
    """Yield one machine for each kind of fault: three correlated channels with a daily season, and planted faults."""
    for number, (kind, plant) in enumerate(FAULTS.items()):
        generator = np.random.default_rng([seed, number])
        values = _healthy(generator)
        anomalous = np.zeros(len(values), np.bool_)
        begin = MACHINE_LEARNED_DAYS * DAY
        slots = np.linspace(begin, len(values), FAULTS_PER_MACHINE + 1).astype(int)
        for slot, after in pairwise(slots):
            length = 2 if kind == "spike" else int(generator.integers(DAY // 4, DAY))
            start = int(generator.integers(slot + DAY // 4, after - length - DAY // 4))
            fault = slice(start, start + length)
            values[fault] = plant(values, fault, generator)
            anomalous[fault] = True
        times = np.datetime64("2026-01-05", "s") + np.arange(len(values)) * np.timedelta64(STEP_S, "s")
        yield LabelledSeries(kind, times, values, anomalous, begin)


def wide_machine(seed: int, channels: int) -> LabelledSeries:
    """Generate one machine whose channels follow four factors, with eight planted faults.

    Six faults are of one channel in twelve, as in a sensor that fails; two are of all channels.
    """
    generator = np.random.default_rng([77, seed, channels])
    steps = np.arange(WIDE_STEPS)
    daily, fast = (
        size * np.sin(2 * np.pi * steps / period + generator.uniform(0, 2 * np.pi))
        for size, period in ((1.0, WIDE_DAY), (0.6, 24))
    )
    slow = 0.7 * _autoregressive(generator, WIDE_STEPS, 2, kept=0.97)
    factors = np.column_stack([daily, fast, slow])
    values = factors @ generator.normal(size=(4, channels)) + 0.3 * _autoregressive(generator, WIDE_STEPS, channels)
    spread = values[:WIDE_LEARNED].std(axis=0)
    values /= spread
    anomalous = np.zeros(WIDE_STEPS, np.bool_)
    kinds = generator.permutation(list(WIDE_FAULTS))
    slots = np.linspace(WIDE_LEARNED, WIDE_STEPS, len(kinds) + 1).astype(int)
    for kind, slot, after in zip(kinds, slots, slots[1:], strict=False):
        length = 2 if kind == "spike" else int(generator.integers(WIDE_DAY // 4, WIDE_DAY))
        start = int(generator.integers(slot + WIDE_DAY, after - length - WIDE_DAY // 2))
        fault = slice(start, start + length)
        chosen = generator.choice(channels, size=max(1, channels // 12), replace=False)
        part = slice(None) if kind in ("frequency", "missing season") else chosen
        values[fault, part] = WIDE_FAULTS[kind](values, fault, generator)[:, part]
        anomalous[fault] = True
    times = np.datetime64("2026-01-05", "s") + steps * np.timedelta64(86_400 // WIDE_DAY, "s")
    return LabelledSeries(f"{channels} channels", times, values, anomalous, WIDE_LEARNED)


def _healthy(generator: np.random.Generator) -> NDArray[np.float64]:
    """Generate load, temperature and pressure: the load has a daily and an hourly period, the others follow it."""
    steps = np.arange(MACHINE_DAYS * DAY)
    shift = generator.uniform(0, 2 * np.pi, 2)
    load = np.sin(2 * np.pi * steps / DAY + shift[0]) + 0.4 * np.sin(2 * np.pi * steps / 24 + shift[1])
    noise = _autoregressive(generator, len(steps), 3)
    temperature = np.convolve(load, np.ones(12) / 12)[: len(steps)] + 0.15 * noise[:, 1]
    pressure = -0.7 * load + 0.3 * temperature + 0.15 * noise[:, 2]
    return np.stack([load + 0.15 * noise[:, 0], temperature, pressure], axis=1)


def _autoregressive(
    generator: np.random.Generator, steps: int, channels: int, *, kept: float = 0.6
) -> NDArray[np.float64]:
    """Generate noise of unit variance in which a step keeps a share of the one before."""
    shocks = generator.normal(size=(steps, channels)) * np.sqrt(1 - kept**2)
    noise = np.empty_like(shocks)
    before = np.zeros(channels)
    for step, shock in enumerate(shocks):
        before = noise[step] = kept * before + shock
    return noise


Plant = Callable[[NDArray[np.float64], slice, np.random.Generator], NDArray[np.float64]]


def _one(change: Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]) -> Plant:
    """Change one channel, chosen at random."""

    def plant(values: NDArray[np.float64], fault: slice, generator: np.random.Generator) -> NDArray[np.float64]:
        part = values[fault].copy()
        channel = generator.integers(values.shape[1])
        part[:, channel] = change(part[:, channel], generator)
        return part

    return plant


def _sign(generator: np.random.Generator) -> float:
    return float(generator.choice([-1.0, 1.0]))


def _faster(values: NDArray[np.float64], fault: slice, generator: np.random.Generator) -> NDArray[np.float64]:
    """Replay the last steps twice as fast."""
    length = fault.stop - fault.start
    return values[fault.start - length : fault.start + length : 2][:length]


def _another_day(values: NDArray[np.float64], fault: slice, generator: np.random.Generator) -> NDArray[np.float64]:
    """Take one channel from half a day before, so that it no longer fits the others."""
    part = values[fault].copy()
    channel = generator.integers(values.shape[1])
    part[:, channel] = values[fault.start - DAY // 2 : fault.stop - DAY // 2, channel]
    return part


def _no_season(values: NDArray[np.float64], fault: slice, generator: np.random.Generator) -> NDArray[np.float64]:
    """Keep the noise, at the mean of all days."""
    part = values[fault]
    smooth = np.apply_along_axis(lambda column: np.convolve(column, np.ones(5) / 5, mode="same"), 0, part)
    return part - smooth + values.mean(axis=0)


FAULTS: dict[str, Plant] = {
    "spike": _one(lambda part, generator: part + _sign(generator) * 1.5),
    "level": _one(lambda part, generator: part + _sign(generator) * 0.6),
    "trend": _one(lambda part, generator: part + _sign(generator) * np.linspace(0, 1.0, len(part))),
    "variance": _one(lambda part, generator: part + 0.3 * generator.normal(size=len(part))),
    "frequency": _faster,
    "correlation": _another_day,
    "stuck": _one(lambda part, generator: np.full_like(part, part[0])),
    "missing season": _no_season,
}
"""Kinds of faults: what the points of a fault become."""

WIDE_FAULTS: dict[str, Plant] = {
    "spike": lambda values, fault, generator: values[fault] + 2.5 * _sign(generator),
    "level": lambda values, fault, generator: values[fault] + _sign(generator),
    "trend": lambda values, fault, generator: (
        values[fault] + _sign(generator) * np.linspace(0, 1.6, fault.stop - fault.start)[:, None]
    ),
    "variance": lambda values, fault, generator: (
        values[fault] + 0.6 * generator.normal(size=(fault.stop - fault.start, values.shape[1]))
    ),
    "frequency": _faster,
    "correlation": lambda values, fault, generator: values[
        fault.start - WIDE_DAY // 2 : fault.stop - WIDE_DAY // 2
    ].copy(),
    "stuck": lambda values, fault, generator: np.repeat(values[[fault.start]], fault.stop - fault.start, axis=0),
    "missing season": _no_season,
}
"""The same kinds for a machine with many channels, in standard deviations: what all channels would become."""
