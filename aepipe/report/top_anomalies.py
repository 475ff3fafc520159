"""Texts and images of the rows with the highest scores: keys, attributions, values and reconstructions."""

import json
import math
import re
from typing import NamedTuple

from aepipe.report import formatting
from aepipe.report.page_model import TopAnomalies
from aepipe.report.thumbnails import difference, picture

MOST_ROWS = 24
MOST_COLUMNS = 40
_SCORE_COLUMNS = re.compile(
    r"score|p_value|p_extrapolated|is_anomaly|invalid_reason|model_version|reason_\d+(_z)?"
    r"|cell_(column|z|p_value)|is_cell_anomaly"
)

Fields = list[tuple[str, str]]
Record = dict[str, object]


class Reason(NamedTuple):
    """One attribution: column or region, z-score, and the length of its bar, 0 to 1."""

    name: str
    z: str
    length: float


class Value(NamedTuple):
    """One column of a row: value, reconstruction, and z-score and words if the column has an attribution."""

    column: str
    read: str
    expected: str
    z: str
    why: str = ""


class AnomalyCard(NamedTuple):
    """Card of one row; `pictures` are (caption, data URL), `more` counts the columns without an attribution."""

    keys: Fields
    place: str
    partition: str
    passthrough: Fields
    score: str
    p_value: str
    p_extrapolated: bool
    flagged: bool
    cell: str
    cell_p_value: str
    reasons: list[Reason]
    values: list[Value]
    rest: list[Value]
    more: int
    pictures: list[tuple[str, str]]

    @property
    def reason_names(self) -> str:
        """JSON list of the columns of the attributions, for the filter."""
        return json.dumps([reason.name for reason in self.reasons], ensure_ascii=False)


def build_anomaly_cards(anomalies: TopAnomalies) -> list[AnomalyCard]:
    """Return the cards of the first MOST_ROWS rows."""
    scores, source, expected = (
        [] if table is None else table.slice(0, MOST_ROWS).to_pylist()
        for table in (anomalies.scores, anomalies.source, anomalies.reconstruction)
    )
    return [
        _row(anomalies, index, record, source[index] if source else {}, expected[index] if expected else {})
        for index, record in enumerate(scores)
    ]


def list_filters(cards: list[AnomalyCard]) -> tuple[list[str], list[str]]:
    """Return the columns of the attributions and the partitions of the cards, by which the script filters them."""
    reasons = sorted({reason.name for card in cards for reason in card.reasons})
    return reasons, sorted({card.partition for card in cards if card.partition})


def _row(anomalies: TopAnomalies, index: int, record: Record, source: Record, expected: Record) -> AnomalyCard:
    found = list_attributions(record)
    longest = max((max(0.0, z) for _, z in found if not math.isnan(z)), default=0.0) or 1.0
    z_of = {name: formatting.number(z) for name, z in found}
    words = {} if anomalies.words is None else anomalies.words[index]
    described = {*z_of, record.get("cell_column")}
    every = [
        _value(name, value, expected, z_of.get(name, ""), words.get(name, "") if name in described else "")
        for name, value in source.items()
    ]
    order = list(z_of)
    rest = [v for v in every if v.column not in z_of]
    return AnomalyCard(
        keys=[(name, formatting.text(formatting.key(record.get(name)), most=48)) for name in anomalies.keys],
        place=_place(anomalies, index),
        partition="" if anomalies.partitions is None else anomalies.partitions[index],
        passthrough=_passthrough_fields(anomalies, index, record),
        score=formatting.number(_number(record.get("score"))),
        p_value=formatting.number(_number(record.get("p_value"))),
        p_extrapolated=record.get("p_extrapolated") is True,
        flagged=record.get("is_anomaly") is True,
        cell=formatting.text(str(record.get("cell_column"))) if record.get("is_cell_anomaly") is True else "",
        cell_p_value=formatting.number(_number(record.get("cell_p_value"))),
        reasons=[
            Reason(formatting.text(name), formatting.number(z), 0.0 if math.isnan(z) else max(0.0, z) / longest)
            for name, z in found
        ],
        values=sorted((v for v in every if v.column in z_of), key=lambda v: order.index(v.column)),
        rest=rest[:MOST_COLUMNS],
        more=len(rest),
        pictures=_pictures(anomalies, index),
    )


def _place(anomalies: TopAnomalies, index: int) -> str:
    """Return partition and position of a row, as texts."""
    partition = [] if anomalies.partitions is None else [formatting.text(anomalies.partitions[index])]
    row = [] if anomalies.rows is None else [f"row {formatting.count(anomalies.rows[index])}"]
    return ", ".join(partition + row)


def _value(name: str, value: object, expected: Record, z: str, why: str) -> Value:
    """Describe one column; an equal reconstruction is left out."""
    read, rebuilt = formatting.cell(value), formatting.cell(expected[name]) if name in expected else ""
    return Value(name, read, "" if rebuilt == read else rebuilt, z, formatting.text(why))


def _passthrough_fields(anomalies: TopAnomalies, index: int, record: Record) -> Fields:
    """Return the passthrough columns of a row without its keys: labels, event time."""
    others = {
        name: value
        for name, value in record.items()
        if name not in anomalies.keys and not _SCORE_COLUMNS.fullmatch(name)
    }
    return [(name, formatting.text(formatting.key(value))) for name, value in others.items()]


def list_attributions(record: Record) -> list[tuple[str, float]]:
    """Return the attributions (column, z) of one row of the scores, in order, without nulls.

    >>> list_attributions({"score": 9.0, "reason_1": "amount", "reason_1_z": 4.5, "reason_2": None, "reason_2_z": None})
    [('amount', 4.5)]
    """
    found = []
    for rank in range(1, len(record) + 1):
        name, z = record.get(f"reason_{rank}"), _number(record.get(f"reason_{rank}_z"))
        if isinstance(name, str):
            found.append((name, float("nan") if z is None else z))
    return found


def _pictures(anomalies: TopAnomalies, index: int) -> list[tuple[str, str]]:
    if anomalies.images is None:
        return []
    image, top = anomalies.images[index], anomalies.top
    found = [("read", picture(image, top))]
    if anomalies.reconstructed is not None:
        other = anomalies.reconstructed[index]
        found += [("expected", picture(other, top)), ("difference", picture(difference(image, other), top))]
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
