"""Score of a window of a series: distance to known windows, score of the model, and deviation, on one scale.

A window is compared with the training steps of its series and with its own recent past, which is read again from the
source. The memory grows with every night without a state of its own: scores depend neither on the order of runs nor on
how the source is divided into partitions.
"""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from aepipe.frozen import FrozenModel
from aepipe.series.nearest import Bools, Distances, Floats, Segment, deviation, shift_to

FILE = "memory.json"
STEPS_FILE = "memory.npy"
"""Files of the memory in a bundle."""

HISTORY_WINDOWS = 10
"""Windows of its own past that a window is compared with, at all lags.

On 19 series of the Numenta Anomaly Benchmark, 10, 20 and all windows reach a mean VUS-PR of .570, .571 and .575.
"""

WAIT_WINDOWS = 5
"""Delay, in windows, after which an unusual window serves for comparison itself."""

ADMITTED = 0.99
"""Quantile of the training distances up to which a window serves for comparison at once."""

MOST_STEPS, MOST_STEPS_EACH, FEWEST_STEPS_EACH = 200_000, 10_000, 500
"""Training steps kept over all entities, and of one entity: the latest."""

_POOLED_ENTITIES, _POOLED_STEPS_EACH = 4, 1_000
"""Entities, and their latest steps, that an entity without training steps is compared with."""

_SOFTENING = 0.02
"""Added to distance and deviation, in standard deviations: smaller differences are rounding or noise of sensors."""


class Scales(FrozenModel):
    """Medians of the three parts of a score on the training windows, and the distance up to which windows are usual."""

    nearest: float = Field(gt=0)
    model: float = Field(gt=0)
    deviation: float = Field(gt=0)
    usual: float = Field(ge=0, description="quantile of the distances to other training windows")


class EntityMemory(FrozenModel):
    """Training steps and scales of one entity."""

    firsts: tuple[int, ...] = Field(description="step number of the first step of each segment")
    lengths: tuple[int, ...] = Field(description="steps of each segment")
    scales: Scales


class Weights(FrozenModel):
    """Weights of the three terms of a score."""

    nearest: float = 1.0
    model: float = 0.5
    deviation: float = 0.5


OF_STEPS = Weights(nearest=0.25, model=1.0, deviation=0.0)
"""Weights for a network of single steps: among many channels, the distance between windows hides a fault of one.

On generated machines with 9 and 12 channels (4 seeds), the model alone reaches a mean VUS-PR of .62 and .54, with a
quarter of the distance .61 and .58, with the weights for windows .42 and .35.
"""


class _Index(FrozenModel):
    """Content of the JSON file; the steps of the entities follow each other in the array."""

    window: int
    day: float | None = Field(description="steps per day; None if it is not known")
    is_aligned: bool = Field(description="a step has the same number whenever the series is read")
    entities: dict[str, EntityMemory]
    pooled: Scales
    weights: Weights = Weights()


class Parts(NamedTuple):
    """Parts of the scores of windows, (W,) each."""

    nearest: Floats
    model: Floats
    deviation: Floats

    def terms(self, scales: Scales, weights: Weights) -> "Parts":
        """Return the weighted log(1 + r^2) of each part, with r relative to the median."""
        nearest, model, spread = (
            np.log1p((np.maximum(part, 0.0) / scale) ** 2)
            for part, scale in zip(self, (scales.nearest, scales.model, scales.deviation), strict=True)
        )
        return Parts(nearest * weights.nearest, model * weights.model, spread * weights.deviation)

    def score(self, scales: Scales, weights: Weights) -> Floats:
        """Return the sum of the terms.

        On 19 series of the Numenta Anomaly Benchmark, this sum reaches a mean VUS-PR of .570, the distance alone .567,
        and model and deviation alone .48 and .40. It is never far below the best of them on any series.
        """
        nearest, model, spread = self.terms(scales, weights)
        return np.asarray(nearest + (model + spread))


