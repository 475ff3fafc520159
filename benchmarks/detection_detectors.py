"""Detector interface: training rows in, test scores and run time out."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.detection_alarms import conformal_rates, own_rates
from benchmarks.detection_tables import Doubles, Flags, Split


class Clock:
    """CPU seconds of fitting and of scoring."""

    def __init__(self) -> None:
        self.fit_cpu_s = 0.0
        self.score_cpu_s = 0.0

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Count the time of the block as fitting."""
        begun = time.process_time()
        yield
        self.fit_cpu_s += time.process_time() - begun

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Count the time of the block as scoring."""
        begun = time.process_time()
        yield
        self.score_cpu_s += time.process_time() - begun


class Scored(NamedTuple):
    """Anomaly scores of the test rows, the higher the more anomalous, and flags if the detector has thresholds."""

    scores: Doubles
    flags: Mapping[float, Flags] = MappingProxyType({})
    """flags by each alpha of the benchmark that the calibration rows support"""


Run = Callable[[Split, int, Clock], Scored]
"""(rows, seed, clock) -> scores"""


class Detector(NamedTuple):
    """A detector: a row of the tables."""

    name: str
    run: Run
    configurations: Mapping[str, Mapping[str, object]]
    """protocol -> settings that change its numbers, for the key of its results"""
    lacks: str | None = None
    """packages that are missing, or nothing"""
    most_rows: int | None = None
    """largest number of rows per table for a slow detector; None: no limit of its own"""


def measured(detector: Detector, split: Split, seed: int) -> dict[str, float]:
    """Measure how well a detector finds the anomalies of a split, and its cost."""
    clock = Clock()
    scored = detector.run(split, seed, clock)
    scores = filled(scored.scores)
    return {
        **quality(scored.scores, split),
        **conformal_rates(scores, split, seed),
        **own_rates(scored.flags, split),
        "fit_cpu_s": clock.fit_cpu_s,
        "score_cpu_s": clock.score_cpu_s,
        "train_rows": len(split.train),
        "test_rows": len(split.test),
        "columns": split.test.shape[1],
    }


def quality(scores: Doubles, split: Split) -> dict[str, float]:
    """Return AUROC and average precision; a row without a finite score counts as the most anomalous."""
    return {
        "auroc": float(roc_auc_score(split.is_anomaly, filled(scores))),
        "ap": float(average_precision_score(split.is_anomaly, filled(scores))),
        "not_scored": float((~np.isfinite(scores)).sum()),
    }


def filled(scores: Doubles) -> Doubles:
    """Return the scores with one above all others for rows that have no finite score."""
    finite = np.isfinite(scores)
    return np.asarray(np.where(finite, scores, np.max(scores, where=finite, initial=0.0) + 1.0))


def warm_up(detector: Detector) -> None:
    """Score a few random rows before measuring, so that no measured time includes imports or compilation."""
    rows = np.random.default_rng(0).standard_normal((_WARM_ROWS, 3))
    is_anomaly = np.arange(_WARM_ROWS) % 8 == 0
    for own in (False, True):
        detector.run(Split(rows, rows, is_anomaly, scores_own_rows=own), 0, Clock())


_WARM_ROWS = 64
