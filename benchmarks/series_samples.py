"""Drawn series against real ones: the second half of a series, and a draw of the default job that learned the first.

python -m benchmarks.series_samples [NAME ...] prints a table. The first half, as if it were the draw, says what the
change of the series over time alone does to each measure.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aepipe.jobs.sample.series_set import sample_series
from aepipe.jobs.train.train import train
from benchmarks.command import data_path
from benchmarks.streams import Series, all_series

NAMES = (
    "ambient_temperature_system_failure",
    "cpu_utilization_asg_misconfiguration",
    "exchange-2_cpc_results",
    "machine_temperature_system_failure",
    "nyc_taxi",
    "rogue_agent_key_hold",
)
DRAWS = 5
WEEK_US, HOUR_US = 7 * 86_400_000_000, 3_600_000_000
JOB = """
name = "series"
[data]
path = "source"
event_time = "at"
[train]
to = "part=0"
[series]
values = ["value"]
"""
HEADER = (
    "| series | calendar | mean error | spread | lag 1 | lag 10 | a day | profile | first half: mean error | spread | "
    "profile |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


class Measures(NamedTuple):
    """Comparison with the second half of a series."""

    mean: float
    """error in standard deviations"""
    spread: float
    """ratio of standard deviations"""
    lags: tuple[float, ...]
    """autocorrelations at one step, ten steps and a day"""
    profile: float
    """correlation of the means of the hours of the week"""


def drawn_halves(series: Series) -> tuple[str, list[NDArray[np.float64]]]:
    """Return the calendar and five draws of the second half by the default job, trained on the first half."""
    half = len(series.values) // 2
    with tempfile.TemporaryDirectory() as folder:
        table = pa.table({"at": pa.array(series.times.astype("datetime64[us]")), "value": series.values})
        path = Path(folder) / "source" / "part=0" / "part.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table.slice(0, half), path)
        job = Path(folder) / "job.toml"
        job.write_text(JOB)
        train(job)
        start, length = str(series.times[half]), len(series.values) - half
        found = [sample_series(job, start=start, length=length, seed=seed, name=f"draw{seed}") for seed in range(DRAWS)]
        return found[0].calendar, [pq.ParquetFile(each.path).read(["value"])["value"].to_numpy() for each in found]


def compare(
    times: NDArray[np.datetime64],
    values: NDArray[np.float64],
    real_times: NDArray[np.datetime64],
    real: NDArray[np.float64],
) -> Measures:
    """Compare values with real ones."""
    hours = [_hours_of_week(at, each) for at, each in ((times, values), (real_times, real))]
    both = np.isfinite(hours[0]) & np.isfinite(hours[1])
    return Measures(
        mean=float((values.mean() - real.mean()) / real.std()),
        spread=float(values.std() / real.std()),
        lags=tuple(_correlation(values, lag) for lag in _lags(real_times)),
        profile=float(np.corrcoef(hours[0][both], hours[1][both])[0, 1]),
    )


def mean_of(measures: Sequence[Measures]) -> Measures:
    """Return the mean of each measure."""
    mean, spread, lags, profile = (np.mean(each, axis=0) for each in zip(*measures, strict=True))
    return Measures(float(mean), float(spread), tuple(lags), float(profile))


def _hours_of_week(times: NDArray[np.datetime64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    hour = times.astype("datetime64[us]").astype(np.int64) % WEEK_US // HOUR_US
    counts = np.bincount(hour, minlength=168)
    return np.where(counts > 0, np.bincount(hour, values, minlength=168) / np.maximum(counts, 1), np.nan)


def _correlation(values: NDArray[np.float64], lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line per series."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--data", type=Path, default=data_path("NAB", "nab"))
    given = parser.parse_args(arguments)
    print(HEADER)
    for series in all_series(given.data):
        if series.name not in given.names:
            continue
        half = len(series.values) // 2
        real_times, real = series.times[half:], series.values[half:]
        calendar, draws = drawn_halves(series)
        times = real_times[0] + np.median(np.diff(real_times)) * np.arange(len(real))
        drawn = mean_of([compare(times[: len(values)], values, real_times, real) for values in draws])
        first = compare(series.times[:half], series.values[:half], real_times, real)
        lags = [
            f"{mine:.2f} ({_correlation(real, lag):.2f})"
            for mine, lag in zip(drawn.lags, _lags(real_times), strict=True)
        ]
        print(
            f"| {series.name} | {calendar} | {drawn.mean:+.2f} | {drawn.spread:.2f} | {' | '.join(lags)} | "
            f"{drawn.profile:.2f} | {first.mean:+.2f} | {first.spread:.2f} | {first.profile:.2f} |",
            flush=True,
        )


def _lags(times: NDArray[np.datetime64]) -> tuple[int, int, int]:
    return 1, 10, round(np.timedelta64(1, "D") / np.median(np.diff(times)))


if __name__ == "__main__":
    main()