class Match(NamedTuple):
    """Known window that another one is nearest to."""

    distance: float
    """Root mean squared difference in standard deviations, with the time of day."""
    first: int
    """Number of its first step."""
    values: Floats
    """(F, window)"""
    is_past: bool
    """Of the recent past of the series; False: of the training rows."""


class SeriesMemory:
    """Known steps of all entities, and the scales of their scores."""

    def __init__(self, index: _Index, steps: NDArray[np.float32]) -> None:
        """Take the content of the files; steps: (S, F)."""
        self._index, self._steps = index, steps
        self._distances = Distances(index.window, index.day)
        ends = np.cumsum([sum(entity.lengths) for entity in index.entities.values()], dtype=np.int64)
        self._begins = dict(zip(index.entities, (int(end) for end in np.concatenate([[0], ends])), strict=False))
        names = _spread_over(tuple(index.entities), _POOLED_ENTITIES)
        self._pooled = tuple(segment for name in names for segment in _latest(self._of(name), _POOLED_STEPS_EACH))

    @classmethod
    def fit(
        cls,
        segments: Mapping[str, Sequence[Segment]],
        model_scores: Mapping[str, Sequence[Floats]],
        *,
        window: int,
        day: float | None,
        is_aligned: bool = True,
        weights: Weights | None = None,
    ) -> Self:
        """Keep the latest training steps of each entity, and the median of each part over its windows.

        A window is compared with all windows of its entity but the overlapping ones.

        Args:
            segments: Scaled training segments of each entity, in the order of time.
            model_scores: Score of each window by the model, (W,) per segment; NaN for windows that it did not score.
            window: Steps per window.
            day: Steps per day; None if it is not known.
            is_aligned: A step has the same number whenever the series is read; False for the order of rows.
            weights: Weights of the terms; default: for a network of windows.
        """
        each = max(FEWEST_STEPS_EACH, min(MOST_STEPS_EACH, MOST_STEPS // max(len(segments), 1)))
        distances = Distances(window, day)
        entities, steps, found = dict[str, EntityMemory](), list[Floats](), list[Parts]()
        kept_steps = 0
        for name, of_entity in segments.items():
            if kept_steps >= MOST_STEPS:
                break
            kept = [segment for segment in _latest(of_entity, each) if segment.steps >= window]
            if not kept:
                continue
            of_windows = np.concatenate([np.zeros(0), *model_scores[name]])
            parts = _training_parts(distances, kept, of_windows)
            found.append(parts)
            entities[name] = EntityMemory(
                firsts=tuple(segment.first for segment in kept),
                lengths=tuple(segment.steps for segment in kept),
                scales=_scales(parts),
            )
            steps += [segment.values.T for segment in kept]
            kept_steps += sum(segment.steps for segment in kept)
        everything = Parts(*(np.concatenate(part) for part in zip(*found, strict=True))) if found else None
        index = _Index(
            window=window,
            day=day,
            is_aligned=is_aligned,
            entities=entities,
            pooled=_scales(everything),
            weights=weights or Weights(),
        )
        channels = next((len(segment.values) for of_entity in segments.values() for segment in of_entity), 1)
        array = np.concatenate(steps) if steps else np.zeros((0, channels))
        return cls(index, array.astype(np.float32))

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Self:
        """Read the files of a bundle."""
        steps = np.load(io.BytesIO(files[STEPS_FILE]), allow_pickle=False)
        return cls(_Index.model_validate_json(files[FILE]), steps)

    def files(self) -> dict[str, bytes]:
        """Return the content of the files by name; equal memories have equal bytes."""
        buffer = io.BytesIO()
        np.save(buffer, self._steps, allow_pickle=False)
        usual = {"weights"} if self.weights == Weights() else None  # as in files of earlier versions
        return {FILE: self._index.model_dump_json(exclude=usual).encode(), STEPS_FILE: buffer.getvalue()}

    @property
    def window(self) -> int:
        """Steps per window."""
        return self._index.window

    @property
    def weights(self) -> Weights:
        """Weights of the terms."""
        return self._index.weights

    @property
    def history(self) -> int:
        """Steps before the first step of a window that its score depends on."""
        return HISTORY_WINDOWS * self._index.window

    def score(
        self,
        entity: str,
        segments: Sequence[Segment],
        model_scores: Sequence[Floats],
        *,
        first: int | None = None,
        is_training: bool = False,
    ) -> list[Floats]:
        """Return the score of each window, (W,) per segment; NaN before `first` and where the model has no score.

        Args:
            entity: Name of the entity; one that training did not see is compared with steps of all entities.
            segments: Scaled segments in the order of time, from `history` steps before `first`.
            model_scores: Score of each window by the model, (W,) per segment.
            first: Number of the first step from which windows are scored; None: all.
            is_training: The steps have the same numbers as in `fit`.
        """
        parts = self.parts(entity, segments, model_scores, first=first, is_training=is_training)
        scores = []
        for segment, of_segment in zip(segments, parts, strict=True):
            found = np.full(segment.windows(self.window), np.nan)
            found[len(found) - len(of_segment.nearest) :] = of_segment.score(self.scales(entity), self.weights)
            scores.append(found)
        return scores

    def scales(self, entity: str) -> Scales:
        """Return the medians of the parts of an entity; of all entities if training did not see it."""
        known = self._index.entities.get(entity)
        return self._index.pooled if known is None else known.scales

    def parts(
        self,
        entity: str,
        segments: Sequence[Segment],
        model_scores: Sequence[Floats],
        *,
        first: int | None = None,
        is_training: bool = False,
    ) -> list[Parts]:
        """Return the parts of the scores of the windows from `first` on, (W,) per segment; arguments as of `score`."""
        scales, window = self.scales(entity), self._index.window
        to_memory, admitted = self._to_memory(entity, segments, first=first, is_training=is_training)
        found = []
        for at, segment in enumerate(segments):
            early = 0 if first is None else min(max(first - segment.first, 0), segment.steps)
            wanted = segment.since(early)
            to_past = self._distances.to_past(
                wanted,
                segments[: at + 1],
                horizon=self.history,
                admitted=admitted[: at + 1],
                wait=WAIT_WINDOWS * window,
            )
            nearest = np.minimum(to_memory[at][early:], to_past)
            nearest = _soft(np.where(np.isfinite(nearest), nearest, scales.nearest))
            found.append(Parts(nearest, model_scores[at][early:], _soft(deviation(wanted, window))))
        return found

    def nearest(
        self, entity: str, segments: Sequence[Segment], first: int, *, is_training: bool = False
    ) -> Match | None:
        """Return the known window that the distance of the window from step `first` is measured to; None without one.

        Args:
            entity: Name of the entity.
            segments: Segments that contain the window, from `history` steps before it.
            first: Number of the first step of the window.
            is_training: The steps have the same numbers as in `fit`.
        """
        at = max(number for number, segment in enumerate(segments) if segment.first <= first)
        target = segments[at].since(first - segments[at].first)
        target = Segment(first, target.values[:, : self.window])
        _, admitted = self._to_memory(entity, segments[: at + 1], is_training=is_training)
        known, is_aligned = self._known_to(segments[at], entity, is_training=is_training)
        candidates = [
            (self._distances.of_window(target, segment, is_aligned=is_aligned), segment, False) for segment in known
        ]
        for segment, is_admitted in zip(segments, admitted, strict=False):
            distance = self._distances.of_window(target, segment)
            lag = first - segment.first - np.arange(len(distance))
            may_serve = (lag >= self.window) & (lag <= self.history)
            may_serve &= is_admitted | (lag >= WAIT_WINDOWS * self.window)
            candidates.append((np.where(may_serve, distance, np.inf), segment, True))
        found = [(float(distance.min(initial=np.inf)), segment, past) for distance, segment, past in candidates]
        best = min(range(len(found)), key=lambda number: found[number][0], default=None)
        if best is None or not np.isfinite(found[best][0]):
            return None
        distance, (least, segment, is_past) = candidates[best][0], found[best]
        begin = int(distance.argmin())
        return Match(least, segment.first + begin, segment.values[:, begin : begin + self.window], is_past)

    def _to_memory(
        self, entity: str, segments: Sequence[Segment], *, is_training: bool, first: int | None = None
    ) -> tuple[list[Floats], list[Bools]]:
        """Return the distance of each window to the memory, and whether it may serve for comparison at once.

        Windows so far before `first` that all later ones have waited for them are not compared: infinite, and False.
        """
        distances = []
        for segment in segments:
            memory, is_aligned = self._known_to(segment, entity, is_training=is_training)
            asked = 0 if first is None else first - WAIT_WINDOWS * self.window - segment.first
            known = segment.since(min(max(asked, 0), segment.steps))
            found = np.full(segment.windows(self.window), np.inf)
            found[len(found) - known.windows(self.window) :] = self._distances.to_memory(
                known, memory, is_aligned=is_aligned
            )
            distances.append(found)
        return distances, [_soft(distance) <= self.scales(entity).usual for distance in distances]

    def _known_to(self, segment: Segment, entity: str, *, is_training: bool) -> tuple[Sequence[Segment], bool]:
        """Return the training steps of an entity, and whether a segment has the same numbers.

        Numbers that count rows differ from run to run. The steps that a segment shares with the memory tell by how
        much, so that a training window is not compared with itself.
        """
        memory = self._known(entity)
        if self._index.is_aligned or is_training:
            return memory, True
        shift = shift_to(segment, memory, window=self.window) if entity in self._index.entities else None
        if shift is None:
            return memory, False
        return [other._replace(first=other.first - shift) for other in memory], True

    def _known(self, entity: str) -> tuple[Segment, ...]:
        """Return the training steps that windows of an entity are compared with."""
        return self._of(entity) if entity in self._index.entities else self._pooled

    def _of(self, entity: str) -> tuple[Segment, ...]:
        begin, segments = self._begins[entity], []
        known = self._index.entities[entity]
        for first, length in zip(known.firsts, known.lengths, strict=True):
            segments.append(Segment.of(first, self._steps[begin : begin + length]))
            begin += length
        return tuple(segments)


def _latest(segments: Sequence[Segment], steps: int) -> list[Segment]:
    """Return the last steps of segments, in the order of time."""
    kept: list[Segment] = []
    for segment in reversed(segments):
        if steps <= 0:
            break
        cut = max(segment.steps - steps, 0)
        kept.insert(0, segment.since(cut))
        steps -= segment.steps - cut
    return kept


def _training_parts(distances: Distances, kept: Sequence[Segment], model_scores: Floats) -> Parts:
    """Return the parts of training windows; model_scores: of all windows of the entity; the last ones are used."""
    nearest = np.concatenate([distances.to_memory(segment, kept) for segment in kept])
    spread = np.concatenate([deviation(segment, distances.window) for segment in kept])
    return Parts(_soft(nearest), model_scores[-len(nearest) :], _soft(spread))


def _scales(parts: Parts | None) -> Scales:
    """Return the medians; 1 for a part without a finite value, as of a series shorter than two windows."""
    if parts is None:
        return Scales(nearest=1.0, model=1.0, deviation=1.0, usual=0.0)
    finite = [part[np.isfinite(part)] for part in parts]
    nearest, model, spread = (float(np.median(part)) if len(part) else 1.0 for part in finite)
    return Scales(
        nearest=nearest,
        model=max(model, _SOFTENING),
        deviation=spread,
        usual=float(np.quantile(finite[0], ADMITTED)) if len(finite[0]) else 0.0,
    )


def _soft(values: Floats) -> Floats:
    return np.sqrt(values**2 + _SOFTENING**2)


def _spread_over(names: Sequence[str], most: int) -> tuple[str, ...]:
    """Return at most `most` of the names, equally spaced."""
    places = np.linspace(0, len(names) - 1, most).astype(int) if names else ()
    return tuple(dict.fromkeys(names[place] for place in places))
