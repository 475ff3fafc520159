"""Render the tables of throughput from measurements."""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.page import origin, table
from benchmarks.store import Result
from benchmarks.throughput_contenders import OURS, RAY, on
from benchmarks.throughput_floors import FLOORS
from benchmarks.throughput_protection import WITH, WITHOUT
from benchmarks.throughput_tables import KINDS, LAYOUTS, PARTS, PLAIN

START = "start"
MEMORY_ROWS = (1_000_000, 8_000_000)
_COSTS = "costs"
_STAGES = ("digest", "read", "encode", "infer", "write", "commit")


class Ran(NamedTuple):
    """Contender, table and layout of a run."""

    kind: str
    layout: str
    rows: int
    who: str

    @property
    def experiment(self) -> str:
        return "|".join(map(str, self))

    @property
    def title(self) -> str:
        return f"{self.who} on {self.rows:,} rows of {self.kind}, {self.layout}"


class Goal(NamedTuple):
    """Bound that a figure must reach."""

    title: str
    value: float
    limit: float
    at_most: bool

    @property
    def is_met(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit


Medians = Mapping[str, float]


def medians(results: Sequence[Result]) -> dict[str, Medians]:
    """Return the median of the runs of each experiment."""
    runs: dict[str, list[Mapping[str, float]]] = {}
    for result in results:
        runs.setdefault(result.experiment, []).append(result.values)
    return {
        experiment: {
            name: statistics.median(values[name] for values in each) for name in each[0] if all(name in v for v in each)
        }
        for experiment, each in runs.items()
    }


def section(results: Sequence[Result], *, share: int = 1) -> str:
    """Return all results on throughput."""
    found = medians(results)
    lines = [
        "## Throughput",
        "",
        "Made by `python -m benchmarks.throughput`: the rows of a night from Parquet to Parquet. Every run is a "
        "process of its own; the contenders take turns, and figures are medians of their runs. Imports and models are "
        "loaded before the clock starts, for everyone. All but PyOD read the files, run the same network and write "
        "keys, latents, scores, p-values and three reasons a row; PyOD's decision function gives a score. pandas and "
        "PyOD run batches of the size that was the fastest for them on 65,536 rows, but for one script that runs a "
        "file in one call, as people write it who do not measure. aepipe has everything on: "
        "checksums of pages, digests of inputs and outputs, reasons, p-values, and a commit that is synced to the "
        "disk. The ideal is the CPU seconds of reading alone, of the graph alone on resident rows and of writing "
        "alone, without checksums and digests, over the cores. CPU seconds of Ray are those that the machine was busy.",
        "",
        origin(results).replace(", one thread a model", ""),
        "",
    ]
    for kind in KINDS.values():
        rows = kind.rows // share
        for layout in LAYOUTS:
            of_night = {
                who: found[ran.experiment]
                for who in (*FLOORS, *on(kind.name), _COSTS)
                if (ran := Ran(kind.name, layout, rows, who)).experiment in found
            }
            if OURS in of_night and set(FLOORS) <= set(of_night):
                lines += [
                    *_night(f"{kind.rows // share:,} rows of {kind.title}, {layout}", kind.rows // share, of_night),
                    "",
                ]
    lines += [*_memory(found, share), *_start(found)]
    return "\n".join(lines).rstrip() + "\n"


def goals(of_night: Mapping[str, Medians]) -> Iterator[Goal]:
    """Yield the goals for a night, relative to the other contenders."""
    ours = of_night[OURS]
    yield Goal("wall seconds over the ideal", ours["wall_s"] / ideal_s(of_night), 1.25, at_most=True)
    for who in (each for each in of_night if each.startswith("pandas")):
        yield Goal(f"wall seconds of {who} over ours", of_night[who]["wall_s"] / ours["wall_s"], 5, at_most=False)
        yield Goal(f"CPU seconds of {who} over ours", of_night[who]["cpu_s"] / ours["cpu_s"], 3, at_most=False)
    if RAY in of_night:
        yield Goal("wall seconds of Ray Data over ours", of_night[RAY]["wall_s"] / ours["wall_s"], 4, at_most=False)
    yield Goal("peak memory, MB", ours["peak_mb"], 600, at_most=True)
    if _COSTS in of_night:
        yield Goal("all that is added, % of our CPU seconds", 100 * added_s(of_night) / ours["cpu_s"], 15, at_most=True)
        if WITH in of_night[_COSTS]:
            yield Goal("checks, % of wall seconds", protection_share(of_night[_COSTS]), 10, at_most=True)


def ideal_s(of_night: Mapping[str, Medians]) -> float:
    """Return the CPU seconds of the lower bounds divided by the cores."""
    return sum(of_night[floor]["cpu_s"] for floor in FLOORS) / (os.cpu_count() or 1)


def added_s(of_night: Mapping[str, Medians]) -> float:
    """Return the CPU seconds of checksums, digests, reasons and p-values."""
    return sum(max(0.0, value) for name, value in of_night[_COSTS].items() if name.endswith("_s") and _is_added(name))


def protection_share(added: Mapping[str, float]) -> float:
    """Return the percentage of the wall time of scoring that its checks take."""
    return 100 * (added[WITH] - added[WITHOUT]) / added[WITH]


def _is_added(name: str) -> bool:
    return name not in {"wall_s", "cpu_s", "peak_mb"} and not name.endswith(", wall_s")


def _night(title: str, rows: int, of_night: Mapping[str, Medians]) -> Iterator[str]:
    ours = of_night[OURS]
    yield f"### {title}"
    yield ""
    header = ("", "rows/s", "wall s", "CPU s", "peak MB", "wall s / ours", "CPU s / ours")
    yield from table(header, (_line(who, rows, of_night[who], ours) for who in of_night if who != _COSTS))
    yield ""
    stages = ", ".join(f"{stage} {ours[f'{stage}_s']:.2f}" for stage in _STAGES if f"{stage}_s" in ours)
    yield f"The ideal: {ideal_s(of_night):.2f} s. Seconds of our threads, in sum: {stages}."
    if _COSTS in of_night:
        added = of_night[_COSTS]
        shares = [
            f"{name.removesuffix('_s')} {100 * value / ours['cpu_s']:.1f} %"
            for name, value in added.items()
            if _is_added(name)
        ]
        yield ""
        yield f"What each addition costs, of our CPU seconds: {', '.join(shares)}."
        if WITH in added:
            share = f"{protection_share(added):.1f} %"
            yield f"Scoring takes {added[WITH]:.2f} s with all checks and {added[WITHOUT]:.2f} s without: {share}."
        yield f"The disk was waited for {added['waiting for fsync, wall_s']:.2f} s."
    yield ""
    yield from table(("goal", "at", "found", "met"), (_goal(goal) for goal in goals(of_night)))


def _line(who: str, rows: int, values: Medians, ours: Medians) -> tuple[str, ...]:
    title = f"{who} alone" if who in FLOORS else who
    return (
        title,
        f"{rows / values['wall_s']:,.0f}",
        f"{values['wall_s']:.2f}",
        f"{values['cpu_s']:.2f}",
        f"{values['peak_mb']:,.0f}",
        "" if who in FLOORS else f"{values['wall_s'] / ours['wall_s']:.2f}",
        "" if who in FLOORS else f"{values['cpu_s'] / ours['cpu_s']:.2f}",
    )


def _goal(goal: Goal) -> tuple[str, ...]:
    bound = "at most" if goal.at_most else "at least"
    return goal.title, f"{bound} {goal.limit:g}", f"{goal.value:.3g}", "yes" if goal.is_met else "**no**"


def _memory(found: Mapping[str, Medians], share: int) -> Iterator[str]:
    rows = []
    for layout in (PARTS, PLAIN):
        peaks = [
            found[experiment]["peak_mb"]
            for count in MEMORY_ROWS
            if (experiment := Ran("numbers", layout, count // share, OURS).experiment) in found
        ]
        if len(peaks) == len(MEMORY_ROWS):
            rows.append((layout, *(f"{peak:.0f}" for peak in peaks), f"{peaks[-1] / peaks[0]:.2f}"))
    if rows:
        header = ("layout", *(f"{count // share:,} rows, MB" for count in MEMORY_ROWS), "ratio (goal: at most 1.1)")
        yield from ("### Peak memory", "", *table(header, rows), "")


def _start(found: Mapping[str, Medians]) -> Iterator[str]:
    if START in found:
        start = found[START]
        asked = (("`aepipe --help`", "help_s", 0.3), ("`aepipe score`, 1,000 rows", "score_s", 1.5))
        rows = [
            (title, f"{start[name]:.2f}", f"{most:g}", "yes" if start[name] <= most else "**no**")
            for title, name, most in asked
        ]
        yield from ("### From a cold start", "", *table(("command", "CPU s", "at most", "met"), rows), "")
