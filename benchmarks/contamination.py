"""Train on generated tables with anomalies among the rows; count the alarms before and after a review of a few rows.

python -m benchmarks.contamination
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

import aepipe
from aepipe.calibration.conformal import Calibration
from aepipe.inference.table_model import TableModel
from aepipe.jobs.calibrate import calibrate
from aepipe.jobs.train.train import train
from benchmarks.command import PAGE
from benchmarks.page import put_into, table
from benchmarks.store import machine

ALPHA = 0.01
KINDS = ("local", "global", "cluster", "dependency", "few columns")
SHARES = (0.02, 0.05, 0.10)
ROWS, FRESH = 3_000, 6_000
REVIEWED = 0.03
"""Share of the rows of a partition that are reviewed for their scores, and the same share for their cells."""

FIRST_SEED = 12
"""First seed of the measured tables; the review was developed on earlier ones."""

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]

JOB = f"""name = "mill"
[data]
path = "."
keys = ["id"]
labels = ["is_anomaly_seen"]
[train]
data = "polluted"
to = "2026-01-01"
[calibration]
alpha = {ALPHA}
[output]
path = "out"
"""
LEARNED, REVIEW = "dt=2026-01-01", "dt=2026-01-02"
LABEL = "is_anomaly_seen"


class Rows(NamedTuple):
    """Rows (B, F), and which of them are anomalies (B,)."""

    values: Doubles
    is_anomaly: Flags


class Rates(NamedTuple):
    """Shares of all rows, of the anomalies and of the normal rows that are flagged."""

    flagged: float
    recall: float
    false: float

    @classmethod
    def of(cls, flags: Flags, rows: Rows) -> "Rates":
        return cls(*(float(part.mean()) for part in (flags, flags[rows.is_anomaly], flags[~rows.is_anomaly])))


class World:
    """Normal rows around a few centers of latent factors, some columns skewed, and anomalies of one kind."""

    def __init__(self, seed: int) -> None:
        self.kind, self.share = KINDS[seed % len(KINDS)], SHARES[seed % len(SHARES)]
        self._rng = rng = np.random.default_rng([seed, 7])
        columns, factors, centers = int(rng.integers(6, 16)), int(rng.integers(2, 5)), int(rng.integers(1, 4))
        self._centers = 2 * rng.normal(size=(centers, factors))
        self._linear, self._bent = rng.normal(size=(2, factors, columns))
        self._noise = np.exp(rng.normal(-1.2, 0.4, size=columns))
        self._is_skewed = rng.random(columns) < 0.4
        self._corner = np.sign(rng.normal(size=columns))
        self._typical = self._normal(4_000)

    def draw(self, count: int) -> Rows:
        """Draw rows, the share of the world among them anomalies."""
        anomalies = round(self.share * count)
        values = np.concatenate([self._normal(count - anomalies), self._anomalies(anomalies)])
        order = self._rng.permutation(count)
        return Rows(values[order], (np.arange(count) >= count - anomalies)[order])

    def _normal(self, count: int, scale: float = 1.0) -> Doubles:
        rng, (centers, factors) = self._rng, self._centers.shape
        z = self._centers[rng.integers(centers, size=count)] + scale * rng.normal(size=(count, factors))
        noise = scale * self._noise * rng.normal(size=(count, len(self._noise)))
        x = z @ self._linear + 1.5 * np.tanh(z @ self._bent) + noise
        return np.where(self._is_skewed, np.exp(x / np.maximum(1, np.abs(self._linear).sum(0))), x)

    def _anomalies(self, count: int) -> Doubles:
        rng, typical, columns = self._rng, self._typical, self._typical.shape[1]
        spread = typical.std(0)
        if self.kind == "local":
            return self._normal(count, 2.0)
        if self.kind == "global":
            return rng.uniform(*np.quantile(typical, [0.001, 0.999], axis=0), size=(count, columns))
        if self.kind == "cluster":
            return np.median(typical, 0) + spread * (1.6 * self._corner + 0.25 * rng.normal(size=(count, columns)))
        rows = self._normal(count)
        if self.kind == "dependency":
            return np.column_stack([rng.permutation(column) for column in rows.T])
        for row in rows:
            struck = rng.choice(columns, 2, replace=False)
            row[struck] += 4 * spread[struck] * rng.choice([-1, 1], 2)
        return rows


def main(words: Sequence[str] | None = None) -> None:
    """Measure all worlds, print and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.contamination", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--worlds", type=int, default=15, help="generated tables")
    parser.add_argument("--no-page", action="store_true", help="print the tables only")
    asked = parser.parse_args(words)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    found: list[Mapping[str, Rates]] = []
    begun = time.process_time()
    for seed in range(FIRST_SEED, FIRST_SEED + asked.worlds):
        found.append(measured(World(seed), seed))
        print(seed, {name: [f"{100 * rate:.2f}" for rate in rates] for name, rates in found[-1].items()}, flush=True)
    text = "\n".join(_section(found, time.process_time() - begun)) + "\n"
    print(text)
    if not asked.no_page:
        put_into(PAGE, text, name="contamination")


