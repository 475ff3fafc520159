"""Numbers of the what-if section: flagged rows of the latest nights at many values of alpha, costs and measures."""

import numpy as np
from numpy.typing import NDArray

from aepipe.calibration.conformal import Calibration, least_alpha
from aepipe.inference.output_schema import CELL_P_VALUE, CELL_Z
from aepipe.jobs.evaluate.labelled_scores import read_labels
from aepipe.jobs.ground_truth import LabelRule, Labels, label_rule
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.report.what_if import WhatIf
from aepipe.storage import Manifest, ScoreDetails
from aepipe.tables.arrow_arrays import numpy_of
from aepipe.tables.entities import Entities

VALUES = 160
LARGEST = 0.5

Floats = NDArray[np.float64]


def build_what_if(scored: ScoredPartitions) -> WhatIf | None:
    """Count the rows that each alpha would have flagged in the latest nights; None if no row has a score."""
    calibration = scored.model.bundle.calibration
    alphas = alpha_grid(calibration)
    rule = label_rule(scored.job)
    levels = np.array([calibration.levels_at(alpha) for alpha in alphas])
    nights = [_read(scored, manifest, rule, alphas, levels) for manifest in scored.manifests]
    alarms = np.stack([flagged_at(alphas, least) for least, _, _ in nights])
    rows = tuple(int(np.count_nonzero(~np.isnan(least))) for least, _, _ in nights)
    if not sum(rows):
        return None
    normal, anomalous = (np.concatenate([night[which] for night in nights]) for which in (1, 2))
    both = len(normal) > 0 and len(anomalous) > 0
    false_alarms, hits = flagged_at(alphas, normal), flagged_at(alphas, anomalous)
    cost, basis = _cost(
        scored,
        alphas,
        share=alarms.sum(axis=0) / sum(rows),
        rates=(false_alarms / len(normal), hits / len(anomalous)) if both else None,
        rows=sum(rows) / len(rows),
    )
    return WhatIf(
        alphas=alphas,
        current=int(np.argmin(np.abs(np.log(alphas / calibration.alpha)))),
        partitions=tuple(manifest.partition for manifest in scored.manifests),
        rows=rows,
        alarms=alarms,
        capacity=scored.job.calibration.capacity,
        cost=cost,
        cost_basis=basis,
        precision=np.divide(hits, hits + false_alarms, out=np.full(len(alphas), np.nan), where=hits + false_alarms > 0)
        if both
        else None,
        recall=hits / len(anomalous) if both else None,
        labelled=len(normal) + len(anomalous),
        anomalies=len(anomalous),
        selects_alpha=scored.job.calibration.selects_alpha,
        is_adaptive=any(manifest.details.stream is not None for manifest in scored.manifests),
    )


def alpha_grid(calibration: Calibration) -> Floats:
    """Return values from the least alpha that the calibration rows support up to 0.5, with three digits, ascending."""
    least = min(least_alpha(calibration.n), calibration.alpha)
    spaced = np.geomspace(least, max(LARGEST, calibration.alpha), VALUES)
    rounded = {float(f"{alpha:.3g}") for alpha in spaced if alpha > least}
    return np.array(sorted(rounded | {float(f"{calibration.alpha:.3g}"), least_alpha(calibration.n)}))


def flagged_at(alphas: Floats, least: Floats) -> NDArray[np.int64]:
    """Return the number of rows that are flagged at each alpha, (A,), by the least alpha that flags each row.

    >>> flagged_at(np.array([0.01, 0.1]), np.array([0.01, 0.05, 0.5, np.nan])).tolist()
    [1, 2]
    """
    found = np.sort(least[~np.isnan(least)])
    return np.searchsorted(found, alphas, side="right").astype(np.int64)


def least_alphas(alphas: Floats, levels: Floats, p_values: Floats, of_cells: Floats | None) -> Floats:
    """Return the least alpha that flags each row or its most unusual cell, (B,): inf for none, NaN without a score.

    Args:
        alphas: (A,), ascending.
        levels: highest p-values of a score and of a cell that each alpha flags, (A, 2).
        p_values: of the scores, (B,).
        of_cells: p-values of the cells, (B,); None: there are none.

    >>> levels = np.array([[0.01, 0.0], [0.05, 0.05]])
    >>> least_alphas(np.array([0.01, 0.1]), levels, np.array([0.01, 0.2, 0.2]), np.array([0.5, 0.05, 0.5])).tolist()
    [0.01, 0.1, inf]
    """
    first = np.searchsorted(levels[:, 0], p_values, side="left")
    if of_cells is not None:
        unknown = np.where(np.isnan(of_cells), np.inf, of_cells)
        first = np.minimum(first, np.searchsorted(levels[:, 1], unknown, side="left"))
    return np.where(np.isnan(p_values), np.nan, np.append(alphas, np.inf)[first])


def _read(
    scored: ScoredPartitions, manifest: Manifest[ScoreDetails], rule: LabelRule | None, alphas: Floats, levels: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the least alpha that flags each row by the active calibration: all rows, normal rows, and anomalies."""
    bundle = scored.model.bundle
    columns = bundle.source.schema.entity if bundle.calibration.entities else ()
    cells = (CELL_Z, CELL_P_VALUE) if bundle.calibration.cells is not None and manifest.details.has_cells else ()
    table = scored.read("scores", manifest, ["score", "p_value", *columns, *cells])
    values = {name: np.asarray(numpy_of(table[name]), np.float64) for name in ("score", "p_value", *cells)}
    p_values, of_cells = values["p_value"], values.get(CELL_P_VALUE)
    if not scored.has_active_calibration(manifest):
        p_values = bundle.calibration.p_values(values["score"], Entities.find(table, columns))
        if cells and bundle.calibration.cells is not None:
            of_cells = bundle.calibration.cells.p_values(values[CELL_Z])
    least = least_alphas(alphas, levels, p_values, of_cells)
    if rule is None or manifest.partition not in scored.unchanged:
        return least, np.zeros(0), np.zeros(0)
    read = read_labels(scored, manifest, rule)
    labels = Labels.nothing(len(p_values)) if isinstance(read, str) else read[0]
    known = labels.known & ~np.isnan(least)
    return least, least[known & ~labels.is_anomaly], least[known & labels.is_anomaly]


def _cost(
    scored: ScoredPartitions,
    alphas: Floats,
    *,
    share: Floats,
    rates: tuple[Floats, Floats] | None,
    rows: float,
) -> tuple[Floats | None, str]:
    """Return the expected cost per night and its basis: labels, else the flags beyond the expected false alarms.

    Args:
        scored: the nights.
        alphas: (A,).
        share: flagged share of all rows, (A,).
        rates: false-alarm rate and recall of labelled rows, (A,) each; None without labels.
        rows: rows of a night.
    """
    costs = scored.job.calibration.costs
    if costs is None:
        return None, ""
    if rates is not None:
        return rows * costs.expected(false_alarm_rate=rates[0], recall=rates[1]), "labelled rows"
    if scored.model.bundle.manifest.is_polluted:
        return None, ""
    recall = np.clip((share - (1 - costs.base_rate) * alphas) / costs.base_rate, 0.0, 1.0)
    return rows * costs.expected(
        false_alarm_rate=alphas, recall=recall
    ), "the flagged rows beyond alpha, without labels"
