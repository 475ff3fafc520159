"""Scores of series against simple methods: the Numenta Anomaly Benchmark, and machines with planted faults.

python -m benchmarks.series [--data FOLDER] [--page docs/benchmarks.md]

FOLDER is that of the Numenta Anomaly Benchmark: <kind>/<series>.csv (timestamp,value) and combined_windows.json.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aepipe.metrics.events import episode_recall
from aepipe.metrics.ranking import average_precision
from aepipe.metrics.volume_under_surface import BUFFER, vus_pr
from benchmarks import command
from benchmarks.page import measured, put_into, table
from benchmarks.series_baselines import BASELINES, WINDOW, Floats
from benchmarks.series_data import (
    FAULTS,
    MACHINE_DAYS,
    MACHINE_LEARNED_DAYS,
    LabelledSeries,
    machines,
    nab,
    wide_machine,
)
from benchmarks.series_ours import OURS, score_by_default_job
from benchmarks.streams import PATH_VARIABLE

SEEDS = 3
EPISODES_PER_WEEK = 1
WINDOWS = "aepipe, windows"
WIDE_CHANNELS, WIDE_SEEDS = (12, 30), (10, 11, 12)
WIDE_BASELINES = ("random", "max abs z", "moving variance", "prefix PCA")


class Measured(NamedTuple):
    """Measures of one method on one series, after the beginning that it learned from."""

    series: str
    method: str
    seed: int
    vus_pr: float
    average_precision: float
    events: int
    found: int
    """events found within the budget of false episodes"""
    delay: float | None
    """median steps from the start of a found event to its first flagged point"""


class Alarms(NamedTuple):
    """Flagged share of the normal points of one series."""

    series: str
    seed: int
    false_alarms: float


def measure(series: LabelledSeries, method: str, scores: Floats, seed: int) -> Measured:
    """Measure the scores of a series, (T,), after the beginning."""
    truth, later = series.anomalous[series.learned :], np.nan_to_num(scores[series.learned :], nan=-np.inf)
    found = episode_recall(truth, later, false_episodes=math.ceil(EPISODES_PER_WEEK * series.weeks))
    return Measured(
        series.name,
        method,
        seed,
        vus_pr(truth, later),
        average_precision(truth, later),
        found.events,
        found.found,
        found.median_delay,
    )


def run(series: Iterable[LabelledSeries], seeds: Sequence[int]) -> tuple[list[Measured], list[Alarms]]:
    """Measure the default job and the baselines on all series that have an event after the beginning."""
    found, alarms = list[Measured](), list[Alarms]()
    for each in series:
        is_labelled = bool(each.anomalous[each.learned :].any())
        for seed in seeds:
            ours = score_by_default_job(each, seed)
            normal = ~each.anomalous[each.learned :]
            alarms.append(Alarms(each.name, seed, float(ours.flagged[each.learned :][normal].mean())))
            if not is_labelled:
                continue
            found.append(measure(each, OURS, ours.scores, seed))
            found += [measure(each, name, baseline(each, seed), seed) for name, baseline in BASELINES.items()]
            print(f"{each.name}, seed {seed}: VUS-PR {found[-len(BASELINES) - 1].vus_pr:.3f}", flush=True)
    return found, alarms


def by_series(found: Sequence[Measured], value: Callable[[Measured], float]) -> dict[str, dict[str, float]]:
    """Return the mean over seeds of a measure, by series and method."""
    names, methods = (list(dict.fromkeys(getattr(each, field) for each in found)) for field in ("series", "method"))
    return {
        name: {
            method: float(np.mean([value(each) for each in found if (each.series, each.method) == (name, method)]))
            for method in methods
        }
        for name in names
    }


def nab_section(found: Sequence[Measured], alarms: Sequence[Alarms]) -> str:
    """Write the table of VUS-PR, the means of the other measures, and the goals."""
    methods = [OURS, *BASELINES]
    vus = by_series(found, lambda each: each.vus_pr)
    means = {method: float(np.mean([values[method] for values in vus.values()])) for method in methods}
    rates = [float(np.mean([each.false_alarms for each in alarms if each.series == name])) for name in _names(alarms)]
    simple = max(means["prefix PCA"], means["moving variance"])
    taxi = vus.get("nyc_taxi", {}).get(OURS, math.nan)
    goals = {
        f"mean VUS-PR {means[OURS]:.3f} (goal: 0.56)": means[OURS] >= 0.56,
        f"{means[OURS] - simple:.3f} above prefix PCA and moving variance (0.10)": means[OURS] >= simple + 0.10,
        f"nyc_taxi {taxi:.3f} (0.80)": taxi >= 0.80,
        f"random {means['random']:.3f} (at most 0.17)": means["random"] <= 0.17,
        f"flagged {np.mean(rates):.2%} of the normal points (0.8 to 1.2 %)": 0.008 <= np.mean(rates) <= 0.012,
        f"at most {max(rates):.2%} in a series (3 %)": max(rates) <= 0.03,
    }
    lines = [
        "## Series",
        "",
        f"Made by `python -m benchmarks.series`: {len(vus)} labelled series of the Numenta Anomaly Benchmark, mean "
        f"over {len({each.seed for each in found})} seeds. Methods learn from the first 15 % and are measured on the "
        f"rest, with windows of {WINDOW} steps; the score of a point is the mean over the windows that contain it. "
        f"VUS-PR has a buffer of {BUFFER} steps. Published on 14 of these series: TSPulse fine-tuned .53, POLY .38, "
        "Sub-PCA .33, TSB's autoencoder .34.",
        "",
        f"{measured()} "
        + "; ".join(f"**{words}: {'met' if met else 'not met'}**" for words, met in goals.items())
        + ".",
        "",
        *table(("VUS-PR", *methods), ((name, *(f"{values[m]:.2f}" for m in methods)) for name, values in vus.items())),
        "",
        *table(("mean over series", *methods), _means(found, methods)),
        "",
    ]
    return "\n".join(lines)


def machine_section(found: Sequence[Measured]) -> str:
    """Write the recall by kind of fault."""
    methods = [OURS, *BASELINES]
    lines = [
        "### Planted faults",
        "",
        f"Made by `python -m benchmarks.series --seeds {len({each.seed for each in found})}`: generated machines with "
        "three channels, one kind of fault each. Methods learn from the first "
        f"{MACHINE_LEARNED_DAYS} of {MACHINE_DAYS} days. Events found at {EPISODES_PER_WEEK} false episode per week, "
        "then the mean VUS-PR.",
        "",
        measured(),
        "",
        *table(("fault", "events", *methods), _recalls(found, methods)),
        "",
        *table(("VUS-PR by fault", *methods), _by_fault(found, methods)),
        "",
    ]
    return "\n".join(lines)


def run_wide(seeds: Iterable[int]) -> list[Measured]:
    """Measure the default job, the same with a network of windows, and baselines, on machines of many channels."""
    found = list[Measured]()
    for seed, channels in ((seed, channels) for seed in seeds for channels in WIDE_CHANNELS):
        series = wide_machine(seed, channels)
        found.append(measure(series, OURS, score_by_default_job(series, seed).scores, seed))
        found.append(measure(series, WINDOWS, score_by_default_job(series, seed, reads="windows").scores, seed))
        found += [measure(series, name, BASELINES[name](series, seed), seed) for name in WIDE_BASELINES]
        print(f"{series.name}, seed {seed}: VUS-PR {found[-len(WIDE_BASELINES) - 2].vus_pr:.3f}", flush=True)
    return found


def wide_section(found: Sequence[Measured]) -> str:
    """Write the VUS-PR by number of channels."""
    methods = [OURS, WINDOWS, *WIDE_BASELINES]
    lines = [
        "### Many channels",
        "",
        'Made by `python -m benchmarks.series --only "* channels"`: generated machines whose channels follow four '
        "factors, with eight planted faults, six of them in one channel of twelve; mean VUS-PR over "
        f"{len({each.seed for each in found})} seeds. The job reads single steps by default; `windows` is the same job "
        'with `reads = "windows"`. The weights of the terms were chosen on seeds 0 to 3.',
        "",
        measured(),
        "",
        *table(("VUS-PR", *methods), _by_fault(found, methods)),
        "",
    ]
    return "\n".join(lines)


def _recalls(found: Sequence[Measured], methods: Sequence[str]) -> Iterator[tuple[object, ...]]:
    for kind in FAULTS:
        of_kind = [each for each in found if each.series == kind]
        events = sum(each.events for each in of_kind if each.method == OURS)
        if events:
            yield kind, events, *(f"{sum(e.found for e in of_kind if e.method == m) / events:.0%}" for m in methods)


def _by_fault(found: Sequence[Measured], methods: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for kind, values in by_series(found, lambda each: each.vus_pr).items():
        yield kind, *(f"{values[method]:.2f}" for method in methods)


def _means(found: Sequence[Measured], methods: Sequence[str]) -> Iterator[tuple[str, ...]]:
    def row(title: str, value: Callable[[Measured], float]) -> tuple[str, ...]:
        measures = by_series(found, value)
        return title, *(f"{np.mean([values[method] for values in measures.values()]):.3f}" for method in methods)

    yield row("VUS-PR", lambda each: each.vus_pr)
    yield row("AUC-PR", lambda each: each.average_precision)
    yield row(
        f"events found at {EPISODES_PER_WEEK} false episode per week", lambda each: each.found / max(each.events, 1)
    )
    delays = {m: [each.delay for each in found if each.method == m and each.delay is not None] for m in methods}
    yield "median delay, steps", *(f"{np.median(delays[m]):.0f}" if delays[m] else "" for m in methods)


def _names(alarms: Sequence[Alarms]) -> list[str]:
    return list(dict.fromkeys(each.series for each in alarms))


def main() -> None:
    """Measure, print, and put the tables into a page."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--data", type=Path, default=command.data_path(PATH_VARIABLE, "nab"), help="folder of the data")
    made.add_argument("--page", type=Path, help="put the tables there too, such as docs/benchmarks.md")
    made.add_argument("--seeds", type=int, default=SEEDS, help="number of seeds")
    made.add_argument(
        "--only", nargs="+", metavar="NAME", help="these series and kinds of fault; * stands for anything"
    )
    arguments = made.parse_args()
    seeds = range(arguments.seeds)
    series = list[LabelledSeries]()
    if (arguments.data / "combined_windows.json").is_file():
        series = list(nab(arguments.data))
    else:
        print(f"{arguments.data} holds no combined_windows.json: only generated machines. Name the folder with --data")
    wide = [f"{channels} channels" for channels in WIDE_CHANNELS]
    wanted = command.chosen([*(each.name for each in series), *FAULTS, *wide], arguments.only)
    found, alarms = run([each for each in series if each.name in wanted], seeds)
    sections = {"series": nab_section(found, alarms)} if found else {}
    generated = [(seed, each) for seed in seeds for each in machines(seed) if each.name in wanted]
    faults = [measure for seed, each in generated for measure in run([each], [seed])[0]]
    sections |= {"series-faults": machine_section(faults)} if faults else {}
    if set(wide) <= set(wanted):
        sections["series-wide"] = wide_section(run_wide(WIDE_SEEDS[: arguments.seeds]))
    for name, text in sections.items():
        print(text)
        if arguments.page is not None:
            put_into(arguments.page, text, name=name)


if __name__ == "__main__":
    main()