def measured(world: World, seed: int) -> Mapping[str, Rates]:
    """Train on rows of a world, review rows of a later partition, and count the alarms among fresh rows."""
    learned, later, fresh = world.draw(ROWS), world.draw(ROWS), world.draw(FRESH)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = folder / "job.toml"
        job.write_text(JOB.replace("[train]\n", f"[train]\nseed = {seed}\n"))
        _write(folder / LEARNED, learned, labelled=np.zeros(ROWS, np.bool_))
        bundle = train(job).bundle
        model = TableModel.open(bundle, device="cpu")
        rates = dict(_as_trained(model, learned, "learned and held-out rows of the training"))
        rates |= _as_trained(model, fresh, "new rows")
        rates["new rows: the highest by score"] = Rates.of(_highest(_score(model, fresh), ALPHA), fresh)
        trimmed = np.sort(_score(model, later))[: ROWS - round(world.share * ROWS)]
        by_share = Calibration.fit(trimmed, alpha=ALPHA).p_values(_score(model, fresh)) <= ALPHA
        rates["new rows: by score, highest calibration rows left out by the true share"] = Rates.of(by_share, fresh)
        for label, reviewed in _reviews(model, later).items():
            _write(folder / REVIEW, later, labelled=reviewed)
            calibrate(job, partitions=[REVIEW], label=LABEL if reviewed.any() else None)
            again = aepipe.load(bundle, outputs=folder / "out")
            rates[f"new rows: {label}"] = Rates.of(_flags(again, fresh), fresh)
    return rates


def _as_trained(model: TableModel, rows: Rows, label: str) -> Iterator[tuple[str, Rates]]:
    calibration = model.bundle.calibration
    alone = calibration.p_values(_score(model, rows)) <= ALPHA
    yield f"{label}: by score, if it had all of alpha", Rates.of(alone, rows)
    yield f"{label}: as trained", Rates.of(_flags(model, rows), rows)


def _reviews(model: TableModel, rows: Rows) -> Mapping[str, Flags]:
    """Return the rows of a partition that a person has labelled."""
    cells = model.predict(_arrow(rows)).cells
    assert cells is not None, "the job has an alarm for cells"
    highest = _highest(_score(model, rows), REVIEWED) | _highest(cells.score.astype(np.float64), REVIEWED)
    return {
        "calibrated on a later partition": np.zeros(len(highest), np.bool_),
        f"calibrated on it after a review of its highest {100 * REVIEWED:.0f} % by score and by cell": highest,
        "calibrated on it with all labels": np.ones(len(highest), np.bool_),
    }


def _highest(scores: Doubles, share: float) -> Flags:
    return np.asarray(scores >= np.sort(scores)[-int(share * len(scores))])


def _score(model: TableModel, rows: Rows) -> Doubles:
    return np.asarray(model.score(_arrow(rows))["score"].to_numpy(), np.float64)


def _flags(model: TableModel, rows: Rows) -> Flags:
    return np.asarray(model.score(_arrow(rows))["is_anomaly"].to_numpy(), np.bool_)


def _arrow(rows: Rows) -> pa.Table:
    columns = {f"c{at}": np.ascontiguousarray(column) for at, column in enumerate(rows.values.T)}
    return pa.table({"id": np.arange(len(rows.values)), **columns})


def _write(folder: Path, rows: Rows, *, labelled: Flags) -> None:
    folder.mkdir(exist_ok=True)
    column = pa.array(rows.is_anomaly, mask=~labelled)
    pq.write_table(_arrow(rows).append_column(LABEL, column), folder / "rows.parquet")


def _section(found: Sequence[Mapping[str, Rates]], cpu_s: float) -> Iterator[str]:
    yield "## Anomalies among the calibration rows"
    yield ""
    yield (
        f"Made by `python -m benchmarks.contamination`, {datetime.now(UTC):%Y-%m-%d}, {machine()}, one thread, "
        f"{cpu_s:.0f} CPU s. {len(found)} generated tables of 6 to 15 columns with anomalies of five kinds "
        f"({', '.join(KINDS)}), which are {', '.join(f'{100 * share:.0f}' for share in SHARES)} % of the rows. Default "
        f'jobs with `[train] data = "polluted"` at alpha = {ALPHA:g} train on {ROWS:,} rows; {FRESH:,} new rows are '
        f"scored. Per cent, means over tables: of all rows, of the anomalies and of the normal rows that are flagged, "
        "and the most normal rows of a table. `review`: a person labels these rows of a later partition of "
        f"{ROWS:,} rows, and `aepipe calibrate` leaves out the anomalies among them."
    )
    yield ""
    lines = []
    for name in found[0]:
        flagged, recall, false = (100 * np.array(rates) for rates in zip(*(each[name] for each in found), strict=True))
        lines.append((name, *(f"{values.mean():.2f}" for values in (flagged, recall, false)), f"{false.max():.2f}"))
    yield from table(("alarms", "flagged", "recall", "false", "most false"), lines)


if __name__ == "__main__":
    main()
