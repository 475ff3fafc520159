"""Detector interface: training rows in, test scores and run time out."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.detection_tables import Doubles, Split


class Clock:
    """CPU seconds of fitting and of scoring, as they are taken."""

    def __init__(self) -> None:
        self.fit_cpu_s = 0.0
        self.score_cpu_s = 0.0

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """What happens within is fitting."""
        begun = time.process_time()
        yield
        self.fit_cpu_s += time.process_time() - begun

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """What happens within is scoring."""
        begun = time.process_time()
        yield
        self.score_cpu_s += time.process_time() - begun


Score = Callable[[Split, int, Clock], Doubles]
"""(rows, seed, clock) -> anomaly score of each test row, higher is more anomalous"""


class Detector(NamedTuple):
    """One line of the tables."""

    name: str
    run: Score
    configurations: Mapping[str, Mapping[str, object]]
    """protocol -> whatever changes its numbers, for the key of its results"""
    lacks: str | None = None
    """what keeps it from running, or nothing"""


def measured(detector: Detector, split: Split, seed: int) -> dict[str, float]:
    """How well a detector tells the anomalies of a split, and what it took."""
    clock = Clock()
    scores = detector.run(split, seed, clock)
    return {
        **quality(scores, split),
        "fit_cpu_s": clock.fit_cpu_s,
        "score_cpu_s": clock.score_cpu_s,
        "train_rows": len(split.train),
        "test_rows": len(split.test),
        "columns": split.test.shape[1],
    }


def quality(scores: Doubles, split: Split) -> dict[str, float]:
    """AUROC and average precision; a row that has no finite score counts as more anomalous than any that has one."""
    finite = np.isfinite(scores)
    filled = np.where(finite, scores, np.max(scores, where=finite, initial=0.0) + 1.0)
    return {
        "auroc": float(roc_auc_score(split.is_anomaly, filled)),
        "ap": float(average_precision_score(split.is_anomaly, filled)),
        "not_scored": float((~finite).sum()),
    }


def warm_up(detector: Detector) -> None:
    """Score a few random rows before measuring, so that no measured time includes imports or compilation."""
    rows = np.random.default_rng(0).standard_normal((_WARM_ROWS, 3))
    is_anomaly = np.arange(_WARM_ROWS) % 8 == 0
    for own in (False, True):
        detector.run(Split(rows, rows, is_anomaly, scores_own_rows=own), 0, Clock())


_WARM_ROWS = 64
