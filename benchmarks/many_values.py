"""Cost of a column of 300,000 values: memory of training and export, seconds, and bundle size.

python -m benchmarks.many_values [--page docs/benchmarks.md] makes a table, trains a VAE on it in a process of its own,
and draws rows.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.models.layers.categorical import Categoricals
from benchmarks.page import measured, put_into, table

VALUES, ROWS, DRAWN = 300_000, 1_000_000, 100_000
REGIONS = 10
MOST_GIB = 2.0


class Cost(NamedTuple):
    """Cost of a table with a column of many values, or without it."""

    codes: int
    outputs: int
    gib: float
    seconds: float
    bundle_mb: float
    exist: float
    """share of drawn values that training had"""
    fit: float
    """share of drawn values whose region is that of the row"""


def rows(values: int, *, seed: int = 0) -> pa.Table:
    """Return rows with one of `values` equally frequent shops, its region, and an amount that depends on the region."""
    rng = np.random.default_rng(seed)
    shop = rng.permutation(np.arange(ROWS) % values)
    region = regions(values)[shop]
    return pa.table(
        {
            "id": np.arange(ROWS),
            "shop": pa.array([f"shop {number:06d}" for number in shop]),
            "region": pa.array([f"region {number}" for number in region]),
            "amount": np.round(rng.lognormal(region / 3, 0.5), 2),
        }
    )


def regions(values: int) -> np.ndarray:
    """Return the region of each shop, which its name does not tell."""
    return np.random.default_rng(1).integers(0, REGIONS, values)


def measure(values: int) -> Cost:
    """Measure in a process of its own, so that the peak memory is that of this table alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (values,))


def _measure(values: int) -> Cost:
    from aepipe.config.job import parse_job
    from aepipe.inference.table_model import TableModel
    from aepipe.jobs.train.train import train_job

    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(rows(values), Path(folder) / "rows.parquet", row_group_size=100_000)
        raw = {
            "name": "many",
            "data": {"path": "rows.parquet", "keys": ["id"]},
            "train": {"epochs": 3, "batch_rows": 4096},
            "run": {"device": "cpu"},
        }
        before = time.process_time()
        bundle = train_job(parse_job(raw, source=Path(folder) / "job.toml")).bundle
        seconds = time.process_time() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        model = TableModel.open(bundle)
        drawn = model.sample(DRAWN, seed=0)
        shops, region_of_row = (
            np.array([int(text.split()[1]) for text in drawn[name].to_pylist()]) for name in ("shop", "region")
        )
        size = sum(file.stat().st_size for file in Path(bundle).rglob("*") if file.is_file())
    codes = max(category.size for category in model.bundle.encoding.layout.categories)
    return Cost(
        codes=codes,
        outputs=Categoricals([codes]).width,
        gib=peak,
        seconds=seconds,
        bundle_mb=size / 1e6,
        exist=float((shops < values).mean()),
        fit=float((regions(values)[shops] == region_of_row).mean()),
    )


def section(many: Cost, few: Cost) -> str:
    """Render both costs as a table."""
    met = "met" if many.gib < MOST_GIB else "not met"
    lines = [
        "## Very many values",
        "",
        "Made by `python -m benchmarks.many_values`: a VAE with its defaults, except 3 epochs and "
        "batches of 4,096 rows, "
        f"on {ROWS:,} generated rows of a shop, its region and an amount. All shops are equally "
        "frequent; training takes 70 "
        "% of the rows, and a shop that it has once is rare. In the row's region: the share of drawn rows whose shop "
        f"is in the region of that row; by chance {1 / REGIONS:.0%}. Seconds are CPU seconds of reading, "
        "training, export and calibration.",
        "",
        f"{measured()} **{many.gib:.2f} GiB at most, bundle {many.bundle_mb:.0f} MB** (goal: below {MOST_GIB:.0f} GiB, "
        f"{met}).",
        "",
        *table(
            ("shops", "codes", "outputs", "peak GiB", "seconds", "bundle MB", "drawn exist", "in the row's region"),
            [_line(VALUES, many), _line(REGIONS * 10, few)],
        ),
    ]
    return "\n".join(lines) + "\n"


def _line(values: int, cost: Cost) -> tuple[str, ...]:
    return (
        f"{values:,}", f"{cost.codes:,}", f"{cost.outputs:,}", f"{cost.gib:.2f}", f"{cost.seconds:,.0f}",
        f"{cost.bundle_mb:.1f}", f"{cost.exist:.1%}", f"{cost.fit:.0%}",
    )  # fmt: skip


def main() -> None:
    """Measure, print, and put the table into a page."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--page", type=Path, help="put the table there too, such as docs/benchmarks.md")
    page = arguments.parse_args().page
    text = section(measure(VALUES), measure(REGIONS * 10))
    print(text)
    if page is not None:
        put_into(page, text, name="many values")


if __name__ == "__main__":
    main()
