"""Render the tables of detection as Markdown from stored results."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.detection_alarms import ALPHAS, RATES, rate_name
from benchmarks.detection_figures import (
    GOALS,
    LEAST_SPEED_RATIO,
    LEVEL_SEEDS,
    LEVELS,
    MOST_BEHIND,
    SPEED,
    Best,
    Goal,
    Level,
    Measured,
    Numbers,
    band,
    bests,
    by_table,
    is_ours,
    versus,
)
from benchmarks.detection_ours import OUR_RECIPE
from benchmarks.detection_peers import MOST_ROWS
from benchmarks.detection_tables import PROTOCOLS
from benchmarks.page import origin
from benchmarks.store import Result

MEASURES: Mapping[str, str] = {"auroc": "AUROC", "ap": "AP"}

LISTED = (OUR_RECIPE, "pyod-ae", "pyod-knn", "pyod-iforest")
"""Detectors whose AUROC is listed table by table."""

_MEANS = ("auroc", "ap", "fit_cpu_s", "score_cpu_s", "not_scored", "test_rows")
_NOT_MEASURED = "not measured"


def section(found: Mapping[Measured, Result], *, most_rows: int) -> str:
    """Return all tables of these results."""
    numbers = {case: result.values for case, result in found.items()}
    lines = ["## Anomaly scores", "", *_origin(numbers, list(found.values()), most_rows), "", *_goals(numbers)]
    for protocol in PROTOCOLS:
        lines += ["", f"{_TITLES[protocol]}, means over tables of means over seeds:", "", *_means(numbers, protocol)]
    for protocol in PROTOCOLS:
        lines += ["", _ALARMS[protocol], "", *_alarms(numbers, protocol)]
    lines += ["", *_own_alarms(numbers)]
    lines += ["", *_bands(numbers)]
    for protocol in PROTOCOLS:
        lines += ["", f"AUROC table by table, {protocol}, and how far `{OUR_RECIPE}` is above the best other:", ""]
        lines += _list(numbers, protocol)
    return "\n".join(lines) + "\n"


_TITLES = {
    "clean": "Clean: trained on half of the normal rows",
    "polluted": "Polluted: trained on all rows, labels unseen",
}

_ALARMS = {
    "clean": (
        "Clean, alarms at alpha: every detector has split-conformal thresholds from the same held-out normal rows. "
        "Recall is the per cent of the anomalies that are flagged, precision the per cent of the flagged rows that are "
        "anomalies, and false the per cent of the normal rows that are flagged; means over the tables with enough rows "
        "for alpha:"
    ),
    "polluted": (
        "Polluted, alarms at alpha: every detector flags the share alpha of all rows that score highest, in the same "
        "per cent:"
    ),
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
    yield from (_level(numbers, level) for level in LEVELS)
    yield from (_behind(bests(numbers, protocol), protocol) for protocol in PROTOCOLS)
    yield from (_speed(values, case.table) for case, values in sorted(numbers.items()) if case.protocol == SPEED)


def _goal(numbers: Numbers, goal: Goal) -> str:
    label = f"{goal.protocol}: mean {MEASURES[goal.measure]}, against {goal.rival}"
    wanted = f"{100 * goal.least:+.0f} point{'s' * (goal.least > 0.01)}" if goal.least else "at least as high"
    found = versus(numbers, goal)
    if found is None:
        return f"| {label} | {wanted} | {_NOT_MEASURED} | | |"
    met = "yes" if found.difference >= goal.least else "**no**"
    return (
        f"| {label}, {_tables(found.tables)} | {wanted} | {found.own:.4f} | {found.rival:.4f} "
        f"({100 * found.difference:+.1f}) | {met} |"
    )


def _level(numbers: Numbers, level: Level) -> str:
    label, wanted = f"{level.protocol}: mean {MEASURES[level.measure]}", f"at least {level.least:.3f}"
    values = list(by_table(numbers, level.protocol, OUR_RECIPE, level.measure).values())
    if not values:
        return f"| {label} | {wanted} | {_NOT_MEASURED} | | |"
    seeds = _seeds(numbers, level.protocol, OUR_RECIPE)
    reached = "yes" if seeds == str(LEVEL_SEEDS) else f"not shown: {seeds} of {LEVEL_SEEDS} seeds"
    met = reached if np.mean(values) >= level.least else "**no**"
    return f"| {label}, {_tables(len(values))} | {wanted} | {np.mean(values):.4f} | | {met} |"


def _behind(found: Sequence[Best], protocol: str) -> str:
    label = f"{protocol}: AUROC of each table, against the best other detector"
    wanted = f"at most {100 * MOST_BEHIND:.0f} points below"
    if not found:
        return f"| {label} | {wanted} | {_NOT_MEASURED} | | |"
    worst = min(found, key=lambda each: each.difference)
    behind = sum(each.difference < -MOST_BEHIND for each in found)
    return (
        f"| {label}, {_tables(len(found))} | {wanted} | {worst.own:.4f} for {worst.table} | {worst.other:.4f} of "
        f"{worst.detector} ({100 * worst.difference:+.1f}) | "
        f"{f'**no**: {_tables(behind)} further below' if behind else 'yes'} |"
    )


def _tables(count: int) -> str:
    return f"{count} table{'s' * (count > 1)}"


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
        yield (
            f"| {_label(detector)} | {auroc:.4f} | {ap:.4f} | {fit:.2f} | {score:.3f} | {lost / rows:.1%} | "
            f"{len(columns['auroc'])} | {_seeds(numbers, protocol, detector)} |"
        )


def _seeds(numbers: Numbers, protocol: str, detector: str) -> str:
    """Return how many seeds each table was measured with, as a range where tables differ."""
    tables = [case.table for case in numbers if (case.protocol, case.detector) == (protocol, detector)]
    counts = sorted(Counter(tables).values())
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def _alarms(numbers: Numbers, protocol: str) -> Iterator[str]:
    names = [f"{_RATES[rate]}, {alpha:g}" for alpha in ALPHAS for rate in RATES]
    yield f"| detector | {' | '.join(names)} | tables at {' and '.join(f'{alpha:g}' for alpha in ALPHAS)} |"
    yield f"|---{'|---' * (len(names) + 1)}|"
    for detector in _detectors(numbers, protocol):
        columns = [by_table(numbers, protocol, detector, rate_name(rate, alpha)) for alpha in ALPHAS for rate in RATES]
        counts = [str(len(column)) for column in columns[:: len(RATES)]]
        yield f"| {_label(detector)} | {' | '.join(map(_per_cent, columns))} | {' and '.join(counts)} |"


def _own_alarms(numbers: Numbers) -> Iterator[str]:
    yield (
        f"`{OUR_RECIPE}` with the thresholds of its bundle, from the rows that training holds out, by the score and by "
        "the alarm for cells; and the rule above on the same tables:"
    )
    yield ""
    yield f"| protocol | alpha | thresholds | {' | '.join(_RATES.values())} | tables |"
    yield f"|---|---|---{'|---' * len(RATES)}|---|"
    for protocol in PROTOCOLS:
        for alpha in ALPHAS:
            names = [rate_name(rate, alpha) for rate in RATES]
            own = [by_table(numbers, protocol, OUR_RECIPE, f"own_{name}") for name in names]
            alike = [by_table(numbers, protocol, OUR_RECIPE, name) for name in names]
            kept = own[0].keys() & alike[0].keys()
            for label, columns in (("of the bundle", own), ("the rule above", alike)):
                cells = [_per_cent({table: column[table] for table in kept}) for column in columns]
                yield f"| {protocol} | {alpha:g} | {label} | {' | '.join(cells)} | {len(kept)} |"


_RATES = {"recall": "recall", "precision": "precision", "false_alarms": "false"}


def _per_cent(column: Mapping[str, float]) -> str:
    return f"{100 * np.mean(list(column.values())):.1f}" if column else ""


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
        yield f"| {_label(rival)} | {' | '.join(cells)} |"


def _band(numbers: Numbers, protocol: str, rival: str, measure: str) -> str:
    found = band(numbers, protocol, rival, measure)
    if found is None:
        return _NOT_MEASURED
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _list(numbers: Numbers, protocol: str) -> Iterator[str]:
    columns = [by_table(numbers, protocol, detector, "auroc") for detector in LISTED]
    best = {each.table: each for each in bests(numbers, protocol)}
    yield f"| table | {' | '.join(LISTED)} | best other |"
    yield f"|---{'|---' * (len(LISTED) + 1)}|"
    for table in dict.fromkeys(case.table for case in numbers if case.protocol == protocol):
        cells = [f"{column[table]:.3f}" if table in column else "" for column in columns]
        yield f"| {table} | {' | '.join(cells)} | {_best(best[table]) if table in best else ''} |"


def _best(found: Best) -> str:
    return f"{found.detector} {found.other:.3f} ({100 * found.difference:+.1f})"


def _detectors(numbers: Numbers, protocol: str) -> list[str]:
    known = dict.fromkeys(case.detector for case in numbers if case.protocol == protocol)
    return sorted(known, key=_place)


def _label(detector: str) -> str:
    """Return the name, with the number of rows if it is below that of others."""
    return f"{detector}, {MOST_ROWS[detector]:,} rows" if detector in MOST_ROWS else detector


def _place(detector: str) -> int:
    """Sort ours first, then PyOD's, then the baselines, each in given order."""
    return 0 if is_ours(detector) else 1 if detector.startswith("pyod-") else 2
