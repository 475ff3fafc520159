"""The strangest rows as the page prints them: keys, reasons, values beside what the model expected, pictures."""

import math
import re
from typing import NamedTuple

from aepipe.report import formatting as wording
from aepipe.report.page_model import StrangeRows
from aepipe.report.thumbnails import difference, picture

MOST_ROWS = 24
_OURS = re.compile(r"score|p_value|p_extrapolated|is_anomaly|invalid_reason|model_version|reason_\d+(_z)?")

Facts = list[tuple[str, str]]
Record = dict[str, object]


class Reason(NamedTuple):
    """What the model reconstructs badly, its z-score, and the length of its bar, 0 to 1."""

    name: str
    z: str
    length: float


class Value(NamedTuple):
    """One column of the row: what was read, what was expected, and the z-score where it is a reason."""

    column: str
    read: str
    expected: str
    z: str


class StrangeRow(NamedTuple):
    """One card. `pictures` are (caption, data URL)."""

    keys: Facts
    carried: Facts
    score: str
    p_value: str
    p_extrapolated: bool
    flagged: bool
    reasons: list[Reason]
    values: list[Value]
    rest: list[Value]
    pictures: list[tuple[str, str]]


def strange_rows(strange: StrangeRows) -> list[StrangeRow]:
    """The first MOST_ROWS of them."""
    scores, source, expected = (
        [] if table is None else table.slice(0, MOST_ROWS).to_pylist()
        for table in (strange.scores, strange.source, strange.reconstruction)
    )
    return [
        _row(strange, index, record, source[index] if source else {}, expected[index] if expected else {})
        for index, record in enumerate(scores)
    ]


def _row(strange: StrangeRows, index: int, record: Record, source: Record, expected: Record) -> StrangeRow:
    found = reasons_of(record)
    z_of = {name: wording.number(z) for name, z in found}
    every = [
        Value(name, wording.cell(value), wording.cell(expected[name]) if name in expected else "", z_of.get(name, ""))
        for name, value in source.items()
    ]
    order = list(z_of)
    return StrangeRow(
        keys=[(name, wording.text(wording.key(record.get(name)), most=48)) for name in strange.keys],
        carried=_carried(strange, index, record),
        score=wording.number(_number(record.get("score"))),
        p_value=wording.number(_number(record.get("p_value"))),
        p_extrapolated=record.get("p_extrapolated") is True,
        flagged=record.get("is_anomaly") is True,
        reasons=_bars(found),
        values=sorted((v for v in every if v.column in z_of), key=lambda v: order.index(v.column)),
        rest=[v for v in every if v.column not in z_of],
        pictures=_pictures(strange, index),
    )


def _carried(strange: StrangeRows, index: int, record: Record) -> Facts:
    """The row's partition, and what the scores carry through beside keys: labels, event time."""
    partition = [] if strange.partitions is None else [("partition", wording.text(strange.partitions[index]))]
    others = {name: value for name, value in record.items() if name not in strange.keys and not _OURS.fullmatch(name)}
    return partition + [(name, wording.text(wording.key(value))) for name, value in others.items()]


def reasons_of(record: Record) -> list[tuple[str, float]]:
    """The reasons of one row of the scores Parquet, in their order, nulls left out.

    >>> reasons_of({"score": 9.0, "reason_1": "amount", "reason_1_z": 4.5, "reason_2": None, "reason_2_z": None})
    [('amount', 4.5)]
    """
    found = []
    for rank in range(1, len(record) + 1):
        name, z = record.get(f"reason_{rank}"), _number(record.get(f"reason_{rank}_z"))
        if isinstance(name, str):
            found.append((name, float("nan") if z is None else z))
    return found


def _bars(found: list[tuple[str, float]]) -> list[Reason]:
    known = [max(0.0, z) for _, z in found if not math.isnan(z)]
    longest = max(known, default=0.0) or 1.0
    lengths = [0.0 if math.isnan(z) else max(0.0, z) / longest for _, z in found]
    return [
        Reason(wording.text(name), wording.number(z), length) for (name, z), length in zip(found, lengths, strict=True)
    ]


def _pictures(strange: StrangeRows, index: int) -> list[tuple[str, str]]:
    if strange.images is None:
        return []
    image, top = strange.images[index], strange.top
    found = [("read", picture(image, top))]
    if strange.reconstructed is not None:
        other = strange.reconstructed[index]
        found += [("expected", picture(other, top)), ("difference", picture(difference(image, other), top))]
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
