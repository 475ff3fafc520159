"""From a Night to what the page prints: texts, rows of tables, bounded lists. Nothing here knows HTML or matplotlib."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.report import formatting as wording
from aepipe.report.figures.latent_map import drawable
from aepipe.report.page_model import Card, Comparison, CostCurve, FileLine, Header, ReportPage
from aepipe.storage import PartitionResult

MOST_PARTITIONS = 60
MOST_FILES = 80
MOST_COLUMNS = 60
_WIDE = 8
_STAGES = ("read", "encode", "infer", "write")

TITLES = {
    "partitions": "Partitions",
    "scores": "Scores",
    "costs": "What a threshold costs",
    "strange": "Strangest rows",
    "latents": "Latent map",
    "samples": "Samples",
    "walks": "Walks through the latents",
    "comparisons": "Comparison",
    "training": "Training",
    "files": "Read and written",
    "card": "Model card",
    "meaning": "What these numbers mean",
}
_WHY_ABSENT = {
    "partitions": "No partition was scored.",
    "scores": "No row has a score.",
    "costs": "The job asks for alpha and names no costs.",
    "strange": "No row has a score, so none is stranger than another.",
    "latents": "The features were not written.",
    "samples": "No samples were drawn.",
    "walks": "No walk was made.",
    "comparisons": "The rows carry no label that scores could be held against.",
    "training": "The bundle holds no training curve.",
    "files": "No list of files was given.",
    "card": "No model card was given.",
}


class Verdict(NamedTuple):
    """The one line to read, whether it is calm or an alarm, and what it is to be held against."""

    line: str
    alarm: bool
    detail: str


class Tile(NamedTuple):
    """One number at the top of the page."""

    name: str
    value: str
    note: str = ""


class Bar(NamedTuple):
    """A name, its value as text, and the length of its bar, 0 to 1."""

    name: str
    value: str
    length: float


class PartitionRow(NamedTuple):
    """One line of the table of partitions, as texts; `stages` are the columns that `stages_of` names."""

    line: PartitionResult
    share: str
    invalid: str
    unseen: str
    stages: tuple[str, ...]
    rate: str
    over_io: str


class ComparisonRow(NamedTuple):
    """One contender; each cell is (text, length of the bar, whether it is the best of its column)."""

    name: str
    is_ours: bool
    cells: tuple[tuple[str, float, bool], ...]


def absent(night: ReportPage) -> dict[str, str]:
    """The sections that have nothing to show, and why."""
    scored = night.scores is not None and bool(np.isfinite(night.scores.night).any())
    present = {
        "partitions": bool(night.partitions),
        "scores": scored,
        "costs": night.costs is not None,
        "strange": night.strange is not None and len(night.strange.scores) > 0,
        "latents": night.latents is not None and len(drawable(night.latents)) > 0,
        "samples": night.samples is not None and (night.samples.images is not None or night.samples.table is not None),
        "walks": bool(night.walks),
        "comparisons": bool(night.comparisons),
        "training": night.training is not None and len(night.training.epochs) > 0,
        "files": bool(night.files),
        "card": night.card is not None,
    }
    return {name: night.absent.get(name, _WHY_ABSENT[name]) for name, there in present.items() if not there}


def verdict(header: Header, partitions: Sequence[PartitionResult]) -> Verdict:
    """How many rows are flagged, and whether alpha alone explains that many."""
    rows = sum(line.scored for line in partitions)
    flagged = sum(line.flagged for line in partitions)
    if not rows:
        return Verdict("No row was scored.", alarm=any(line.status == "quarantined" for line in partitions), detail="")
    asked = "" if header.alpha is None else f" at alpha {wording.percent(header.alpha, trim=True)}"
    line = f"{wording.count(flagged)} of {_rows(rows)} flagged{asked} ({wording.percent(flagged / rows)})"
    if header.alpha is None:
        return Verdict(line, alarm=False, detail="")
    low, high = ordinary_count(rows, header.alpha, header.calibration_rows)
    usual = f"{wording.count(low)} to {_rows(high)} would be flagged on ordinary nights"
    if flagged > high:
        return Verdict(line, alarm=True, detail=f"More than alpha explains: {usual}.")
    less = "Fewer than usual" if flagged < low else "As many as alpha alone would flag"
    return Verdict(line, alarm=False, detail=f"{less}: {usual}.")


def ordinary_count(rows: int, alpha: float, calibration_rows: int | None) -> tuple[int, int]:
    """How many of so many ordinary rows are flagged in 95 of 100 cases, (least, most).

    The share that a threshold from n calibration rows lets through varies too, with variance alpha (1 - alpha)
    / (n + 2): the Beta law of split-conformal coverage (Vovk 2012).

    >>> ordinary_count(1000, 0.05, None), ordinary_count(1000, 0.05, 98)
    ((36, 64), (5, 95))
    """
    spread = 1 / rows + (0.0 if calibration_rows is None else 1 / (calibration_rows + 2))
    half = 1.96 * math.sqrt(alpha * (1 - alpha) * spread)
    return max(0, math.floor(rows * (alpha - half))), math.ceil(rows * min(1.0, alpha + half))


def tiles(partitions: Sequence[PartitionResult]) -> list[Tile]:
    """The few numbers at the top of the page, over all partitions."""
    rows, flagged = sum(line.rows for line in partitions), sum(line.flagged for line in partitions)
    invalid = sum(line.invalid for line in partitions)
    lost = sum(line.status == "quarantined" for line in partitions)
    elapsed = sum(line.elapsed_s for line in partitions)
    return [
        Tile("partitions", wording.count(len(partitions)), f"{wording.count(lost)} quarantined" if lost else ""),
        Tile("rows", wording.count(rows)),
        Tile("flagged", wording.count(flagged), wording.percent(flagged / (rows - invalid)) if rows > invalid else ""),
        Tile("without a score", wording.count(invalid), wording.percent(invalid / rows) if invalid else ""),
        Tile("time", wording.seconds(elapsed), f"{wording.number(rows / elapsed)} rows/s" if elapsed > 0 else ""),
    ]


def stages_of(partitions: Sequence[PartitionResult]) -> tuple[str, ...]:
    """The stages that were timed: the usual four first, in their order."""
    timed = dict.fromkeys(chain.from_iterable(line.seconds for line in partitions))
    return tuple(name for name in _STAGES if name in timed) + tuple(name for name in timed if name not in _STAGES)


def time_unit(partitions: Sequence[PartitionResult]) -> str:
    """Milliseconds where no stage took a second."""
    return "s" if any(value >= 1 for line in partitions for value in line.seconds.values()) else "ms"


def partition_rows(partitions: Sequence[PartitionResult]) -> list[PartitionRow]:
    """The latest MOST_PARTITIONS."""
    stages, factor = stages_of(partitions), 1.0 if time_unit(partitions) == "s" else 1000.0
    return [_partition_row(line, stages, factor) for line in partitions[-MOST_PARTITIONS:]]


def bars(counts: Mapping[str, int], *, most: int = 12) -> list[Bar]:
    """The most frequent names; the rest added up."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown, rest = ordered[:most], sum(n for _, n in ordered[most:])
    longest = max((n for _, n in shown), default=1)
    found = [Bar(wording.text(name), wording.count(n), n / max(1, longest)) for name, n in shown]
    return (
        [*found, Bar(f"{len(ordered) - most} others", wording.count(rest), min(1.0, rest / longest))] if rest else found
    )


