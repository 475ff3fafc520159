"""A series job of two sites with known weekly profiles and autocorrelated noise."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PER_DAY = 48
STEP_US = 1_800_000_000
FIRST = np.datetime64("2026-01-05", "us")  # a Monday
MEMORY = 0.7
"""Autocorrelation of the noise at one step."""

SITES = ("office", "plant")
SPREAD = {"office": 4.0, "plant": 0.5}
"""Standard deviation of the noise of `load`; that of `heat` is half of it, and half of it is shared."""

JOB = """
name = "sites"
[data]
path = "rows"
event_time = "at"
[series]
entity = ["site"]
[model]
family = "{family}"
{options}
"""


def profile(site: str, steps: np.ndarray) -> np.ndarray:
    """Return the mean of `load` by step since the first Monday: office hours on weekdays, or waves, flat on Sundays."""
    hour, day = steps % PER_DAY / 2, steps // PER_DAY % 7
    if site == "office":
        return 50 + np.where((hour >= 8) & (hour < 18) & (day < 5), 20.0, 0.0)
    return 10 + np.where(day < 6, 3.0, 0.5) * np.sin(2 * np.pi * hour / 24)


def deviations(steps: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the noise of a site, with standard deviation 1."""
    innovations, found = rng.normal(0, np.sqrt(1 - MEMORY**2), steps), np.zeros(steps)
    found[0] = rng.normal()
    for step in range(1, steps):
        found[step] = MEMORY * found[step - 1] + innovations[step]
    return found


def site_rows(site: str, days: int, seed: int = 0) -> pa.Table:
    """Generate rows of a site from the first Monday, with a column that is not a channel."""
    rng, steps = np.random.default_rng([seed, SITES.index(site)]), np.arange(days * PER_DAY)
    noise, other = deviations(len(steps), rng), deviations(len(steps), rng)
    load = profile(site, steps) + SPREAD[site] * noise
    heat = 20 + 0.5 * SPREAD[site] * (noise + other) / np.sqrt(2)
    return pa.table(
        {
            "at": FIRST + steps * np.timedelta64(STEP_US, "us"),
            "site": [site] * len(steps),
            "load": load,
            "note": ["ok"] * len(steps),
            "heat": heat.astype(np.float32),
        }
    )


def write_sites(folder: Path, *, days: int = 56, family: str = "ae", options: str = "") -> Path:
    """Write one file, in which a third site has too few rows to be drawn, and the job."""
    short = site_rows("plant", 1)
    at = short.schema.get_field_index("site")
    short = short.set_column(at, "site", pa.array(["shed"] * short.num_rows))
    table = pa.concat_tables([*(site_rows(site, days) for site in SITES), short])
    (folder / "rows").mkdir(parents=True)
    pq.write_table(table, folder / "rows" / "part-0.parquet")
    job = folder / "job.toml"
    job.write_text(JOB.format(family=family, options=options))
    return job
