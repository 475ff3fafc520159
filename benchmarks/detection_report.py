"""Render the tables of detection as Markdown from stored results."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.detection_figures import (
    GOALS,
    LEAST_SPEED_RATIO,
    SPEED,
    Goal,
    Measured,
    Numbers,
    band,
    by_table,
    versus,
)
from benchmarks.detection_ours import OUR_RECIPE, RECIPES
from benchmarks.detection_tables import PROTOCOLS
from benchmarks.page import origin
from benchmarks.store import Result

MEASURES: Mapping[str, str] = {"auroc": "AUROC", "ap": "AP"}

LISTED = (OUR_RECIPE, "pyod-ae", "pyod-knn", "pyod-iforest")
"""Whose AUROC is written down table by table."""

_MEANS = ("auroc", "ap", "fit_cpu_s", "score_cpu_s", "not_scored", "test_rows")
_NOT_MEASURED = "not measured"


def section(found: Mapping[Measured, Result], *, most_rows: int) -> str:
    """All tables of these results."""
    numbers = {case: result.values for case, result in found.items()}
    lines = ["## Anomaly scores", "", *_origin(numbers, list(found.values()), most_rows), "", *_goals(numbers)]
    for protocol in PROTOCOLS:
        lines += ["", f"{_TITLES[protocol]}, means over tables of means over seeds:", "", *_means(numbers, protocol)]
    lines += ["", *_bands(numbers)]
    for protocol in PROTOCOLS:
        lines += ["", f"AUROC table by table, {protocol}:", "", *_list(numbers, protocol)]
    return "\n".join(lines) + "\n"


_TITLES = {
    "clean": "Clean: trained on half of the normal rows",
    "polluted": "Polluted: trained on all rows, labels unseen",
}


def _origin(numbers: Numbers, results: Sequence[Result], most_rows: int) -> Iterator[str]:
    tables = {case.table for case in numbers if case.protocol != SPEED}
    seeds = {case.seed for case in numbers}
    yield (
        f"Made by `python -m benchmarks.detection` on {len(tables)} tables of ADBench, at most {most_rows:,} rows of "
        f"each, with seeds {', '.join(str(seed) for seed in sorted(seeds)) or 'none'}."
    )
    yield ""
    yield origin(results)


def _goals(numbers: Numbers) -> Iterator[str]:
    yield "| measure | goal | ours | against | met |"
    yield "|---|---|---|---|---|"
    yield from (_goal(numbers, goal) for goal in GOALS)
    yield from (_speed(values, case.table) for case, values in sorted(numbers.items()) if case.protocol == SPEED)


def _goal(numbers: Numbers, goal: Goal) -> str:
    label = f"{goal.protocol}: mean {MEASURES[goal.measure]}, against {goal.rival}"
    wanted = f"{100 * goal.least:+.0f} point{'s' * (goal.least > 0.01)}" if goal.least else "at least as high"
    found = versus(numbers, goal)
    if found is None:
        return f"| {label} | {wanted} | {_NOT_MEASURED} | | |"
    met = "yes" if found.difference >= goal.least else "**no**"
    return (
        f"| {label}, {found.tables} table{'s' * (found.tables > 1)} | {wanted} | {found.own:.4f} | {found.rival:.4f} "
        f"({100 * found.difference:+.1f}) | {met} |"
    )


def _speed(values: Mapping[str, float], table: str) -> str:
    ours, graph, theirs = (values[f"{name}_rows_per_cpu_s"] for name in ("table", "scorer", "pyod"))
    label = f"rows scored in a CPU second, {values['rows']:,.0f} rows of {table}, {values['columns']:.0f} columns"
    against = f"{theirs:,.0f} of pyod-ae in batches of {values['pyod_batch_rows']:,.0f}"
    met = "yes" if ours >= LEAST_SPEED_RATIO * theirs else "**no**"
    return (
        f"| {label} | at least {LEAST_SPEED_RATIO:.0f} x | {ours:,.0f} from Arrow to p-values and reasons "
        f"({ours / theirs:.1f} x); {graph:,.0f} of the graph alone | {against} | {met} |"
    )


def _means(numbers: Numbers, protocol: str) -> Iterator[str]:
    yield "| detector | AUROC | AP | fit, CPU s | score, CPU s | rows without a score | tables | seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for detector in _detectors(numbers, protocol):
        columns = {name: by_table(numbers, protocol, detector, name) for name in _MEANS}
        auroc, ap, fit, score, lost, rows = (float(np.mean(list(column.values()))) for column in columns.values())
        seeds = {case.seed for case in numbers if (case.protocol, case.detector) == (protocol, detector)}
        yield (
            f"| {detector} | {auroc:.4f} | {ap:.4f} | {fit:.2f} | {score:.3f} | {lost / rows:.1%} | "
            f"{len(columns['auroc'])} | {len(seeds)} |"
        )


def _bands(numbers: Numbers) -> Iterator[str]:
    yield (
        f"How far `{OUR_RECIPE}` is above each of the others, in points: mean of 1,000 resamples of the "
        "tables, and where "
        f"90 % of them lie:"
    )
    yield ""
    yield "| other | clean AUROC | clean AP | polluted AUROC | polluted AP |"
    yield "|---|---|---|---|---|"
    known = dict.fromkeys(case.detector for case in numbers if case.protocol != SPEED)
    for rival in (name for name in sorted(known, key=_place) if name != OUR_RECIPE):
        cells = [_band(numbers, protocol, rival, measure) for protocol in PROTOCOLS for measure in MEASURES]
        yield f"| {rival} | {' | '.join(cells)} |"


def _band(numbers: Numbers, protocol: str, rival: str, measure: str) -> str:
    found = band(numbers, protocol, rival, measure)
    if found is None:
        return _NOT_MEASURED
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _list(numbers: Numbers, protocol: str) -> Iterator[str]:
    columns = [by_table(numbers, protocol, detector, "auroc") for detector in LISTED]
    yield f"| table | {' | '.join(LISTED)} |"
    yield f"|---{'|---' * len(LISTED)}|"
    for table in dict.fromkeys(case.table for case in numbers if case.protocol == protocol):
        cells = [f"{column[table]:.3f}" if table in column else "" for column in columns]
        yield f"| {table} | {' | '.join(cells)} |"


def _detectors(numbers: Numbers, protocol: str) -> list[str]:
    known = dict.fromkeys(case.detector for case in numbers if case.protocol == protocol)
    return sorted(known, key=_place)


def _place(detector: str) -> int:
    """Sort ours first, then PyOD's, then the baselines, each in given order."""
    return 0 if detector in RECIPES else 1 if detector.startswith("pyod-") else 2
