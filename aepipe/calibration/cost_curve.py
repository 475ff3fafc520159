"""Threshold selection by expected cost: cost curve over thresholds, and its minimum."""

from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from aepipe.config.cost_table import Costs
from aepipe.errors import CalibrationInvalid
from aepipe.frozen import FrozenModel
from aepipe.metrics.ranking import f_beta

Floats = NDArray[np.float64]

POINTS = 200
"""Maximum number of curve points kept in the calibration."""


class Curve(NamedTuple):
    """Expected rates, alerts and cost per night of T thresholds, (T,) each, the strictest first."""

    alpha: Floats
    threshold: Floats
    false_alarm_rate: Floats
    """share of normal rows above the threshold"""
    recall: Floats
    """share of anomalies above it"""
    alarms: Floats
    cost: Floats


class Steps(NamedTuple):
    """Thresholds that a calibration offers, the strictest first: rows above `threshold` have p <= `alpha`."""

    alpha: Floats
    threshold: Floats


def curve_of_labels(
    steps: Steps, scores: NDArray[np.floating], is_anomaly: NDArray[np.bool_], costs: Costs, *, rows: float
) -> Curve:
    """Compute the cost curve from labelled rows.

    The share of anomalies among the rows does not matter; the base rate of `costs` does. Raises CalibrationInvalid if
    all rows are of one class.

    Args:
        steps: thresholds, (T,).
        scores: (B,).
        is_anomaly: (B,), the labels.
        costs: costs and base rate.
        rows: rows per night.
    """
    found = np.asarray(scores, np.float64)
    if is_anomaly.all() or not is_anomaly.any():
        kind = "anomalies" if is_anomaly.any() else "normal"
        raise CalibrationInvalid(
            f"labelled rows are of one class: expected both, got {len(found):,} rows, all {kind}. "
            "Give partitions with both classes, or leave out [evaluate] anomaly."
        )
    rate, recall = (share_above(found[chosen], steps.threshold) for chosen in (~is_anomaly, is_anomaly))
    flagged = (1 - costs.base_rate) * rate + costs.base_rate * recall
    return _curve(steps, rate, recall, flagged, costs, rows)


def curve_of_nights(steps: Steps, scores: NDArray[np.floating], costs: Costs, *, rows: float) -> Curve:
    """Estimate the cost curve from unlabelled scores; flags beyond the expected false alarms count as anomalies.

    recall = (flagged share - (1 - base rate) alpha) / base rate, clipped to [0, 1], with alpha as the false-alarm rate.

    Args:
        steps: thresholds, (T,).
        scores: (B,).
        costs: costs and base rate.
        rows: rows per night.
    """
    flagged = share_above(np.asarray(scores, np.float64), steps.threshold)
    excess = flagged - (1 - costs.base_rate) * steps.alpha
    return _curve(steps, steps.alpha, np.clip(excess / costs.base_rate, 0.0, 1.0), flagged, costs, rows)


def share_above(scores: Floats, thresholds: Floats) -> Floats:
    """Return the share of the scores that exceed each threshold.

    >>> share_above(np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 5.0])).tolist()
    [1.0, 0.25, 0.0]
    """
    return np.asarray(1 - np.searchsorted(np.sort(scores), thresholds, side="right") / len(scores))


def _curve(steps: Steps, rate: Floats, recall: Floats, flagged: Floats, costs: Costs, rows: float) -> Curve:
    cost = rows * costs.expected(false_alarm_rate=rate, recall=recall)
    return Curve(steps.alpha, steps.threshold, rate, recall, rows * flagged, cost)


def cheapest(curve: Curve, capacity: float | None) -> int:
    """Return the index of least cost among the thresholds with at most `capacity` alerts; ties go to the strictest.

    If even the strictest threshold has more alerts, return it: the calibration supports no stricter one.
    """
    if capacity is None:
        return int(np.argmin(curve.cost))
    allowed = curve.alarms <= capacity
    return int(np.argmin(np.where(allowed, curve.cost, np.inf))) if allowed.any() else 0


class Point(FrozenModel):
    """One threshold with its expected rates, alerts and cost per night."""

    alpha: FiniteFloat
    threshold: FiniteFloat
    false_alarm_rate: FiniteFloat
    recall: FiniteFloat
    alarms: FiniteFloat
    cost: FiniteFloat


class Choice(FrozenModel):
    """Record of how alpha was selected, kept in the calibration and shown in manifests and reports."""

    by: Literal["labels", "nights", "assumption"]
    sentence: str = Field(description="selected alpha and its evidence, in words")
    costs: Costs | None = None
    capacity: int | None = None
    rows: FiniteFloat = Field(description="rows per night")
    chosen: Point | None = Field(None, description="None if the cost of thresholds is unknown")
    points: tuple[Point, ...] = ()

    @classmethod
    def of(
        cls, curve: Curve, costs: Costs, *, capacity: int | None, rows: float, by: Literal["labels", "nights"], on: str
    ) -> Self:
        """Select the cheapest point of a curve. on: description of the rows behind the curve."""
        index = cheapest(curve, capacity)
        point = _point(curve, index)
        limit = "" if capacity is None else f" under {capacity:,} alarms per night"
        is_over = capacity is not None and point.alarms > capacity
        excess = "; even that exceeds the capacity" if is_over else ""
        sentence = (
            f"alpha = {point.alpha:.4g} has the least expected cost{limit}, estimated from {on}: {point.alarms:,.1f} "
            f"alarms and a cost of {point.cost:,.4g} per night of {rows:,.0f} rows{excess}"
        )
        even = np.geomspace(1, len(curve.alpha), POINTS - 1).round().astype(int) - 1  # even on a logarithmic axis
        kept = np.unique(np.append(even, index))
        points = tuple(_point(curve, int(kept_index)) for kept_index in kept)
        return cls(by=by, sentence=sentence, costs=costs, capacity=capacity, rows=rows, chosen=point, points=points)

    @classmethod
    def assumed(cls, alpha: float, costs: Costs | None, *, capacity: int | None, rows: float) -> Self:
        """Record an assumed alpha, for lack of labels, scored nights or costs."""
        limit = "" if capacity is None else f", cut to {capacity:,} alarms in a night of {rows:,.0f} rows"
        unknown = "no labels and no scored nights to estimate costs from"
        why = unknown if costs is not None else "the job has no cost table"
        sentence = f"alpha = {alpha:.4g} is an assumption, the job's alpha{limit}: {why}"
        return cls(by="assumption", sentence=sentence, costs=costs, capacity=capacity, rows=rows)

    @property
    def measures(self) -> dict[str, float]:
        """Precision, recall, F1 and F-beta at the chosen threshold and the base rate; empty without labels."""
        if self.chosen is None or self.costs is None or self.by != "labels":
            return {}
        base, rate, recall = self.costs.base_rate, self.chosen.false_alarm_rate, self.chosen.recall
        hits, misses, false_alarms = base * recall, base * (1 - recall), (1 - base) * rate
        precision = hits / (hits + false_alarms) if hits + false_alarms else 0.0
        beta = self.costs.beta
        found = {"precision": precision, "recall": recall, "F1": f_beta(hits, misses, false_alarms)}
        return found | {f"F{beta:.3g}": f_beta(hits, misses, false_alarms, beta)}


def _point(curve: Curve, index: int) -> Point:
    return Point(**{name: float(values[index]) for name, values in curve._asdict().items()})