def head_of(table: pa.Table) -> tuple[list[str], list[list[str]]]:
    """Header and body of the first rows; a wide table lies on its side, one line a column."""
    names = [wording.text(name, most=40) for name in table.column_names[:MOST_COLUMNS]]
    wide = table.num_columns > _WIDE
    records = table.slice(0, 6 if wide else 8).to_pylist()
    lines = [
        [wording.cell(value, most=24 if wide else 40) for value in record.values()][: len(names)] for record in records
    ]
    if not wide:
        return names, lines
    columns = [list(values) for values in zip(*lines, strict=True)] or [[] for _ in names]
    header = ["column", *(f"row {index + 1}" for index in range(len(lines)))]
    return header, [[name, *values] for name, values in zip(names, columns, strict=True)]


def comparison_rows(comparison: Comparison) -> list[ComparisonRow]:
    """A line for each rival, ours and the best of each measure marked."""
    values = np.array(list(comparison.lines.values()), float).reshape(len(comparison.lines), len(comparison.measures))
    best = np.max(np.where(np.isnan(values), -np.inf, values), axis=0, initial=-np.inf)
    return [
        ComparisonRow(
            wording.text(name),
            name == comparison.ours,
            tuple(
                (_with_range(v, span), _length(v), v == top)
                for v, top, span in zip(line, best, comparison.ranges.get(name, (None,) * len(line)), strict=True)
            ),
        )
        for name, line in zip(comparison.lines, values.tolist(), strict=True)
    ]


