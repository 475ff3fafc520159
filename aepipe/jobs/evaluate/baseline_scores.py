"""Scores of labelled rows by baselines. Nights that were scored before are taken from what is kept."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.jobs.evaluate.baselines import RANDOM, Baselines, Rivals
from aepipe.jobs.evaluate.kept_baselines import NightScores, night_key
from aepipe.jobs.evaluate.labelled_scores import LabelledScores, sources
from aepipe.jobs.role_warnings import MOST_ROWS_COMPARED
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.tables.unification import unified_table


def rank_baselines(
    scored: ScoredPartitions,
    labelled: LabelledScores,
    baselines: Baselines,
    *,
    tables: Iterable[pa.Table] | None = None,
    is_kept: bool = False,
) -> Rivals:
    """Score the labelled rows by fitted baselines, as far as their scores are not kept.

    Args:
        scored: the nights.
        labelled: their labelled rows.
        baselines: the detectors.
        tables: the labelled rows of the source; None: they are read.
        is_kept: keep the scores for the next report.
    """
    nights = scores_by_night(scored, labelled, baselines)
    if is_kept and baselines.kept is not None:
        keys = (night_key(night.manifest) for night in labelled.nights)
        rows = (night.rows for night in labelled.nights)
        baselines.kept.keep(dict(zip(keys, map(NightScores, rows, nights), strict=True)))
    names = [each.name for each in baselines.learned]
    whole = {RANDOM: baselines.random.scores(len(labelled.truth))}
    whole |= dict(zip(names, np.concatenate(nights, axis=1), strict=True))
    nothing = np.isneginf(labelled.scores)
    ranked = {name: np.where(nothing | np.isnan(scores), -np.inf, scores) for name, scores in whole.items()}
    thresholds = {RANDOM: baselines.random.threshold, **{each.name: each.threshold for each in baselines.learned}}
    return Rivals(ranked, thresholds, first_rows(tables or sources(scored, labelled)), baselines.absent)


def scores_by_night(
    scored: ScoredPartitions, labelled: LabelledScores, baselines: Baselines
) -> list[NDArray[np.float64]]:
    """Return the scores of the labelled rows of each night by each baseline but the random one, (K, B) each."""
    kept = {} if baselines.kept is None else baselines.kept.nights
    found = []
    for night in labelled.nights:
        scores = kept.get(night_key(night.manifest))
        found.append(None if scores is None else scores.of(night.rows))
    missing = tuple(night for night, scores in zip(labelled.nights, found, strict=True) if scores is None)
    parts = [
        np.stack([each.score(rows) for each in baselines.learned])
        for rows in sources(scored, replace(labelled, nights=missing))
    ]
    ends = np.cumsum([len(night.rows) for night in missing])[:-1]
    computed = iter(np.split(np.concatenate(parts, axis=1), ends, axis=1) if missing else ())
    return [next(computed) if scores is None else scores for scores in found]


def first_rows(tables: Iterable[pa.Table]) -> pa.Table:
    """Return the first labelled rows of the source, with the columns that are no lists."""
    found: list[pa.Table] = []
    for table in tables:
        found.append(table.select([field.name for field in table.schema if not pt.is_nested(field.type)]))
        if sum(rows.num_rows for rows in found) >= MOST_ROWS_COMPARED:
            break
    return unified_table(found, or_text=True)
