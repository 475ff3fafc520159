"""Two nights that one version of a model scored, for the page that compares them."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import chain

import numpy as np
import pyarrow as pa

from aepipe.bundles.drift_reference import read_drift_reference
from aepipe.errors import AepipeError, EvaluationInvalid
from aepipe.inference.output_schema import CELL_FLAG, CELL_P_VALUE
from aepipe.jobs.drift.monitor import count_partition
from aepipe.jobs.evaluate.labelled_scores import join_labels
from aepipe.jobs.ground_truth import label_rule
from aepipe.jobs.promotion.comparison import measure_labels
from aepipe.jobs.report.model_pair import to_measures
from aepipe.jobs.report.page_data import HISTOGRAM_ROWS
from aepipe.jobs.report.paired_alarms import FIRST_REASONS, AlarmTally, SideRows, lowest, paired_alarm, row_names
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.jobs.top_alarms import as_texts
from aepipe.metrics.drift import change_between
from aepipe.report import formatting
from aepipe.report.compare_page import ComparePage, Measure, PairedDrift, Side
from aepipe.report.page_model import Scores
from aepipe.storage import Manifest, ScoreDetails
from aepipe.tables.entities import entity_texts, join_parts

Nights = tuple[ScoredPartitions, ScoredPartitions]


def pair_nights(nights: Nights) -> ComparePage:
    """Compare two partitions that one version scored, each given as the only one of its `ScoredPartitions`."""
    manifests = [scored.manifests[0] for scored in nights]
    tables = [_read(scored, manifest) for scored, manifest in zip(nights, manifests, strict=True)]
    absent: dict[str, str] = {"partitions": "Each side is one partition."}
    measures = []
    for scored in nights:
        found = _measures(scored)
        if isinstance(found, str):
            absent["labels"] = found
        measures.append({} if isinstance(found, str) else found)
    if any(measures):
        absent.pop("labels", None)
    drift = _drift(nights)
    if isinstance(drift, str):
        absent["drift"] = drift
    rows = [SideRows.of(table) for table in tables]
    sides = [_side(*each) for each in zip(nights, manifests, tables, rows, measures, strict=True)]
    if not any(side.reasons for side in sides):
        absent["reasons"] = "No flagged row has an attribution."
    joined, alarms = _pair_alarms(nights, tables, rows)
    return ComparePage(
        job=nights[0].job.name,
        kind="nights",
        written_at=max(datetime.fromisoformat(manifest.created_at) for manifest in manifests),
        sides=(sides[0], sides[1]),
        notices=[
            f"{manifest.partition} was scored under another calibration; run aepipe score to update it"
            for scored, manifest in zip(nights, manifests, strict=True)
            if not scored.has_active_calibration(manifest)
        ],
        joined=joined,
        alarms=alarms.groups(),
        drift=() if isinstance(drift, str) else drift,
        absent=absent,
    )


def _read(scored: ScoredPartitions, manifest: Manifest[ScoreDetails]) -> pa.Table:
    """Read the columns of the scores that the page needs, keys and entity included."""
    cells = [CELL_P_VALUE, CELL_FLAG] if manifest.details.has_cells else []
    series = scored.model.bundle.series
    reason = [FIRST_REASONS[1]] if series is not None else [FIRST_REASONS[0]] if scored.model.bundle.reasons else []
    columns = [*_keys(scored), *_entity(scored), "score", "p_value", "is_anomaly", *cells, *reason]
    return scored.read("scores", manifest, list(dict.fromkeys(columns)))


def _keys(scored: ScoredPartitions) -> list[str]:
    return [] if scored.model.bundle.series is not None else list(scored.job.data.keys)


def _entity(scored: ScoredPartitions) -> list[str]:
    series = scored.model.bundle.series
    return list(series.source.entity if series is not None else scored.model.bundle.source.schema.entity)


def _side(
    scored: ScoredPartitions,
    manifest: Manifest[ScoreDetails],
    table: pa.Table,
    rows: SideRows,
    measures: dict[str, Measure],
) -> Side:
    details, calibration = manifest.details, scored.model.bundle.calibration
    result = scored.result(manifest)
    step = max(1, len(table) // HISTOGRAM_ROWS)
    reasons = Counter(reason for reason in rows.reason if reason is not None)
    facts = {"values unseen in training": formatting.count(sum(details.unseen.values()))}
    if details.has_cells:
        facts["flagged for a cell"] = formatting.count(details.cell_flagged)
    if result.events is not None:
        facts["events"] = formatting.count(details.events)
    return Side(
        name=manifest.partition,
        note=f"scored {formatting.moment(datetime.fromisoformat(manifest.created_at))}",
        model_version=manifest.model_version,
        rows=details.rows,
        invalid=result.invalid,
        flagged=details.flagged,
        alpha=calibration.alpha if details.alpha is None else details.alpha,
        calibration_rows=calibration.n,
        scores=Scores(table["score"].to_numpy()[::step], np.asarray(calibration.scores), calibration.threshold),
        reasons=dict(reasons.most_common()),
        measures=measures,
        rows_per_s=result.rows_per_s or None,
        facts=facts,
    )


def _measures(scored: ScoredPartitions) -> dict[str, Measure] | str:
    """Return the measures of a night against its labels, or why there are none, as a sentence."""
    rule = label_rule(scored.job)
    if rule is None:
        return "The job does not say which rows are anomalies ([evaluate] anomaly)."
    try:
        labelled = join_labels(scored, rule)
    except EvaluationInvalid as error:
        return f"{str(error)[:1].upper()}{str(error)[1:]}"
    found = measure_labels(labelled.truth, labelled.scores, labelled.flagged)
    return to_measures(found) or f"The labelled rows of {scored.manifests[0].partition} are all of one class."


def _drift(nights: Nights) -> tuple[PairedDrift, ...] | str:
    """Return the changes of the nights against training and between them, or why they are unknown, as a sentence."""
    bundle = nights[0].model.bundle
    reference = read_drift_reference(bundle)
    if reference is None:
        return "The model has no drift reference: an older version trained it."
    counts = []
    for scored in nights:
        if scored.manifests[0].partition not in scored.unchanged:
            return f"The source of {scored.manifests[0].partition} is missing or has changed since it was scored."
        try:
            counts.append(count_partition(bundle, reference, scored.outputs, scored.manifests[0]))
        except (AepipeError, OSError) as error:
            return f"The drift of {scored.manifests[0].partition} cannot be measured: {error}"
    first, second = counts
    return tuple(
        PairedDrift(
            stream.name,
            stream.kind,
            change_between(np.asarray(stream.counts), first[stream.key]),
            change_between(np.asarray(stream.counts), second[stream.key]),
            change_between(first[stream.key], second[stream.key]),
        )
        for stream in reference.streams
        if all(stream.key in found and found[stream.key].sum() for found in counts)
    )


def _pair_alarms(nights: Nights, tables: Sequence[pa.Table], sides: Sequence[SideRows]) -> tuple[str, AlarmTally]:
    """Join the flagged rows of two nights by key, else by entity; return how, as a sentence, and the alarms."""
    names = [scored.manifests[0].partition for scored in nights]
    keys = _keys(nights[0])
    for what, columns in (("key", keys), ("entity", _entity(nights[0]))):
        joined = _join(names, tables, sides, columns, what) if columns else None
        if joined is not None:
            shown = ", ".join(columns)
            return f"Rows of the nights are joined by their {what} ({shown}), which occurs in both.", joined
    why = "No key occurs in both nights" if keys else "The rows have no keys ([data] keys)"
    alarms = AlarmTally(tuple(f"flagged in {name}" for name in names), sides=((0,), (1,)))
    for at, (name, table, side) in enumerate(zip(names, tables, sides, strict=True)):
        rows = lowest(side.p_value, side.flagged).tolist()
        labels = row_names(table.select(keys), name, 0, rows)
        found = [
            paired_alarm(text, sides, (row, None) if at == 0 else (None, row))
            for text, row in zip(labels, rows, strict=True)
        ]
        alarms.add(at, int(side.flagged.sum()), found)
    return f"{why}, so that the flagged rows of each night are listed apart.", alarms


def _join(
    names: Sequence[str], tables: Sequence[pa.Table], sides: Sequence[SideRows], columns: Sequence[str], what: str
) -> AlarmTally | None:
    """Join flagged rows by columns; None if no value occurs in both nights."""
    texts_of = entity_texts if what == "entity" else _key_texts
    texts = [texts_of([table[name] for name in columns]).to_pylist() for table in tables]
    rows = [_row_by_value(values, side) for values, side in zip(texts, sides, strict=True)]
    if not rows[0].keys() & rows[1].keys():
        return None
    first, second = names
    alarms = AlarmTally(
        (
            "flagged in both",
            f"only in {first}",
            f"only in {second}",
            f"flagged in {first}, {what} absent from {second}",
            f"flagged in {second}, {what} absent from {first}",
        ),
        sides=((0, 1), (0, 1), (0, 1), (0,), (1,)),
    )
    for value in dict.fromkeys(chain(*rows)):
        at = [found.get(value) for found in rows]
        flagged = [row is not None and bool(side.flagged[row]) for row, side in zip(at, sides, strict=True)]
        if any(flagged):
            group = 0 if all(flagged) else (1 if flagged[0] else 2) + (2 if None in at else 0)
            alarms.add(group, 1, [paired_alarm(value, sides, (at[0], at[1]))])
    return alarms


def _key_texts(columns: Sequence[pa.ChunkedArray]) -> pa.Array:
    """Return the key of each row as text, (B,); null if a part is missing."""
    rows = zip(*(as_texts(column.combine_chunks()) for column in columns), strict=True)
    texts = [None if None in row else join_parts([str(text) for text in row], ", ") for row in rows]
    return pa.array(texts, pa.string())


def _row_by_value(texts: Sequence[str | None], side: SideRows) -> dict[str, int]:
    """Return the row that stands for each text: a flagged one, else that with the lowest p-value."""
    found: dict[str, int] = {}
    for row in np.lexsort((side.p_value, ~side.flagged)).tolist():
        if (text := texts[row]) is not None:
            found.setdefault(text, row)
    return found
