"""The threshold of least expected cost: what each brings in a night, and which is chosen. Arrays in, numbers out."""

from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from aepipe.config.cost_table import Costs
from aepipe.errors import CalibrationInvalid
from aepipe.frozen import FrozenModel

Floats = NDArray[np.float64]

POINTS = 200
"""At most so many points of a curve are kept."""


class Curve(NamedTuple):
    """What each of T thresholds brings in a night, (T,) each, the strictest first."""

    alpha: Floats
    threshold: Floats
    false_alarm_rate: Floats
    """share of normal rows above the threshold"""
    recall: Floats
    """share of anomalies above it"""
    alarms: Floats
    cost: Floats


class Steps(NamedTuple):
    """The thresholds that a calibration offers, the strictest first: rows above `threshold` have p <= `alpha`."""

    alpha: Floats
    threshold: Floats


def curve_of_labels(
    steps: Steps, scores: NDArray[np.floating], is_anomaly: NDArray[np.bool_], costs: Costs, *, rows: float
) -> Curve:
    """By rows whose truth is known, (B,) each; how many of them are anomalies does not matter, the base rate counts.

    rows: of a night. Raises CalibrationInvalid where the rows are of one class only.
    """
    found = np.asarray(scores, np.float64)
    if is_anomaly.all() or not is_anomaly.any():
        kind = "anomalies" if is_anomaly.any() else "normal"
        raise CalibrationInvalid(
            f"all {len(found):,} labelled rows are {kind}: a threshold of least cost needs rows of both classes; give "
            "partitions that hold both, or leave out [evaluate] anomaly"
        )
    rate, recall = (share_above(found[chosen], steps.threshold) for chosen in (~is_anomaly, is_anomaly))
    flagged = (1 - costs.base_rate) * rate + costs.base_rate * recall
    return _curve(steps, rate, recall, flagged, costs, rows)


def curve_of_nights(steps: Steps, scores: NDArray[np.floating], costs: Costs, *, rows: float) -> Curve:
    """By scored rows of unknown truth, (B,): what is flagged beyond the false alarms is taken for anomalies found.

    recall = (flagged share - (1 - base rate) alpha) / base rate, cut to 0 ... 1, where alpha stands for the share of
    false alarms. rows: of a night.
    """
    flagged = share_above(np.asarray(scores, np.float64), steps.threshold)
    excess = flagged - (1 - costs.base_rate) * steps.alpha
    return _curve(steps, steps.alpha, np.clip(excess / costs.base_rate, 0.0, 1.0), flagged, costs, rows)


def share_above(scores: Floats, thresholds: Floats) -> Floats:
    """The share of the scores that exceed each threshold.

    >>> share_above(np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 2.0, 5.0])).tolist()
    [1.0, 0.25, 0.0]
    """
    return np.asarray(1 - np.searchsorted(np.sort(scores), thresholds, side="right") / len(scores))


def _curve(steps: Steps, rate: Floats, recall: Floats, flagged: Floats, costs: Costs, rows: float) -> Curve:
    cost = rows * costs.expected(false_alarm_rate=rate, recall=recall)
    return Curve(steps.alpha, steps.threshold, rate, recall, rows * flagged, cost)


def cheapest(curve: Curve, capacity: float | None) -> int:
    """The index of the least cost among the thresholds with at most `capacity` alarms, the strictest of equal ones.

    Where even the strictest has more alarms, that one: no stricter one could be vouched for.
    """
    if capacity is None:
        return int(np.argmin(curve.cost))
    allowed = curve.alarms <= capacity
    return int(np.argmin(np.where(allowed, curve.cost, np.inf))) if allowed.any() else 0


class Point(FrozenModel):
    """One threshold, and what it brings in a night."""

    alpha: FiniteFloat
    threshold: FiniteFloat
    false_alarm_rate: FiniteFloat
    recall: FiniteFloat
    alarms: FiniteFloat
    cost: FiniteFloat


class Choice(FrozenModel):
    """Why alpha is what it is: kept in the calibration, told in manifests, drawn in reports."""

    by: Literal["labels", "nights", "assumption"]
    sentence: str = Field(description="what was chosen, and what that rests on")
    costs: Costs | None = None
    capacity: int | None = None
    rows: FiniteFloat = Field(description="of a night")
    chosen: Point | None = Field(None, description="none where nothing is known of what a threshold brings")
    points: tuple[Point, ...] = ()

    @classmethod
    def of(
        cls, curve: Curve, costs: Costs, *, capacity: int | None, rows: float, by: Literal["labels", "nights"], on: str
    ) -> Self:
        """The cheapest point of a curve. on: the rows that it was made from, in words."""
        index = cheapest(curve, capacity)
        point = _point(curve, index)
        limit = "" if capacity is None else f" under {capacity:,} alarms a night"
        survival = capacity is not None and point.alarms > capacity
        excess = "; even that is more than can be looked at" if survival else ""
        sentence = (
            f"alpha = {point.alpha:.4g} has the least expected cost{limit}, judged by {on}: {point.alarms:,.1f} alarms "
            f"and a cost of {point.cost:,.4g} a night of {rows:,.0f} rows{excess}"
        )
        even = np.geomspace(1, len(curve.alpha), POINTS - 1).round().astype(int) - 1  # even on a logarithmic axis
        kept = np.unique(np.append(even, index))
        points = tuple(_point(curve, int(at)) for at in kept)
        return cls(by=by, sentence=sentence, costs=costs, capacity=capacity, rows=rows, chosen=point, points=points)

    @classmethod
    def assumed(cls, alpha: float, costs: Costs | None, *, capacity: int | None, rows: float) -> Self:
        """Where neither labels nor scored nights tell what a threshold brings."""
        limit = "" if capacity is None else f", cut to {capacity:,} alarms in a night of {rows:,.0f} rows"
        unknown = "neither labels nor scored nights tell what a threshold costs"
        why = unknown if costs is not None else "the job names no costs that could choose it"
        sentence = f"alpha = {alpha:.4g} is an assumption, the job's alpha{limit}: {why}"
        return cls(by="assumption", sentence=sentence, costs=costs, capacity=capacity, rows=rows)

    @property
    def measures(self) -> dict[str, float]:
        """Precision, recall, F1 and F-beta at the chosen threshold and the base rate; empty where no labels told."""
        if self.chosen is None or self.costs is None or self.by != "labels":
            return {}
        base, rate, recall = self.costs.base_rate, self.chosen.false_alarm_rate, self.chosen.recall
        flagged = base * recall + (1 - base) * rate
        precision = base * recall / flagged if flagged else 0.0
        beta = self.costs.beta
        found = {"precision": precision, "recall": recall, "F1": f_beta(precision, recall, 1.0)}
        return found | {f"F{beta:.3g}": f_beta(precision, recall, beta)}


def f_beta(precision: float, recall: float, beta: float) -> float:
    """The harmonic mean of precision and recall in which a miss weighs beta**2 times a false alarm.

    >>> f_beta(0.5, 1.0, 1.0), f_beta(0.0, 0.0, 2.0)
    (0.6666666666666666, 0.0)
    """
    weight = beta**2
    below = weight * precision + recall
    return (1 + weight) * precision * recall / below if below else 0.0


def _point(curve: Curve, index: int) -> Point:
    return Point(**{name: float(values[index]) for name, values in curve._asdict().items()})
