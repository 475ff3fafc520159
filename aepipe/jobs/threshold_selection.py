"""Selection of alpha: the job's own, or the cheapest by labels, by scored partitions or by an assumed base rate."""

import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.calibration.conformal import Calibration, check_support, least_alpha, rows_needed
from aepipe.calibration.cost_curve import Choice, Curve, Steps, curve_of_labels, curve_of_nights
from aepipe.calibration.pareto_tail import FEWEST, SHARE
from aepipe.config.cost_table import Costs
from aepipe.config.job import Job
from aepipe.errors import CalibrationInvalid
from aepipe.tables.entities import Entities

log = logging.getLogger(__name__)

Floats = NDArray[np.floating]


class Labelled(NamedTuple):
    """Scores of rows that nothing was fitted on, and whether each is an anomaly, (B,); `what` describes the rows."""

    scores: Floats
    is_anomaly: NDArray[np.bool_]
    what: str
    entities: Entities | None = None


class Evidence(NamedTuple):
    """Data for the choice of alpha, besides the calibration scores."""

    rows: float
    """of a night"""
    labelled: Labelled | None = None
    nights: Floats | None = None
    """scores of the latest nights, of unknown truth"""
    nights_entities: Entities | None = None


def entity_columns(job: Job) -> tuple[str, ...]:
    """Return the columns by which thresholds are chosen; none for one threshold."""
    return () if job.calibration.per is None else job.data.entity


def calibrate(
    job: Job,
    scores: Floats,
    evidence: Evidence,
    *,
    entities: Entities | None = None,
    cell_scores: Floats | None = None,
    window: int = 1,
) -> Calibration:
    """Calibrate on scores, with the job's alpha or the cheapest by its cost table.

    Args:
        job: the job.
        scores: calibration scores, (n,).
        evidence: data for the choice of alpha.
        entities: entity of each score, for thresholds per entity.
        cell_scores: scores of the most unusual cells of the same rows, (n,); None if the scorer has none.
        window: number of neighbouring scores that depend on each other, as in a series. A tail above the
            highest score is fitted only on as many independent ones as it needs.

    Raises:
        CalibrationInvalid: the scores are too few or not finite, or the labels of one class.
    """
    alpha = supported_alpha(job, len(scores))
    if alpha > needed_alpha(job):
        log.warning(
            "alpha is %g: %d calibration rows do not support the default of %g", alpha, len(scores), needed_alpha(job)
        )
    fitted = Calibration.fit(scores, alpha=alpha, entities=entities, cell_scores=cell_scores)
    if SHARE * len(scores) < FEWEST * window:
        fitted = fitted.without_tail()
    found = choose(job, fitted, evidence)
    if found.entities:
        own, every = len(found.own_thresholds), len(found.entities)
        log.log(
            logging.INFO if own else logging.WARNING,
            "%s of %s entities have %s or more calibration rows and a threshold of their own; the others share one",
            f"{own:,}",
            f"{every:,}",
            f"{rows_needed(found.alpha):,}",
        )
    return found


def choose(job: Job, calibration: Calibration, evidence: Evidence) -> Calibration:
    """Return the calibration with the job's alpha or the cheapest by its cost table."""
    asked = job.calibration
    if not asked.has_cells:
        calibration = calibration.without_cells()
    if not asked.selects_alpha:
        return calibration.with_alpha(supported_alpha(job, calibration.n))
    costs = asked.costs
    # entities have enough rows or not at some alpha: the job's own, until one is chosen
    grouped = (
        calibration.with_alpha(max(asked.alpha, least_alpha(calibration.n))) if calibration.entities else calibration
    )
    choice = None if costs is None else _cheapest(grouped, costs, asked.capacity, evidence)
    if choice is not None and choice.chosen is not None:
        return calibration.with_alpha(choice.chosen.alpha, choice=choice)
    return _assumed(job, calibration, costs, evidence.rows)


def needed_alpha(job: Job) -> float:
    """Return the alpha that the calibration rows must support, whichever is selected later."""
    return 0.5 if job.calibration.selects_alpha else job.calibration.alpha


def supported_alpha(job: Job, rows: int) -> float:
    """Return the alpha that this number of calibration rows must support.

    It is the alpha of the job. Where the job leaves it to the default and the rows are too few for that, it is the
    least alpha that they support.
    """
    alpha = needed_alpha(job)
    is_default = "alpha" not in job.calibration.model_fields_set and not job.calibration.selects_alpha
    return max(alpha, least_alpha(rows)) if is_default else alpha


def _cheapest(calibration: Calibration, costs: Costs, capacity: int | None, evidence: Evidence) -> Choice | None:
    steps, rows, labelled = _steps(calibration), evidence.rows, evidence.labelled
    if labelled is not None:
        found = _comparable(calibration, labelled.scores, labelled.entities)
        curve = _on_scores(calibration, curve_of_labels(steps, found, labelled.is_anomaly, costs, rows=rows))
        anomalies = int(labelled.is_anomaly.sum())
        on = f"{len(labelled.scores):,} {labelled.what}, {anomalies:,} of them anomalies"
        return Choice.of(curve, costs, capacity=capacity, rows=rows, by="labels", on=on)
    if evidence.nights is not None:
        found = _comparable(calibration, evidence.nights, evidence.nights_entities)
        curve = _on_scores(calibration, curve_of_nights(steps, found, costs, rows=rows))
        on = (
            f"{len(evidence.nights):,} scores of the latest nights without labels, taking the base rate "
            f"{costs.base_rate:g} and the calibration rows at their word"
        )
        return Choice.of(curve, costs, capacity=capacity, rows=rows, by="nights", on=on)
    return None


def _steps(calibration: Calibration) -> Steps:
    """Return the thresholds to choose from, on the scale of `_comparable`."""
    steps = calibration.steps
    return Steps(steps.alpha, np.nextafter(-steps.alpha, -np.inf)) if calibration.entities else steps


def _comparable(calibration: Calibration, scores: Floats, entities: Entities | None) -> Floats:
    """Return the scores; with thresholds per entity the negative p-values, which have one scale for all entities."""
    return -calibration.p_values(scores, entities) if calibration.entities else scores


def _on_scores(calibration: Calibration, curve: Curve) -> Curve:
    """Return a curve with thresholds on the scale of the scores."""
    return curve._replace(threshold=calibration.steps.threshold)


def _assumed(job: Job, calibration: Calibration, costs: Costs | None, rows: float) -> Calibration:
    alpha, capacity = job.calibration.alpha, job.calibration.capacity
    if capacity is not None and rows > 0:
        alpha = min(alpha, capacity / rows)
    try:
        check_support(calibration.n, alpha)
    except CalibrationInvalid as error:
        if alpha == job.calibration.alpha:
            raise
        raise CalibrationInvalid(
            f"[calibration] capacity = {capacity} is too low for {rows:,.0f} rows per night: {error}"
        ) from None
    return calibration.with_alpha(alpha, choice=Choice.assumed(alpha, costs, capacity=capacity, rows=rows))
