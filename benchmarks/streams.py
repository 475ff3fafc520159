"""Alarms on series that drift: adaptive alpha and a fixed threshold, night by night.

python -m benchmarks.streams [--page docs/benchmarks.md], with AEPIPE_NAB_DATA naming a folder of the Numenta Anomaly
Benchmark: <kind>/<series>.csv (timestamp,value) and combined_windows.json.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.calibration.adaptive import Adaptive, State
from aepipe.calibration.conformal import Calibration
from benchmarks import command
from benchmarks.page import measured, put_into, table

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Times = NDArray[np.datetime64]

PATH_VARIABLE = "AEPIPE_NAB_DATA"
ALPHA = 0.01
WINDOW, COMPONENTS = 16, 3
LEARNED = 0.15
"""Share at the beginning of a series that training and calibration use, as the rules of the benchmark say."""


class Series(NamedTuple):
    """Values at times, (T,), and the windows (first, last) that hold its anomalies."""

    name: str
    times: Times
    values: Floats
    windows: tuple[tuple[np.datetime64, np.datetime64], ...]


class Replay(NamedTuple):
    """Results on the nights after the beginning of a series, with adaptive alpha and with the fixed threshold."""

    name: str
    nights: int
    points: int
    windows: int
    false_alarms: tuple[float, float]
    """share of the points outside of windows that is flagged"""
    hits: tuple[int, int]
    """windows with a flagged point"""
    by_chance: float
    """windows that flags drawn at random at alpha would hit, on average"""


def all_series(folder: Path) -> Iterator[Series]:
    """Yield all series of the folder by name."""
    windows = json.loads((folder / "combined_windows.json").read_text())
    for path in sorted(folder.glob("*/*.csv")):
        name = path.relative_to(folder).as_posix()
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        spans = tuple((np.datetime64(first[:19]), np.datetime64(last[:19])) for first, last in windows.get(name, []))
        times = np.array([row["timestamp"] for row in rows], "datetime64[s]")
        yield Series(path.stem, times, np.array([float(row["value"]) for row in rows]), spans)


def windowed_pca(values: Floats, learned: int) -> Floats:
    """Return the distance of each window of the latest 16 values from the plane of the first windows, (T,); causal.

    NaN for the first values, which no window ends at.
    """
    spread = values[:learned].std()
    scaled = (values - values[:learned].mean()) / (spread if spread > 0 else 1.0)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, WINDOW)
    mean = windows[: learned - WINDOW + 1].mean(axis=0)
    _, _, directions = np.linalg.svd(windows[: learned - WINDOW + 1] - mean, full_matrices=False)
    plane = directions[:COMPONENTS].T
    residual = (windows - mean) - (windows - mean) @ plane @ plane.T
    return np.concatenate([np.full(WINDOW - 1, np.nan), np.linalg.norm(residual, axis=1)])


def replay(series: Series) -> Replay:
    """Replay a series with one day per night, and pass on the state of each night as a manifest would."""
    learned = max(int(LEARNED * len(series.values)), 4 * WINDOW)
    scores = windowed_pca(series.values, learned)
    calibration = calibrated(scores[WINDOW - 1 : learned])
    scores, times = scores[learned:], series.times[learned:]
    nights = by_day(scores, times)
    adaptive = adapt(nights, calibration)
    fixed = calibration.is_anomaly(calibration.p_values(scores))
    within = [(times >= first) & (times <= last) for first, last in series.windows]
    within = [inside for inside in within if inside.any()]
    normal = ~np.any(within, axis=0) if within else np.ones(len(times), np.bool_)
    return Replay(
        name=series.name,
        nights=len(nights),
        points=int(normal.sum()),
        windows=len(within),
        false_alarms=(float(adaptive[normal].mean()), float(fixed[normal].mean())),
        hits=(sum(bool(adaptive[inside].any()) for inside in within), sum(bool(fixed[i].any()) for i in within)),
        by_chance=sum(1 - (1 - ALPHA) ** int(inside.sum()) for inside in within),
    )


def calibrated(scores: Floats) -> Calibration:
    """Calibrate on scores; equal scores, as from a constant series, get tiny noise so that they are distinct."""
    if np.ptp(scores) == 0:
        scores = scores + 1e-12 * np.arange(len(scores))
    return Calibration.fit(scores, alpha=ALPHA)


def by_day(scores: Floats, times: Times) -> list[Floats]:
    """Return the scores of each run of points of one day, in order of arrival."""
    days = times.astype("datetime64[D]").astype(np.int64)
    return np.split(scores, np.flatnonzero(np.diff(days)) + 1)


def adapt(nights: Sequence[Floats], calibration: Calibration) -> Bools:
    """Return the flags of successive nights, each with only the state that the previous night left."""
    state, flags = State.of(calibration), []
    for night in nights:
        adaptive = Adaptive(calibration.alpha, State.model_validate_json(state.model_dump_json()))
        flags.append(adaptive.flags(night))
        state = adaptive.state
    return np.concatenate(flags)


def section(replays: Sequence[Replay]) -> str:
    """Return the table of all series, with the goals and whether they are met."""
    rates = np.array([found.false_alarms for found in replays])
    hits, windows = np.sum([found.hits for found in replays], axis=0), sum(found.windows for found in replays)
    chance = sum(found.by_chance for found in replays)
    met = 0.008 <= rates[:, 0].mean() <= 0.012 and rates[:, 0].max() <= 0.03 and hits[0] >= hits[1]
    lines = [
        "## Streams",
        "",
        f"Made by `python -m benchmarks.streams`: {len(replays)} series of the Numenta Anomaly Benchmark, replayed "
        f"day by day. The score is the distance of the latest {WINDOW} values from {COMPONENTS} principal components "
        f"of the first {LEARNED:.0%}, which the threshold is calibrated on too, at alpha {ALPHA:.0%}. False alarms are "
        "in per cent of the points outside of the windows that hold anomalies; a window is hit where a point in it is "
        f"flagged. Windows are long: flags drawn at random at {ALPHA:.0%} hit {chance:.1f} of them on average, so "
        "that hits say that nothing is lost, and not how good the score is.",
        "",
        f"{measured()} **Adaptive: {_percent(rates[:, 0].mean())} % false alarms on average, "
        f"{_percent(rates[:, 0].max())} % at worst, {hits[0]} of {windows} windows hit; fixed threshold: "
        f"{_percent(rates[:, 1].mean())} %, {_percent(rates[:, 1].max())} %, {hits[1]}** (goals: 0.8 to 1.2 %, at most "
        f"3 %, as many windows as the fixed threshold; {'met' if met else 'not met'}).",
        "",
        *table(
            ("series", "nights", "normal points", "adaptive", "fixed", "windows hit, adaptive", "fixed"),
            map(_line, replays),
        ),
    ]
    return "\n".join(lines) + "\n"


def _line(found: Replay) -> tuple[str, ...]:
    hits = [f"{hit} of {found.windows}" if found.windows else "" for hit in found.hits]
    return found.name, str(found.nights), f"{found.points:,}", *map(_percent, found.false_alarms), *hits


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def main() -> None:
    """Replay, print, and put the table into a page."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--page", type=Path, help="put the table there too, such as docs/benchmarks.md")
    page = arguments.parse_args().page
    folder = command.data_path(PATH_VARIABLE, "nab")
    if not (folder / "combined_windows.json").is_file():
        raise SystemExit(f"{folder} holds no combined_windows.json: name the folder in {PATH_VARIABLE}")
    text = section([replay(series) for series in all_series(folder)])
    print(text)
    if page is not None:
        put_into(page, text, name="streams")


if __name__ == "__main__":
    main()
