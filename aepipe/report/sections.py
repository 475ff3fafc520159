"""Texts, table rows and bounded lists of a report page, independent of HTML and matplotlib."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.report import formatting
from aepipe.report.figures.latent_map import drawable
from aepipe.report.page_model import Card, Comparison, CostCurve, FileLine, Header, ReportPage
from aepipe.storage import PartitionResult

MOST_PARTITIONS = 60
LATEST_PARTITIONS = 31
MOST_FILES = 80
MOST_COLUMNS = 60
_WIDE = 8
_STAGES = ("read", "encode", "infer", "write")

TITLES = {
    "partitions": "Partitions",
    "scores": "Scores",
    "costs": "Cost of the threshold",
    "what_if": "Another alpha",
    "drift": "Drift",
    "series": "Series",
    "anomalies": "Top anomalies",
    "entities": "Entities",
    "latents": "Latent map",
    "samples": "Samples",
    "traversals": "Latent traversals",
    "comparisons": "Comparison",
    "training": "Training",
    "files": "Files",
    "card": "Model card",
    "glossary": "Glossary",
}
_DEFAULT_REASONS = {
    "partitions": "No partition was scored.",
    "scores": "No row has a score.",
    "costs": "The job sets alpha and no costs.",
    "what_if": "No row has a score.",
    "drift": "No partition was compared with the training data; run aepipe drift.",
    "series": "The job scores rows, not the points of series ([series]).",
    "anomalies": "No row has a score.",
    "entities": "The job names no entity of its rows ([data] entity).",
    "latents": "The features were not written.",
    "samples": "No samples were drawn.",
    "traversals": "No latent traversal was made.",
    "comparisons": "The rows have no label to evaluate the scores on.",
    "training": "The bundle has no training history.",
    "files": "No files are listed.",
    "card": "No model card is available.",
}


class Summary(NamedTuple):
    """Headline of the page, whether it is an alarm, and the expected range."""

    line: str
    alarm: bool
    detail: str


class Tile(NamedTuple):
    """One figure at the top of the page."""

    name: str
    value: str
    note: str = ""


class Bar(NamedTuple):
    """Bar of a bar chart: name, value as text, length from 0 to 1."""

    name: str
    value: str
    length: float


class PartitionRow(NamedTuple):
    """Row of the table of partitions, as texts; `stages` has the columns of `list_stages`."""

    line: PartitionResult
    share: str
    invalid: str
    unseen: str
    cut: str
    stages: tuple[str, ...]
    rate: str
    over_io: str


class ComparisonRow(NamedTuple):
    """One model or baseline; each cell is (text, length of the bar, is the best of its column)."""

    name: str
    is_ours: bool
    cells: tuple[tuple[str, float, bool], ...]


def missing_sections(page: ReportPage) -> dict[str, str]:
    """Return the sections without content, each with the reason."""
    scored = page.scores is not None and bool(np.isfinite(page.scores.current).any())
    present = {
        "partitions": bool(page.partitions),
        "scores": scored,
        "costs": page.costs is not None,
        "what_if": page.what_if is not None,
        "drift": bool(page.drift),
        "series": bool(page.series),
        "anomalies": page.anomalies is not None and len(page.anomalies.scores) > 0,
        "entities": bool(page.entities),
        "latents": page.latents is not None and len(drawable(page.latents)) > 0,
        "samples": page.samples is not None and (page.samples.images is not None or page.samples.table is not None),
        "traversals": bool(page.traversals),
        "comparisons": bool(page.comparisons),
        "training": page.training is not None and len(page.training.epochs) > 0,
        "files": bool(page.files),
        "card": page.card is not None,
    }
    return {name: page.absent.get(name, _DEFAULT_REASONS[name]) for name, there in present.items() if not there}


def summarise(header: Header, partitions: Sequence[PartitionResult]) -> Summary:
    """Summarise the flagged rows and compare their number with the range expected from alpha."""
    rows = sum(line.scored for line in partitions)
    flagged = sum(line.flagged for line in partitions)
    if not rows:
        return Summary("No row was scored.", alarm=any(line.status == "quarantined" for line in partitions), detail="")
    at_alpha = "" if header.alpha is None else f" at alpha {formatting.percent(header.alpha, trim=True)}"
    line = f"{formatting.count(flagged)} of {_rows(rows)} flagged{at_alpha} ({formatting.percent(flagged / rows)})"
    if header.alpha is None:
        return Summary(line, alarm=False, detail="")
    low, high = expected_flag_range(rows, header.alpha, header.calibration_rows)
    expected = f"{formatting.count(low)} to {_rows(high)} are expected if all rows are normal"
    if flagged > high:
        return Summary(line, alarm=True, detail=f"More than alpha explains: {expected}.")
    comparison = "Fewer than expected" if flagged < low else "Consistent with alpha alone"
    return Summary(line, alarm=False, detail=f"{comparison}: {expected}.")


def expected_flag_range(rows: int, alpha: float, calibration_rows: int | None) -> tuple[int, int]:
    """Return the 95 % range of the number of flagged rows if all rows are normal, (low, high).

    The false alarm rate of a threshold from n calibration rows varies too, with variance alpha (1 - alpha) / (n + 2),
    by the Beta distribution of split-conformal coverage (Vovk 2012).

    Args:
        rows: number of scored rows.
        alpha: the threshold on p-values.
        calibration_rows: number of calibration rows; None ignores their sampling error.

    >>> expected_flag_range(1000, 0.05, None), expected_flag_range(1000, 0.05, 98)
    ((36, 64), (5, 95))
    """
    spread = 1 / rows + (0.0 if calibration_rows is None else 1 / (calibration_rows + 2))
    half = 1.96 * math.sqrt(alpha * (1 - alpha) * spread)
    return max(0, math.floor(rows * (alpha - half))), math.ceil(rows * min(1.0, alpha + half))


def build_tiles(partitions: Sequence[PartitionResult]) -> list[Tile]:
    """Return the figures at the top of the page, over all partitions."""
    rows, flagged = sum(line.rows for line in partitions), sum(line.flagged for line in partitions)
    invalid = sum(line.invalid for line in partitions)
    lost = sum(line.status == "quarantined" for line in partitions)
    elapsed = sum(line.elapsed_s for line in partitions)
    share = formatting.percent(flagged / (rows - invalid)) if rows > invalid else ""
    cell_flagged = sum(line.cell_flagged for line in partitions)
    cells = f"{formatting.count(cell_flagged)} with a flagged cell" if cell_flagged else ""
    return [
        Tile("partitions", formatting.count(len(partitions)), f"{formatting.count(lost)} quarantined" if lost else ""),
        Tile("rows", formatting.count(rows)),
        Tile("flagged", formatting.count(flagged), ", ".join(filter(None, (share, cells)))),
        Tile("without a score", formatting.count(invalid), formatting.percent(invalid / rows) if invalid else ""),
        Tile("time", formatting.seconds(elapsed), f"{formatting.number(rows / elapsed)} rows/s" if elapsed > 0 else ""),
    ]


def list_stages(partitions: Sequence[PartitionResult]) -> tuple[str, ...]:
    """Return the timed stages: the standard four first, in processing order."""
    timed = dict.fromkeys(chain.from_iterable(line.seconds for line in partitions))
    return tuple(name for name in _STAGES if name in timed) + tuple(name for name in timed if name not in _STAGES)


def list_unchecked(partitions: Sequence[PartitionResult]) -> list[str]:
    """Return the names of the partitions whose source has neither page checksums nor known digests."""
    return [line.partition for line in partitions if line.details.checksums == "none"]


def time_unit(partitions: Sequence[PartitionResult]) -> str:
    """Return "s" if a stage took at least a second, else "ms"."""
    return "s" if any(value >= 1 for line in partitions for value in line.seconds.values()) else "ms"


def build_partition_rows(partitions: Sequence[PartitionResult]) -> list[PartitionRow]:
    """Return the table rows of the latest MOST_PARTITIONS partitions."""
    stages, factor = list_stages(partitions), 1.0 if time_unit(partitions) == "s" else 1000.0
    return [
        PartitionRow(
            line=line,
            share=formatting.percent(line.flagged / line.scored) if line.scored > 0 else formatting.NONE,
            invalid=formatting.text(formatting.format_counts(line.details.invalid.items()), most=300),
            unseen=formatting.text(formatting.format_counts(line.details.unseen.items()), most=300),
            cut=formatting.text(formatting.format_counts(line.details.cut.items()), most=300),
            stages=tuple(
                formatting.number(factor * line.seconds[stage]) if stage in line.seconds else formatting.NONE
                for stage in stages
            ),
            rate=formatting.number(line.rows / line.elapsed_s) if line.elapsed_s > 0 and line.rows else formatting.NONE,
            over_io=formatting.number(line.details.over_io),
        )
        for line in partitions[-MOST_PARTITIONS:]
    ]


def build_bars(counts: Mapping[str, int], *, most: int = 12) -> list[Bar]:
    """Return bars of the `most` frequent names, and one bar with the sum of the rest."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown, rest = ordered[:most], sum(n for _, n in ordered[most:])
    longest = max((n for _, n in shown), default=1)
    found = [Bar(formatting.text(name), formatting.count(n), n / max(1, longest)) for name, n in shown]
    return (
        [*found, Bar(f"{len(ordered) - most} others", formatting.count(rest), min(1.0, rest / longest))]
        if rest
        else found
    )


