"""Synthetic series of the entities that a series job was trained on.

A step is the sum of three parts, fitted to the training steps of its entity: the profile along the calendar, what the
model decodes from latents that follow each other, and the noise that the model does not explain.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.inference.window_codec import WindowCodec
from aepipe.series.generation.autoregression import VectorAutoregression
from aepipe.series.generation.calendar import History, Profile, closed_cells, cycles, hours_of_week
from aepipe.series.generation.noise import Noise
from aepipe.series.generation.overlap import hop_of, overlap_add
from aepipe.series.grid import Grid, filled
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.series.step_size import find_period

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_WINDOWS = 3
"""Length of the shortest series, in windows, that can be drawn."""

_PAIRS_OF_ALL = 100.0
"""Weight of the process of all entities in the fit of one, in pairs of windows."""

_LEAST_WEIGHT = 0.75
"""Sum of weights from which a step of the training is rebuilt by as many windows as a drawn one."""

_LEAST_SINGULAR = 0.05
"""Singular value, relative to the largest, below which decoded channels are one."""

_MOST_STEPS = 5_000_000


@dataclass(frozen=True, slots=True)
class EntityModel:
    """Fitted parts of one entity, in scaled units."""

    profile: Profile
    mean: Floats
    """(Z,) latents less the latents of the profile, on average"""
    path: VectorAutoregression
    level: Floats
    slope: Floats
    """(F,), (F, F): regression of the training steps less their profile on what the model decodes beyond it"""
    noise: Noise
    low: Floats
    high: Floats
    """(F,) range of the training steps"""
    starts: Ints
    """Numbers of the first steps of training windows"""
    end: int
    """Number of the first step after training"""
    closed: NDArray[np.bool_] | None
    """Cells of the week without rows; None if steps are no time"""


class _Windows(NamedTuple):
    """Latents of the training windows of one entity."""

    starts: Ints
    """(W,) first step on the grid, every stride along each segment"""
    segment: Ints
    """(W,) segment of each window"""
    deviations: Floats
    """(W, Z) latents less the latents of the profile"""
    of_profile: Floats
    """(W, Z)"""

    def pairs(self, lag: int) -> tuple[Ints, Ints]:
        """Return the indices of windows of one segment that lie `lag` windows apart."""
        first = np.arange(max(len(self.starts) - lag, 0))
        first = first[self.segment[first] == self.segment[first + lag]]
        return first, first + lag


class SeriesGenerator:
    """Generator of the series of a model, fitted to its training rows."""

    def __init__(self, codec: WindowCodec, stage: SeriesStage, rows: SeriesRows) -> None:
        """Fit the latents of all entities that are long enough; the other parts of each are fitted when it is drawn."""
        self._codec, self.stage = codec, stage
        self.hop, self._stride = hop_of(codec.steps)
        self._lag = self.hop // self._stride
        self._week = hours_of_week(stage.step if stage.has_clock else None)
        self._grid = grid = stage.grid(rows)
        self._known = grid.values.astype(np.float64)
        self._models = dict[str, EntityModel]()
        self.steps = dict.fromkeys(rows.names, 0)
        """Training steps of each entity"""
        segments = dict[str, list[int]]()
        for segment, entity in enumerate(grid.segment_entity.tolist()):
            segments.setdefault(rows.names[entity], []).append(segment)
            self.steps[rows.names[entity]] += int(grid.segment_lengths[segment])
        self._segments = {name: of for name, of in segments.items() if self._has_windows(name, of)}
        """Segments of each entity that can be drawn"""
        self._fit()

    @property
    def fewest_steps(self) -> int:
        """Training steps that an entity needs to be drawn."""
        return FEWEST_WINDOWS * self.stage.window

    def draw(self, entity: str, firsts: Ints, steps: int, *, seed: int) -> Floats:
        """Draw series of an entity, (B, steps, F) in scaled units.

        A series depends on seed, entity and its number alone; a shorter one is the beginning of a longer one.

        Args:
            entity: Name of the entity.
            firsts: (B,) number of the first step of each series.
            steps: Steps of each series.
            seed: Random seed.
        """
        mine, length = self.model(entity), self._codec.steps
        lead = length - self.hop
        count = (steps + lead) // self.hop + 1
        offsets = np.arange(count) * self.hop - lead
        entropy = [seed, zlib.crc32(entity.encode())]
        of_path, of_noise = (np.random.default_rng([*entropy, part]) for part in (0, 1))
        deviations = mine.path.draw(len(firsts), count, of_path)
        shape = (len(firsts), count, -1, length)
        known = (firsts[:, None] + offsets)[:, :, None] + np.arange(length)
        profiles = mine.profile.at(self._moments(entity, known.ravel())).reshape(-1, self._channels)
        of_profile = self._codec.encode(profiles, np.arange(len(firsts) * count) * length) + mine.mean
        drawn = self._codec.decode(of_profile + deviations.reshape(len(of_profile), -1)).reshape(shape)
        usual = self._codec.decode(of_profile).reshape(shape)
        beyond, _ = overlap_add(drawn - usual, offsets, steps=steps)
        moments = self._moments(entity, (firsts[:, None] + np.arange(steps)).ravel())
        profile = mine.profile.at(moments).reshape(len(firsts), steps, -1)
        noise = mine.noise.draw(len(firsts), steps, of_noise)
        return np.clip(profile + mine.level + beyond @ mine.slope + noise, mine.low, mine.high)

    def calendars(self, entities: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the cycles that channels of entities follow, the most frequent first."""
        counts = Counter(each.cycle.name for name in entities for each in self._profiles[name].channels)
        return tuple(name for name, _ in counts.most_common())

    def is_open(self, entity: str, numbers: Ints) -> NDArray[np.bool_]:
        """Return whether steps lie in hours of the week in which the entity has rows, (S,)."""
        closed = self.model(entity).closed
        if closed is None or self._week is None:
            return np.ones(len(numbers), np.bool_)
        return ~closed[self._week.cells_of(self._moments(entity, numbers))]

    def _moments(self, entity: str, numbers: Ints) -> Ints:
        return self.stage.local_moments(entity, numbers)

    def _fit(self) -> None:
        values = filled(self._grid, longest_gap=self.stage.longest_gap)
        self._channels = values.shape[1]
        self.histories = {name: self._history(name) for name in self._segments}
        """Scaled training steps of each entity that can be drawn"""
        candidates = cycles(self.stage.step if self.stage.has_clock else None, period=find_period(self._grid))
        self._profiles = {name: Profile.fit(history, candidates) for name, history in self.histories.items()}
        self._windows = {name: self._encoded(values, name) for name in self._segments}
        if self._windows:
            pairs = [self._centred(each) for each in self._windows.values()]
            self._pooled = VectorAutoregression.fit(*(np.concatenate(side) for side in zip(*pairs, strict=True)))

    def _has_windows(self, name: str, segments: Sequence[int]) -> bool:
        """Tell whether an entity has enough steps, and a segment with two windows that follow each other."""
        longest = max(int(self._grid.segment_lengths[segment]) for segment in segments)
        return self.steps[name] >= self.fewest_steps and longest >= self._codec.steps + self.hop

    def _history(self, name: str) -> History:
        return History(self._moments(name, self._numbers(name)), self._known[self._steps(name)])

    def _encoded(self, values: NDArray[np.float32], name: str) -> _Windows:
        """Encode the windows of an entity, and its profile at the same moments."""
        grid, profile = self._grid, self._profiles[name]
        starts, owner, of_profile = [], [], []
        for segment in self._segments[name]:
            begin, length = int(grid.segment_starts[segment]), int(grid.segment_lengths[segment])
            local = np.arange(0, length - self._codec.steps + 1, self._stride)
            if not len(local):
                continue
            usual = profile.at(self._moments(name, _numbers_of(grid, segment)))
            of_profile.append(self._codec.encode(usual, local))
            starts.append(begin + local)
            owner.append(np.full(len(local), segment))
        first, expected = np.concatenate(starts), np.concatenate(of_profile)
        return _Windows(first, np.concatenate(owner), self._codec.encode(values, first) - expected, expected)

    def _centred(self, windows: _Windows) -> tuple[Floats, Floats]:
        """Return pairs of latents that follow each other, less their mean, (M, Z) each."""
        first, second = windows.pairs(self._lag)
        centred = windows.deviations - windows.deviations.mean(axis=0)
        return centred[first], centred[second]

    def model(self, name: str) -> EntityModel:
        """Return the parts of an entity, fitted when first asked for."""
        if name not in self._models:
            self._models[name] = self._fitted(name)
        return self._models[name]

    def _fitted(self, name: str) -> EntityModel:
        """Fit what remains beyond the profile: its part that the model decodes, and the noise."""
        grid, known, profile, windows = self._grid, self._known, self._profiles[name], self._windows[name]
        segments = self._segments[name]
        mean = windows.deviations.mean(axis=0)
        beyond, rest = [], []
        for segment in segments:
            begin, length = int(grid.segment_starts[segment]), int(grid.segment_lengths[segment])
            mine = np.flatnonzero(windows.segment == segment)[:: self._lag]
            usual = profile.at(self._moments(name, _numbers_of(grid, segment)))
            rest.append(known[begin : begin + length] - usual)
            if not len(mine):
                beyond.append(np.full_like(rest[-1], np.nan))
                continue
            expected = windows.of_profile[mine]
            decoded = self._codec.decode(expected + windows.deviations[mine]) - self._codec.decode(expected + mean)
            found, weight = overlap_add(decoded[None], windows.starts[mine] - begin, steps=length)
            beyond.append(np.where(weight[:, None] >= _LEAST_WEIGHT, found[0], np.nan))
        level, slope = _regression(np.concatenate(beyond), np.concatenate(rest))
        noise = Noise.fit([of - level - by @ slope for of, by in zip(rest, beyond, strict=True)])
        own = known[self._steps(name)]
        low, high = (
            np.nanmin(np.nan_to_num(own, nan=np.inf), axis=0),
            np.nanmax(np.nan_to_num(own, nan=-np.inf), axis=0),
        )
        is_known = np.isfinite(low)
        numbers = grid.segment_number + grid.segment_lengths
        place = windows.starts - grid.segment_starts[windows.segment]
        return EntityModel(
            profile=profile,
            mean=mean,
            path=VectorAutoregression.fit(*self._centred(windows), towards=self._pooled, weight=_PAIRS_OF_ALL),
            level=level,
            slope=slope,
            noise=noise,
            low=np.where(is_known, low, 0.0),
            high=np.where(is_known, high, 0.0),
            starts=grid.segment_number[windows.segment] + place,
            end=int(max(numbers[segment] for segment in segments)),
            closed=self._closed(name),
        )

    def _closed(self, name: str) -> NDArray[np.bool_] | None:
        """Return the hours of the week without rows; None if steps are no time, or lie far apart."""
        numbers = self._numbers(name)
        whole = np.arange(numbers.min(), numbers.max() + 1)
        if self._week is None or len(whole) > _MOST_STEPS:
            return None
        has_row = np.zeros(len(whole), np.bool_)
        has_row[numbers[np.isfinite(self.histories[name].values).any(axis=1)] - whole[0]] = True
        return closed_cells(self._week, self._moments(name, whole), has_row)

    def _numbers(self, name: str) -> Ints:
        """Return the numbers of the steps of an entity within its series."""
        return np.concatenate([_numbers_of(self._grid, segment) for segment in self._segments[name]])

    def _steps(self, name: str) -> Ints:
        """Return the steps of an entity on the grid."""
        grid = self._grid
        starts, lengths = grid.segment_starts, grid.segment_lengths
        return np.concatenate([int(starts[at]) + np.arange(int(lengths[at])) for at in self._segments[name]])


def _numbers_of(grid: Grid, segment: int) -> Ints:
    """Return the numbers of the steps of a segment within its series."""
    return int(grid.segment_number[segment]) + np.arange(int(grid.segment_lengths[segment]))


def _regression(cause: Floats, effect: Floats) -> tuple[Floats, Floats]:
    """Return intercepts, (F,), and slopes, (F, F), over the rows where all are known; 0 for constant causes."""
    channels = cause.shape[1]
    known = np.isfinite(cause).all(axis=1) & np.isfinite(effect).all(axis=1)
    x, y = cause[known], effect[known]
    if not len(x):
        return np.zeros(channels), np.zeros((channels, channels))
    slopes = np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(axis=0), rcond=_LEAST_SINGULAR)[0]
    return y.mean(axis=0) - x.mean(axis=0) @ slopes, slopes
