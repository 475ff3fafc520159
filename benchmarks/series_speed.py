"""CPU seconds and memory of series jobs: training, a million points, and 30 against 120 nights.

python -m benchmarks.series_speed [--page docs/benchmarks.md]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.page import measured, put_into, table

ENTITIES, CHANNELS = 100, 3
POINTS, NIGHTS = 1_000_000, 10
TRAINED_POINTS = 10_000
FEW_NIGHTS, MANY_NIGHTS, NIGHT_ENTITIES, NIGHT_STEPS = 30, 120, 20, 96
MOST_TRAINING_S, MOST_SCORING_S = 15.0, 60.0
PERIOD = 96
_JOB = """
name = "speed"
[data]
path = "rows"
event_time = "at"
[series]
entity = ["machine"]
[train]
to = "night=0000"
[run]
workers = 1
"""


class Usage(NamedTuple):
    """CPU seconds of all processes of a command, and the peak memory of the largest one in MB."""

    cpu_s: float
    peak_mb: float


class Speeds(NamedTuple):
    """Usage of each command."""

    training: Usage
    scoring: Usage
    few_nights: Usage
    many_nights: Usage


def write_nights(folder: Path, nights: int, *, entities: int, steps: int, channels: int) -> Path:
    """Write nights of machines whose channels have a season and noise, and a job; return the path of the job."""
    for night in range(nights):
        generator = np.random.default_rng([entities, night])
        step = night * steps + np.arange(steps)
        season = np.sin(2 * np.pi * step / PERIOD)
        at = np.datetime64("2026-01-01", "us") + step * np.timedelta64(900_000_000, "us")
        columns = {"machine": np.repeat([f"m{number:03d}" for number in range(entities)], steps)}
        columns["at"] = np.tile(at, entities)
        for channel in range(channels):
            columns[f"c{channel}"] = np.tile(season, entities) + generator.normal(0, 0.2, entities * steps)
        path = folder / "rows" / f"night={night:04d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table(columns), path)
    job = folder / "job.toml"
    job.write_text(_JOB)
    return job


def usage_of(*arguments: str) -> Usage:
    """Run a command of aepipe in a process of its own. Raises RuntimeError if it fails."""
    code = "from aepipe.cli.main import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"aepipe {' '.join(arguments)} ended with {process.returncode}")
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measure() -> Speeds:
    """Train and score generated machines in temporary folders."""
    with tempfile.TemporaryDirectory() as folder:
        job = str(write_nights(Path(folder), 1, entities=1, steps=TRAINED_POINTS, channels=1))
        training = usage_of("train", job)
        print(f"training: {training}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        steps = POINTS // NIGHTS // ENTITIES
        job = str(write_nights(Path(folder), NIGHTS + 1, entities=ENTITIES, steps=steps, channels=CHANNELS))
        usage_of("train", job)
        scoring = usage_of("score", job, *_partitions(range(1, NIGHTS + 1)))
        print(f"scoring: {scoring}", flush=True)
    nights = [_nights(count) for count in (FEW_NIGHTS, MANY_NIGHTS)]
    return Speeds(training, scoring, *nights)


def _nights(count: int) -> Usage:
    """Return the usage of scoring nights at once."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {"entities": NIGHT_ENTITIES, "steps": NIGHT_STEPS, "channels": CHANNELS}
        job = write_nights(Path(folder), count, **kept)
        job.write_text(_JOB.replace("night=0000", "night=0019"))
        usage_of("train", str(job))
        found = usage_of("score", str(job))
        print(f"{count} nights: {found}", flush=True)
        return found


def _partitions(nights: Sequence[int]) -> list[str]:
    return [part for night in nights for part in ("--partition", f"night={night:04d}")]


def section(found: Speeds) -> str:
    """Write the table and whether the goals are met."""
    goals = {
        f"training {found.training.cpu_s:.1f} CPU seconds (at most {MOST_TRAINING_S:.0f})": (
            found.training.cpu_s <= MOST_TRAINING_S
        ),
        f"1 million points {found.scoring.cpu_s:.1f} CPU seconds (at most {MOST_SCORING_S:.0f})": (
            found.scoring.cpu_s <= MOST_SCORING_S
        ),
    }
    rows = (
        (f"`aepipe train`, a series of {TRAINED_POINTS:,} points, one channel", found.training),
        (
            f"`aepipe score`, {NIGHTS} nights with {POINTS:,} points, {ENTITIES} entities, {CHANNELS} channels",
            found.scoring,
        ),
        *(
            (f"`aepipe score`, {nights} nights of {NIGHT_ENTITIES * NIGHT_STEPS:,} points", usage)
            for nights, usage in ((FEW_NIGHTS, found.few_nights), (MANY_NIGHTS, found.many_nights))
        ),
    )
    lines = [
        "### Speed and memory",
        "",
        "Made by `python -m benchmarks.series_speed`: commands on generated machines, in processes of their own, start "
        "included, with one worker.",
        "",
        f"{measured()} "
        + "; ".join(f"**{words}: {'met' if met else 'not met'}**" for words, met in goals.items())
        + ".",
        "",
        *table(
            ("command", "CPU s", "peak memory, MB"),
            ((words, f"{usage.cpu_s:.1f}", f"{usage.peak_mb:.0f}") for words, usage in rows),
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and put the table into a page."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--page", type=Path, help="put the table there too, such as docs/benchmarks.md")
    arguments = made.parse_args()
    text = section(measure())
    print(text)
    if arguments.page is not None:
        put_into(arguments.page, text, name="series-speed")


if __name__ == "__main__":
    main()