def preview_table(table: pa.Table) -> tuple[list[str], list[list[str]]]:
    """Return header and body of the first rows; a wide table is transposed, one line per column."""
    names = [formatting.text(name, most=40) for name in table.column_names[:MOST_COLUMNS]]
    wide = table.num_columns > _WIDE
    records = table.slice(0, 6 if wide else 8).to_pylist()
    lines = [
        [formatting.cell(value, most=24 if wide else 40) for value in record.values()][: len(names)]
        for record in records
    ]
    if not wide:
        return names, lines
    columns = [list(values) for values in zip(*lines, strict=True)] or [[] for _ in names]
    header = ["column", *(f"row {index + 1}" for index in range(len(lines)))]
    return header, [[name, *values] for name, values in zip(names, columns, strict=True)]


def build_comparison_rows(comparison: Comparison) -> list[ComparisonRow]:
    """Return one row per model or baseline; ours and the best of each measure are marked."""
    values = np.array(list(comparison.lines.values()), float).reshape(len(comparison.lines), len(comparison.measures))
    best = np.max(np.where(np.isnan(values), -np.inf, values), axis=0, initial=-np.inf)
    rows = []
    for name, line in zip(comparison.lines, values.tolist(), strict=True):
        cells = []
        for v, top, span in zip(line, best, comparison.ranges.get(name, (None,) * len(line)), strict=True):
            text = formatting.number(v)
            if span is not None:
                text += f" ({formatting.number(span[0])} to {formatting.number(span[1])})"
            cells.append((text, float(np.clip(np.nan_to_num(v, posinf=0.0, neginf=0.0), 0.0, 1.0)), v == top))
        rows.append(ComparisonRow(formatting.text(name), name == comparison.ours, tuple(cells)))
    return rows