def files_of(files: Sequence[FileLine], role: str) -> tuple[list[FileLine], str]:
    """The last MOST_FILES files of a role, and how many and how large all of them are."""
    chosen = [line for line in files if line.role == role]
    total = f"{_plural(len(chosen), 'file')}, {wording.size(sum(line.bytes for line in chosen))}"
    left_out = len(chosen) - MOST_FILES
    return chosen[-MOST_FILES:], total + (
        f"; the first {wording.count(left_out)} are left out here" if left_out > 0 else ""
    )


def facts(card: Card) -> list[tuple[str, str]]:
    """What the model is, line by line, empty lines left out."""
    names = card.partitions
    trained = ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}, {len(names)} partitions"
    rows = ", ".join(f"{wording.text(name)} {wording.count(n)}" for name, n in card.rows.items())
    found = [
        ("family", card.family),
        ("trunk", card.trunk),
        ("head", card.head),
        ("trained at", card.created_at),
        ("trained on", trained),
        ("rows", rows),
    ]
    return [(name, wording.text(value, most=200)) for name, value in found if value]


def measures_of(costs: CostCurve) -> list[tuple[str, str]]:
    """Precision, recall and the like as the page shows them."""
    return [(name, wording.number(value)) for name, value in costs.measures.items()]


def settings(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Names and values as the card shows them."""
    return [(wording.text(name), wording.cell(value, most=120)) for name, value in values.items()]


def parity_of(card: Card) -> tuple[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
    """Names of the measures, and for each part its differences between ONNX and torch."""
    measures = tuple(dict.fromkeys(chain.from_iterable(card.parity.values())))
    lines = [(part, tuple(wording.number(found.get(m)) for m in measures)) for part, found in card.parity.items()]
    return measures, lines


def meaning(header: Header) -> list[tuple[str, str]]:
    """The terms that a reader should not guess."""
    n = header.calibration_rows
    least = f" With {_rows(n)} it cannot be shown to be less than {wording.number(1 / (n + 1))}." if n else ""
    alpha = "alpha" if header.alpha is None else f"alpha = {wording.percent(header.alpha, trim=True)}"
    return [
        (
            "score",
            "How strange the model finds a row: greater is stranger. Its unit is the model's own, so scores of two"
            " versions of a model cannot be compared; p-values can.",
        ),
        (
            "p-value",
            f"The share of calibration rows ({_calibrated_on(header)} that the network did not learn from) that score"
            f" at least as high, counting the row itself.{least} Where it is less all the same, it is extrapolated"
            " along the tail of the highest calibration scores: it ranks rows, its size is a guess. It is not the"
            " probability that the row is ordinary.",
        ),
        (
            "flagged",
            f"The p-value is at most {alpha}. {_share_flagged(header)}, as long as the nights resemble the calibration"
            " rows: a flag asks for a look, it proves nothing.",
        ),
        (
            "reasons",
            "The columns that a fault would have to be in to make the row what it is, given the others and what the"
            " model expected of all; of an image the regions, of a series the steps, that it reconstructs worst. Each"
            " has a z-score against ordinary rows. They say where the row departs, not what caused it.",
        ),
    ]


def _calibrated_on(header: Header) -> str:
    return "rows of all kinds, anomalies among them," if header.is_polluted else "ordinary ones"


def _share_flagged(header: Header) -> str:
    if header.is_adaptive:
        return (
            "Or rather it was so within the latest rows, at an alpha that adapts, which keeps about that share flagged"
        )
    if header.is_polluted:
        return "The model was trained on data with anomalies in it: this is the share of all rows that is flagged"
    return "About that share of ordinary rows is flagged by chance"


def _partition_row(line: PartitionResult, stages: Sequence[str], factor: float) -> PartitionRow:
    elapsed = line.elapsed_s
    return PartitionRow(
        line=line,
        share=wording.percent(line.flagged / line.scored) if line.scored > 0 else wording.NONE,
        invalid=wording.text(wording.tally(line.details.invalid.items()), most=300),
        unseen=wording.text(wording.tally(line.details.unseen.items()), most=300),
        stages=tuple(wording.number(_times(factor, line.seconds.get(stage))) for stage in stages),
        rate=wording.number(line.rows / elapsed) if elapsed > 0 and line.rows else wording.NONE,
        over_io=wording.number(line.details.over_io),
    )


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def _with_range(value: float, span: tuple[float, float] | None) -> str:
    return wording.number(value) + (
        "" if span is None else f" ({wording.number(span[0])} to {wording.number(span[1])})"
    )


def _length(value: float) -> float:
    return float(np.clip(value, 0.0, 1.0)) if np.isfinite(value) else 0.0


def _rows(n: int) -> str:
    return _plural(n, "row")


def _plural(n: int, noun: str) -> str:
    return f"{wording.count(n)} {noun}{'' if n == 1 else 's'}"
