"""Figures of detection: means over tables, differences with confidence, and goals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.detection_ours import OUR_RECIPE, RECIPES
from benchmarks.detection_tables import Doubles

SPEED = "speed"
"""Protocol and detector of results that have only seconds."""

RESAMPLES = 1_000


class Measured(NamedTuple):
    """Case and seed of some numbers."""

    protocol: str
    detector: str
    table: str
    seed: int


Numbers = Mapping[Measured, Mapping[str, float]]


class Goal(NamedTuple):
    """Required difference between the recipe's mean over tables and a peer's."""

    protocol: str
    measure: str
    rival: str
    least: float


GOALS: Sequence[Goal] = (
    Goal("clean", "auroc", "pyod-ae", 0.04),
    Goal("clean", "auroc", "pyod-knn", 0.01),
    Goal("clean", "ap", "pyod-ae", 0.0),
    Goal("clean", "ap", "pyod-knn", 0.0),
    Goal("clean", "auroc", "nearest-row", 0.0),
    Goal("clean", "ap", "nearest-row", 0.0),
    Goal("polluted", "auroc", "pyod-ae", 0.05),
    Goal("polluted", "auroc", "pyod-iforest", 0.03),
    Goal("polluted", "ap", "pyod-ae", 0.0),
    Goal("polluted", "ap", "pyod-iforest", 0.0),
)


class Level(NamedTuple):
    """Required mean of the recipe over tables."""

    protocol: str
    measure: str
    least: float


LEVELS: Sequence[Level] = (
    Level("clean", "auroc", 0.915),
    Level("clean", "ap", 0.75),
    Level("polluted", "auroc", 0.85),
    Level("polluted", "ap", 0.495),
)

LEVEL_SEEDS = 3
"""Seeds needed to show that a level is reached: with one seed, the mean of 21 tables is off by half a point or more."""

MOST_BEHIND = 0.08
"""Largest accepted difference in AUROC by which the recipe is below the best other detector of a table."""

LEAST_SPEED_RATIO = 10.0


class Versus(NamedTuple):
    """The recipe and a peer on the tables on which both were measured."""

    own: float
    rival: float
    tables: int

    @property
    def difference(self) -> float:
        """Return aepipe's value minus the peer's."""
        return self.own - self.rival


class Band(NamedTuple):
    """Interval of a mean difference over resampled tables."""

    mean: float
    low: float
    high: float
    tables: int


class Best(NamedTuple):
    """The recipe and the best other detector on one table, by AUROC."""

    table: str
    own: float
    other: float
    detector: str

    @property
    def difference(self) -> float:
        """Return aepipe's value minus the peer's."""
        return self.own - self.other


def by_table(numbers: Numbers, protocol: str, detector: str, measure: str) -> dict[str, float]:
    """Return the mean over seeds for each table."""
    found: dict[str, list[float]] = {}
    for case, values in numbers.items():
        if (case.protocol, case.detector) == (protocol, detector) and measure in values:
            found.setdefault(case.table, []).append(values[measure])
    return {table: float(np.mean(seeds)) for table, seeds in found.items()}


def versus(numbers: Numbers, goal: Goal) -> Versus | None:
    """Return the means over the tables that both have, or None without such tables."""
    own, rival = _paired(numbers, goal.protocol, goal.rival, goal.measure)
    return Versus(float(own.mean()), float(rival.mean()), len(own)) if len(own) else None


def bests(numbers: Numbers, protocol: str) -> list[Best]:
    """Return ours and the best of all others for each table that ours was measured on."""
    names = {case.detector for case in numbers if case.protocol == protocol}
    others = {name: by_table(numbers, protocol, name, "auroc") for name in sorted(names) if not is_ours(name)}
    found = []
    for table, own in by_table(numbers, protocol, OUR_RECIPE, "auroc").items():
        known = {name: values[table] for name, values in others.items() if table in values}
        if known:
            best = max(known, key=known.__getitem__)
            found.append(Best(table, own, known[best], best))
    return found


def is_ours(detector: str) -> bool:
    """Return True for a recipe of aepipe."""
    return detector in RECIPES


def band(numbers: Numbers, protocol: str, rival: str, measure: str) -> Band | None:
    """Return the mean difference from a peer over resampled tables, with its central 90 % interval."""
    own, other = _paired(numbers, protocol, rival, measure)
    if not len(own):
        return None
    means = resampled_means(own - other, resamples=RESAMPLES, seed=0)
    low, high = np.quantile(means, [0.05, 0.95])
    return Band(float(means.mean()), float(low), float(high), len(own))


def resampled_means(values: Doubles, *, resamples: int, seed: int) -> Doubles:
    """Return means of bootstrap samples of the values, (resamples,). Efron 1979."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    return np.asarray(values[drawn].mean(axis=1))


def _paired(numbers: Numbers, protocol: str, rival: str, measure: str) -> tuple[Doubles, Doubles]:
    """Return aepipe's and the peer's values by table, over the seeds that both have."""
    both = {
        case for case in numbers if {case._replace(detector=name) for name in (OUR_RECIPE, rival)} <= numbers.keys()
    }
    alike = {case: values for case, values in numbers.items() if case in both}
    mine, theirs = (by_table(alike, protocol, name, measure) for name in (OUR_RECIPE, rival))
    tables = sorted(mine)
    return np.asarray([mine[table] for table in tables]), np.asarray([theirs[table] for table in tables])