def select_files(files: Sequence[FileLine], role: str) -> tuple[list[FileLine], str]:
    """Return the last MOST_FILES files of a role, and the number and total size of all of them."""
    chosen = [line for line in files if line.role == role]
    total = f"{_plural(len(chosen), 'file')}, {formatting.size(sum(line.bytes for line in chosen))}"
    left_out = len(chosen) - MOST_FILES
    return chosen[-MOST_FILES:], total + (
        f"; the first {formatting.count(left_out)} are omitted" if left_out > 0 else ""
    )


def describe_card(card: Card) -> list[tuple[str, str]]:
    """Return names and values that describe the model, without empty values."""
    names = card.partitions
    trained = ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}, {len(names)} partitions"
    rows = ", ".join(f"{formatting.text(name)} {formatting.count(n)}" for name, n in card.rows.items())
    found = [
        ("family", card.family),
        ("backbone", card.trunk),
        ("head", card.head),
        ("trained at", card.created_at),
        ("trained on", trained),
        ("rows", rows),
    ]
    return [(name, formatting.text(value, most=200)) for name, value in found if value]


def format_measures(costs: CostCurve) -> list[tuple[str, str]]:
    """Format precision, recall and related measures."""
    return [(name, formatting.number(value)) for name, value in costs.measures.items()]


def format_settings(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Format names and values of options or versions."""
    return [(formatting.text(name), formatting.cell(value, most=120)) for name, value in values.items()]


def format_parity(card: Card) -> tuple[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
    """Return the names of the measures and, per part, the differences between ONNX and torch."""
    measures = tuple(dict.fromkeys(chain.from_iterable(card.parity.values())))
    lines = [(part, tuple(formatting.number(found.get(m)) for m in measures)) for part, found in card.parity.items()]
    return measures, lines


_CELLS = (
    "cell",
    "The most unusual value of a row, given its other values. It has a p-value of its own, and a row is flagged for"
    " its score or for its cell. Both alarms share alpha, each with about half of it, so that a row may not be flagged"
    " although its p-value is below alpha. A flagged cell often lies in the usual range of its column and breaks a"
    " relation.",
)


def explain_terms(header: Header) -> list[tuple[str, str]]:
    """Explain score, p-value, flags and attributions as they apply to this report."""
    n = header.calibration_rows
    kind = "normal and anomalous rows" if header.is_polluted else "normal rows"
    least = f" With {_rows(n)} the smallest possible value is {formatting.number(1 / (n + 1))}." if n else ""
    alpha = "alpha" if header.alpha is None else f"alpha = {formatting.percent(header.alpha, trim=True)}"
    share = "About that share of normal rows is flagged by chance"
    if header.is_adaptive:
        share = "Flags use the latest rows and an adaptive alpha, which keeps about that share flagged"
    elif header.is_polluted:
        share = "The training data may contain anomalies: this is the share of all rows that is flagged"
    return [
        (
            "score",
            "How anomalous a row is for the model; higher is more anomalous. The unit depends on the model, so scores"
            " of two model versions are not comparable; p-values are.",
        ),
        (
            "p-value",
            f"The share of calibration rows ({kind}, held out from training) with a score at least as high, counting"
            f" the row itself.{least} Lower values are extrapolated along the tail of the highest calibration scores:"
            " they rank rows, but are not valid probabilities. A p-value is not the probability that the row is"
            " normal.",
        ),
        (
            "flagged",
            f"The p-value is at most {alpha}. {share}, if the rows are distributed like the"
            " calibration rows. A flag is a prompt to investigate, not proof.",
        ),
        *([_CELLS] if header.has_cells else []),
        (
            "reasons",
            "The columns whose perturbation best explains the row, given the other columns and the reconstruction; for"
            " an image or a series, the regions or steps with the worst reconstruction. Each has a z-score relative to"
            " normal rows. They show where the row deviates, not the cause.",
        ),
    ]


def _rows(n: int) -> str:
    return _plural(n, "row")


def _plural(n: int, noun: str) -> str:
    return f"{formatting.count(n)} {noun}{'' if n == 1 else 's'}"
